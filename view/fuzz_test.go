package view

import (
	"bytes"
	"os"
	"slices"
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
			m := meminfo{total: 7, swap: swap{total: l.swapTotal, used: under(l.swapTotal, l.swapFree)}}
			for _, limited := range []bool{false, true} {
				if _, err := parseMeminfo(m.append(nil, l.lines, limited)); err != nil {
					t.Errorf("%q gives what can't be read: %v", b, err)
				}
			}
		}
		if blocks, err := parseCPUInfo(b); err == nil {
			appendCPUBlocks(nil, blocks, []int{0, 2}, new(scratch))
		}
		if h, err := parseHostStat(b); err == nil {
			s := stat{host: h, btime: h.btime, cpus: make([]cpuTimes, 2), numbers: []int{0, 2}}
			h.softirqs = max(0, h.softirqs)
			if again, err := parseHostStat(s.append(nil)); err != nil || again != h {
				t.Errorf("%+v is read as %+v: %v", h, again, err)
			}
		}
		lines, _ := parseDiskstats(b)
		if again, err := parseDiskstats(appendDisks(nil, lines, nil)); err != nil || len(again) != len(lines) {
			t.Errorf("%q gives %d lines for %d (%v)", b, len(again), len(lines), err)
		}
		if set, err := parseCPUList(b); err == nil && (len(set) == 0 || !slices.IsSorted(set)) {
			t.Errorf("%q gives %v", b, set)
		}
		if set, err := parseStatCPUs(b); err == nil && (len(set) == 0 || !slices.IsSorted(set)) {
			t.Errorf("%q gives %v", b, set)
		}
		swapsHeader(b)
		parseNSpid(b)
		parseProcessStat(b) //nolint:errcheck // it must not panic
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

// FuzzHostLines: whatever the other lines are, those that can be parsed are served.
func FuzzHostLines(f *testing.F) {
	for _, s := range []string{"\nodd\n", "btime -1\n\ncpu", "MemTotal: x\nMemFree", "8 0 sda\n8 0", "Hardware : x\n\n", "NSpid:\tx", "Filename"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, junk []byte) {
		fixture.Junk(t, func(b []byte) map[string]uint64 {
			l, _ := parseMeminfo(b)
			all := map[string]uint64{}
			for _, m := range l.lines {
				if m.key != "" {
					all[m.key] = m.value
				}
			}
			return all
		}, []string{"MemTotal:       16314112 kB", "MemFree:         9876543 kB", "HugePages_Total:       3"}, junk)
		fixture.Junk(t, func(b []byte) []uint64 {
			h, _ := parseHostStat(b)
			cpus, _ := parseStatCPUs(b)
			return []uint64{h.intr, h.ctxt, h.btime, h.softirq, uint64(len(cpus))}
		}, []string{"cpu  1 2 3", "cpu0 1 2 3", "intr 4 5", "ctxt 6", "btime 7", "softirq 8 9"}, junk)
		fixture.Junk(t, disksOf, []string{"   8       0 sda 1 2 3 4", "   9     127 md_my disk 1 2 3 4 5 6 7 8 9 10 11"}, junk)
		fixture.Junk(t, func(b []byte) string { return string(swapsHeader(b)) }, []string{"Filename\tType", "/swap file 1 2 3"}, junk)
		fixture.Junk(t, parseNSpid, []string{"Name:\tx", "NSpid:\t5\t1", "Threads:\t1"}, junk)
		cpus := []string{"processor : 0", "MHz : 1", "", "processor : 1", "MHz : 2", "flags : a b"}
		fixture.Junk(t, func(b []byte) map[int][]string { return goodOf(b, cpus) }, cpus, junk)
	})
}

// goodOf lists the good lines in each CPU's block. In that of CPU -9 are those in no
// block, and what is no junk: blank lines, and those that number CPUs by no number.
func goodOf(b []byte, good []string) map[int][]string {
	all := map[int][]string{}
	blocks, _ := parseCPUInfo(b)
	for line := range bytes.Lines(b) {
		if _, ok, numbers := cpuNumber(line); numbers && !ok || len(blocks) == 0 && len(bytes.TrimSpace(line)) == 0 {
			all[-9] = append(all[-9], string(line))
		}
	}
	if len(blocks) == 0 {
		blocks = []cpuBlock{{cpu: -9, lines: b}}
	}
	for _, block := range blocks {
		for line := range bytes.Lines(block.lines) {
			if text := string(bytes.TrimSuffix(line, []byte("\n"))); text != "" && slices.Contains(good, text) {
				all[block.cpu] = append(all[block.cpu], text)
			}
		}
		if block.cpu >= 0 {
			all[block.cpu] = append(all[block.cpu], "")
		}
	}
	return all
}
