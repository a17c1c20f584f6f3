package view

import (
	"bytes"
	"os"
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
)

// FuzzHostFiles feeds anything to the parsers of the host's files; what they
// take must be printable, and taken again.
func FuzzHostFiles(f *testing.F) {
	c := fixture.Load(f, "../cgroup/testdata/v2-limited.txtar")
	for _, name := range []string{"proc/meminfo", "proc/cpuinfo", "proc/stat", "proc/diskstats"} {
		b, err := os.ReadFile(c.Root + "/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("processor 0: version = FF\nprocessor 1: version = FF\n\ncpu number      : 0\n\ncpu number      : 1\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := parseMeminfo(b); err == nil {
			var m meminfo
			if _, err := parseMeminfo(m.append(nil, l.lines, false)); err != nil {
				t.Errorf("%q gives what can't be read: %v", b, err)
			}
			m.append(nil, l.lines, true)
		}
		if blocks, err := parseCPUInfo(b); err == nil {
			appendCPUBlocks(nil, blocks, []int{0, 2}, new(scratch))
		}
		if h, err := parseHostStat(b); err == nil {
			s := stat{host: h, cpus: make([]cpuTimes, 2), numbers: []int{0, 2}}
			if again, err := parseHostStat(s.append(nil)); err != nil && h.btime != 0 && s.btime != 0 {
				t.Errorf("%+v gives what can't be read: %v", again, err)
			}
		}
		if lines, err := parseDiskstats(b); err == nil {
			if again, err := parseDiskstats(appendDisks(nil, lines, nil)); err != nil || len(again) != len(lines) {
				t.Errorf("%q gives %d lines for %d (%v)", b, len(again), len(lines), err)
			}
		}
	})
}

// FuzzCPUFiles feeds anything to the files that list CPUs. What is shown of a list
// or mask is in it and in the set.
func FuzzCPUFiles(f *testing.F) {
	for _, s := range []string{"0-3,8\n", "\n", "(null)\n", "00000000,0000000f\n", "ff\n", "0 1 5\n", ",4-7\n", "0-65535\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		set := []int{0, 2, 3, 33}
		for _, cut := range cpuSets {
			once := cut.cut(nil, b, set)
			if twice := cut.cut(nil, once, set); !bytes.Equal(once, twice) {
				t.Errorf("%s: %q is cut to %q, and that to %q", cut.path, b, once, twice)
			}
			if none := cut.cut(nil, once, nil); bytes.ContainsAny(none, "123456789abcdef") && !bytes.Equal(none, b) {
				t.Errorf("%s: %q is cut to %q without a CPU", cut.path, b, none)
			}
		}
	})
}
