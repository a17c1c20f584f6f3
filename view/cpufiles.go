package view

import (
	"bytes"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
)

// Content of the files below /sys/devices/system/cpu that say which CPUs there
// are: docs/views.md, "The CPU directory".

// cpuSets are the files that list CPUs, by their path below CPUDir or below a
// CPU's directory: what they list is cut to the shown CPUs.
var cpuSets = []struct {
	path string // a pattern of path.Match
	cut  func(b, host []byte, set []int) []byte
}{
	{"isolated", appendCutList},
	{"nohz_full", appendCutList},
	{"enabled", appendCutList},
	{"aarch32_el0", appendCutList},
	{"topology/*_list", appendCutList},
	{"topology/*_cpus", appendCutMask},
	{"topology/*_siblings", appendCutMask},
	{"cache/*/shared_cpu_list", appendCutList},
	{"cache/*/shared_cpu_map", appendCutMask},
	{"cpufreq/policy*/*_cpus", appendCutWords},
}

// appendCPUFile appends what a node shows for the host's content.
func (v *View) appendCPUFile(b []byte, n CPUNode, host []byte, c *cpus) []byte {
	if c.all {
		return append(b, host...)
	}
	switch n {
	case CPUNode{-1, "offline"}:
		return v.appendOffline(b, host, c.set)
	case CPUNode{-1, "smt/active"}:
		if !v.smtActive(c.set) {
			return append(b, "0\n"...)
		}
	}
	for _, s := range cpuSets {
		if ok, _ := path.Match(s.path, n.Path); ok {
			return s.cut(b, host, c.set)
		}
	}
	return append(b, host...)
}

// appendOffline prints the possible CPUs that are not shown, then those which
// the host has beyond the possible (print_cpus_offline in drivers/base/cpu.c).
func (v *View) appendOffline(b, host []byte, set []int) []byte {
	possible, err := v.host.possible.get(v.host.now())
	if err != nil {
		return append(b, host...)
	}
	var off []int
	for _, cpu := range possible {
		if _, shown := slices.BinarySearch(set, cpu); !shown {
			off = append(off, cpu)
		}
	}
	// The kernel prints a comma here even if nothing is before it.
	listed, _ := cgroup.ParseCPUs(bytes.TrimPrefix(host, []byte(",")), nil)
	for _, cpu := range listed {
		if cpu > possible[len(possible)-1] {
			off = append(off, cpu)
		}
	}
	return appendCPUList(b, off)
}

// smtActive reports whether two threads of one core are shown.
func (v *View) smtActive(set []int) bool {
	for _, cpu := range set {
		name := filepath.Join(v.host.root, CPUDir, "cpu"+strconv.Itoa(cpu), "topology/thread_siblings_list")
		b, err := os.ReadFile(name)
		if err != nil {
			return true // as the host says
		}
		threads, err := cgroup.ParseCPUs(b, nil)
		if err != nil || len(intersect(threads, set)) > 1 {
			return true
		}
	}
	return false
}

// appendCutList prints those CPUs of the host's list that are in set. What is not
// a list stays as it is: nohz_full can be "(null)".
func appendCutList(b, host []byte, set []int) []byte {
	cpus, err := cgroup.ParseCPUs(host, nil)
	if err != nil {
		return append(b, host...)
	}
	return appendCPUList(b, intersect(cpus, set))
}

// appendCPUList prints "0-2,5".
func appendCPUList(b []byte, set []int) []byte {
	for i := 0; i < len(set); {
		j := i
		for j+1 < len(set) && set[j+1] == set[j]+1 {
			j++
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(set[i]), 10)
		if j > i {
			b = strconv.AppendInt(append(b, '-'), int64(set[j]), 10)
		}
		i = j + 1
	}
	return append(b, '\n')
}

// appendCutMask prints those CPUs of the host's mask that are in set, in as many
// digits and commas as the host's mask has (lib/bitmap.c: groups of 32 bits, as
// wide as the kernel has CPU numbers).
func appendCutMask(b, host []byte, set []int) []byte {
	const digits = "0123456789abcdef"
	start := len(b)
	b = append(b, host...)
	mask := b[start:]
	cpu, next := 0, 0 // the lowest of a digit, and what is looked at of set
	for i, c := range slices.Backward(mask) {
		digit := bytes.IndexByte([]byte(digits), c)
		if digit < 0 {
			continue // a comma, or the end of the line
		}
		var shown int
		for ; next < len(set) && set[next] < cpu+4; next++ {
			shown |= 1 << (set[next] - cpu)
		}
		mask[i] = digits[digit&shown]
		cpu += 4
	}
	return b
}

// appendCutWords prints those of the host's CPUs that are in set, with blanks
// between them (cpufreq_show_cpus in drivers/cpufreq/cpufreq.c).
func appendCutWords(b, host []byte, set []int) []byte {
	first := true
	for word := range bytes.FieldsSeq(host) {
		cpu, err := strconv.Atoi(string(word))
		if err != nil {
			continue
		}
		if _, shown := slices.BinarySearch(set, cpu); !shown {
			continue
		}
		if !first {
			b = append(b, ' ')
		}
		b, first = append(b, word...), false
	}
	return append(b, '\n')
}
