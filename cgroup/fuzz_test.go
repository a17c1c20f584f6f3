package cgroup

import (
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
)

// FuzzLines: whatever the other lines are, those that can be parsed are served.
func FuzzLines(f *testing.F) {
	for _, s := range []string{
		"\n\njunk", "(unknown) rbytes=1\n7:1 7:0", "8:16 Read", "anon\nanon x\nfile 1 2\n", "user_usec -", "1 2\n\n3 x 4\n",
		"4:memory:a\n0::", "Total 4", "\x00", " 8:0 rbytes=1",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, junk []byte) {
		fixture.Junk(t, func(b []byte) (st MemoryStat) { parseKeyed(b, &st, memoryStatV2); return st }, []string{"anon 1", "file 2", "shmem 3"}, junk)
		fixture.Junk(t, func(b []byte) (st MemoryStat) { parseKeyed(b, &st, memoryStatV1); return st }, []string{"total_rss 1", "total_cache 2"}, junk)
		fixture.Junk(t, parseCPUStat, []string{"user_usec 1", "system_usec 2", "throttled_usec 3"}, junk)
		fixture.Junk(t, func(b []byte) []CPUTime { return parseUsageAll(b, nil) }, []string{"cpu user system", "0 1000 2000", "1 3000 4000"}, junk)
		fixture.Junk(t, func(b []byte) []IODevice { return parseIOStat(b, nil) }, []string{"8:0 rbytes=1 wios=2", "7:1 7:0 254:0 rbytes=3"}, junk)
		fixture.Junk(t, func(b []byte) []IODevice { return parseBlkio(b, nil, 0, true) }, []string{"8:0 Read 1", "8:0 Write 2", "254:0 Read 3", "Total 6"}, junk)
		fixture.Junk(t, func(b []byte) Paths {
			return parsePaths(string(b), func(_, _ string) bool { return false })
		}, []string{"4:memory:/a:b c", "3:cpu,cpuacct:/x", "0::/y (deleted)"}, junk)
	})
}

// FuzzValues: what a parser of one value returns is possible.
func FuzzValues(f *testing.F) {
	for _, s := range []string{"0-3,8\n", "0-1,x,3", "max 100000\n", "-1", "9223372035781033984\n", "5 6 7", "0::/a\n", "a.slice:b:c"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, unit := range []uint64{0, 2 << 20, 1 << 30} {
			if n, err := parseLimit(b, unit); n != NoLimit && (err != nil || isNone(n, unit)) {
				t.Errorf("%q gives a limit of %d, %v", b, n, err)
			}
		}
		parseCPUMax(b) //nolint:errcheck // it must not panic
		cpus, _ := ParseCPUs(b, nil)
		for i, c := range cpus {
			if c < 0 || c > maxCPU || (i > 0 && c <= cpus[i-1]) {
				t.Errorf("%q gives %v", b, cpus)
			}
		}
		scaleUsage(b, []CPUTime{{User: 7, System: 1 << 60}, {CPU: 2, System: 3}})
		for c, at := range parsePaths(string(b), func(_, _ string) bool { return true }).V1 {
			for _, h := range []hierarchy{{root: "/"}, {root: "/a"}, {root: "/.."}} {
				if dir, ok := h.directory(at); ok && dir != "" && checkPath("/"+dir) != nil {
					t.Errorf("controller %q: path %q is directory %q", c, at, dir)
				}
			}
		}
		if p, err := SpecPath(string(b)); err == nil && checkPath(p) != nil {
			t.Errorf("spec path %q gives %q", b, p)
		}
	})
}

// FuzzCPUList: the parts of a list that can be parsed count.
func FuzzCPUList(f *testing.F) {
	f.Add([]byte("x,1,5-3"))
	f.Fuzz(func(t *testing.T, junk []byte) {
		if len(junk) > 0 && junk[0] >= '0' && junk[0] <= '9' {
			return
		}
		list := append(append([]byte("0-1,"), junk...), ",65535"...)
		got, _ := ParseCPUs(list, nil)
		if len(got) < 3 || got[0] != 0 || got[1] != 1 || got[len(got)-1] != maxCPU {
			t.Errorf("%q: got %v", list, got)
		}
	})
}
