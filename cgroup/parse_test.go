package cgroup

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseLimit(t *testing.T) {
	for _, c := range []struct {
		in   string
		want uint64
		err  string
	}{
		{"268435456\n", 256 << 20, ""},
		{"0\n", 0, ""},
		{"max\n", NoLimit, ""},
		{"9223372036854771712\n", NoLimit, ""}, // v1, 4 KiB pages
		{"9223372036854710272\n", NoLimit, ""}, // v1, 64 KiB pages
		{"99999999999999999999999\n", NoLimit, ""},
		{"-4096\n", 0, ""}, // a counter's race
		{"", 0, "no number"},
		{"\n", 0, "no number"},
		{"12 13\n", 0, "not a number"},
		{"-\n", 0, "not a number"},
		{"max max\n", 0, "not a number"},
	} {
		got, err := parseLimit([]byte(c.in))
		checkError(t, c.in, err, c.err)
		if got != c.want {
			t.Errorf("parseLimit(%q) = %d, want %d", c.in, got, c.want)
		}
	}
}

// checkError wants an error that says part, or none where part is "".
func checkError(t *testing.T, in string, err error, part string) {
	t.Helper()
	switch {
	case part == "" && err != nil:
		t.Errorf("%q: %v", in, err)
	case part != "" && (err == nil || !strings.Contains(err.Error(), part)):
		t.Errorf("%q: error %v, want one that says %q", in, err, part)
	}
}

func TestParseCPUMax(t *testing.T) {
	for _, c := range []struct {
		in            string
		quota, period uint64
		err           string
	}{
		{"max 100000\n", NoLimit, 100000, ""},
		{"50000 100000\n", 50000, 100000, ""},
		{"50000\n", 0, 0, "not quota and period"},
		{"50000 x\n", 50000, 0, "not a number"},
		{"", 0, 0, "not quota and period"},
	} {
		quota, period, err := parseCPUMax([]byte(c.in))
		checkError(t, c.in, err, c.err)
		if quota != c.quota || period != c.period {
			t.Errorf("parseCPUMax(%q) = %d %d, want %d %d", c.in, quota, period, c.quota, c.period)
		}
	}
}

func TestParseCPUs(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []int
		err  string
	}{
		{"0-3\n", []int{0, 1, 2, 3}, ""},
		{"0,2-3,8\n", []int{0, 2, 3, 8}, ""},
		{"5\n", []int{5}, ""},
		{"\n", nil, ""},
		{"3-1\n", nil, "ascending"},
		{"1,1\n", nil, "ascending"},
		{"0-99999999\n", nil, "ascending"},
		{"0-\n", nil, "no number"},
		{"a\n", nil, "not a number"},
		{",\n", nil, "no number"},
	} {
		got, err := ParseCPUs([]byte(c.in), nil)
		checkError(t, c.in, err, c.err)
		if diff := cmp.Diff(c.want, got); diff != "" && len(c.want)+len(got) > 0 {
			t.Errorf("ParseCPUs(%q): %s", c.in, diff)
		}
	}
}

func TestParseIOStat(t *testing.T) {
	in := "8:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=512 dios=3 cost.usage=7\n8:16 \n"
	want := []IODevice{
		{Major: 8, ReadBytes: 4096, WriteBytes: 8192, Reads: 1, Writes: 2, DiscardBytes: 512, Discards: 3},
		{Major: 8, Minor: 16},
	}
	got, err := parseIOStat([]byte(in), nil)
	checkError(t, in, err, "")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"8 rbytes=1\n", "8:0 rbytes=\n", "x:y\n", "8:99999999 rbytes=1\n"} {
		if _, err := parseIOStat([]byte(bad), nil); err == nil {
			t.Errorf("parseIOStat(%q) took it", bad)
		}
	}
}

func TestParseBlkio(t *testing.T) {
	var devs []IODevice
	for i, in := range []string{
		"8:0 Read 1\n8:0 Write 2\n8:0 Sync 3\n8:0 Async 0\n8:0 Discard 4\n8:0 Total 7\nTotal 7\n",
		"8:0 Read 4096\n8:0 Write 8192\n8:0 Discard 512\n8:0 Total 12800\nTotal 12800\n",
	} {
		var err error
		devs, err = parseBlkio([]byte(in), devs, 0, i == 1)
		checkError(t, in, err, "")
	}
	want := []IODevice{{Major: 8, Reads: 1, Writes: 2, Discards: 4, ReadBytes: 4096, WriteBytes: 8192, DiscardBytes: 512}}
	if diff := cmp.Diff(want, devs); diff != "" {
		t.Error(diff)
	}
}

func TestParseUsageAll(t *testing.T) {
	got, err := parseUsageAll([]byte("cpu user system\n0 10803772056 9811340169\n1 1000 999\n"), nil)
	checkError(t, "usage_all", err, "")
	want := []CPUTime{{CPU: 0, User: 10803772, System: 9811340}, {CPU: 1, User: 1}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParseKeyedPassesOverWhatItDoesNotKnow(t *testing.T) {
	var st MemoryStat
	in := "anon 4096\nfile 8192\nsome_new_key 1 2 3\nlonely\n\nshmem 1\n"
	if err := parseKeyed([]byte(in), &st, memoryStatV2); err != nil {
		t.Fatal(err)
	}
	if want := (MemoryStat{Anon: 4096, File: 8192, Shmem: 1}); st != want {
		t.Errorf("got %+v, want %+v", st, want)
	}
	if err := parseKeyed([]byte("anon x\n"), &st, memoryStatV2); err == nil {
		t.Error("anon x was taken")
	}
}

func FuzzParsers(f *testing.F) {
	for _, s := range []string{
		"0-3,8\n", "max 100000\n", "anon 1\nfile 2\n", "8:0 rbytes=1 wios=2\n", "8:0 Read 4\nTotal 4\n",
		"cpu user system\n0 1 2\n", "0::/a:b c\n1:cpu,cpuacct:/x\n", "31 23 0:28 / /sys rw - cgroup2 none rw\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, err := parseLimit(b); err == nil && n >= noLimitFrom && n != NoLimit {
			t.Errorf("limit %d is neither a limit nor none", n)
		}
		parseCPUMax(b) //nolint:errcheck // it must not panic
		if cpus, err := ParseCPUs(b, nil); err == nil {
			for i, c := range cpus {
				if c < 0 || c > maxCPU || (i > 0 && c <= cpus[i-1]) {
					t.Errorf("%q gives %v", b, cpus)
				}
			}
		}
		var st MemoryStat
		parseKeyed(b, &st, memoryStatV1)                                  //nolint:errcheck // it must not panic
		parseIOStat(b, nil)                                               //nolint:errcheck // it must not panic
		parseBlkio(b, nil, 0, true)                                       //nolint:errcheck // it must not panic
		parseUsageAll(b, nil)                                             //nolint:errcheck // it must not panic
		scaleUsage(b, []CPUTime{{User: 7, System: 1 << 60}, {System: 3}}) //nolint:errcheck // it must not panic
		if p, err := parsePaths(string(b)); err == nil {
			for c, at := range p.V1 {
				if checkPath(at) != nil {
					t.Errorf("controller %q: path %q", c, at)
				}
			}
		}
		if p, err := SpecPath(string(b)); err == nil && checkPath(p) != nil {
			t.Errorf("spec path %q gives %q", b, p)
		}
	})
}

func TestCPUBandwidthRoundsUp(t *testing.T) {
	for _, c := range []struct {
		max  string
		want int
	}{
		{"50000 100000", 1},
		{"100000 100000", 1},
		{"100001 100000", 2},
		{"250000 100000", 3},
		{"max 100000", math.MaxInt},
		{"1000 0", math.MaxInt},
	} {
		fs := newTree(t, map[string]string{
			"sys/fs/cgroup/a/cpu.max": c.max + "\n",
		})
		g := fs.GroupAt(Paths{Unified: "/a"})
		got, err := g.CPUBandwidth(0)
		if err != nil || got.CPUs() != c.want {
			t.Errorf("cpu.max %q: %d CPUs (%v), want %d", c.max, got.CPUs(), err, c.want)
		}
	}
}

func TestScaleUsage(t *testing.T) {
	for _, c := range []struct {
		exact string
		found []CPUTime
		want  []CPUTime
	}{
		{"8000000 0\n", []CPUTime{{User: 3000, System: 1000}, {CPU: 1}}, []CPUTime{{User: 6000, System: 2000}, {CPU: 1}}},
		{"5000 7000", []CPUTime{{}, {CPU: 1, System: 9}}, []CPUTime{{User: 5}, {CPU: 1, System: 7}}}, // no tick yet
		{"18446744073709551615", []CPUTime{{User: 1 << 62, System: 1 << 62}}, []CPUTime{{User: 9223372036854776, System: 9223372036854775}}},
	} {
		if err := scaleUsage([]byte(c.exact), c.found); err != nil || !slices.Equal(c.found, c.want) {
			t.Errorf("%q: got %v, %v, want %v", c.exact, c.found, err, c.want)
		}
	}
	if err := scaleUsage([]byte("1"), make([]CPUTime, 2)); err == nil {
		t.Error("a list that ends early was taken")
	}
}
