package main

import (
	"regexp"
	"strconv"
	"strings"
)

// meminfo maps keys of /proc/meminfo to kB, or to numbers of pages.
type meminfo map[string]uint64

// meminfoOrder is meminfo_proc_show of fs/proc/meminfo.c up to Linux 6.18 and
// what architectures add. Kernels leave lines out by their configuration.
var meminfoOrder = strings.Fields(`MemTotal MemFree MemAvailable Buffers Cached SwapCached Active Inactive
	Active(anon) Inactive(anon) Active(file) Inactive(file) Unevictable Mlocked HighTotal HighFree LowTotal LowFree
	MmapCopy SwapTotal SwapFree Zswap Zswapped Dirty Writeback AnonPages Mapped Shmem KReclaimable Slab SReclaimable
	SUnreclaim KernelStack ShadowCallStack PageTables SecPageTables Quicklists NFS_Unstable Bounce WritebackTmp
	CommitLimit Committed_AS VmallocTotal VmallocUsed VmallocChunk Percpu EarlyMemtestBad HardwareCorrupted
	AnonHugePages ShmemHugePages ShmemPmdMapped FileHugePages FilePmdMapped CmaTotal CmaFree Unaccepted Balloon
	HugePages_Total HugePages_Free HugePages_Rsvd HugePages_Surp Hugepagesize Hugetlb DirectMap4k DirectMap64k
	DirectMap2M DirectMap4M DirectMap1G DirectMap2G`)

// meminfoNeeds are the lines that no Linux since 3.14 is without.
var meminfoNeeds = strings.Fields(`MemTotal MemFree MemAvailable Buffers Cached SwapCached Active Inactive
	Active(anon) Inactive(anon) Active(file) Inactive(file) Unevictable Mlocked SwapTotal SwapFree Dirty Writeback
	AnonPages Mapped Shmem Slab SReclaimable SUnreclaim KernelStack PageTables CommitLimit Committed_AS VmallocTotal
	VmallocUsed VmallocChunk`)

// beyondMemory are figures that are not of the machine's memory.
var beyondMemory = regexp.MustCompile(`^(Swap(Total|Free)|Zswapped|Commit.*|Vmalloc(Total|Chunk)|DirectMap.*|HugePages_.*|Hugepagesize|Hugetlb)$`)

// meminfoLine is the kernel's layout. Numbers of pages have no unit.
var meminfoLine = regexp.MustCompile(`^([A-Za-z0-9_()]+):( +)(\d+)( kB)?$`)

func (r *report) meminfo(text string) {
	m := meminfo{}
	at := -1
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		f := meminfoLine.FindStringSubmatch(line)
		if f == nil {
			r.fail("line %q", line)
			continue
		}
		key := f[1]
		n, err := strconv.ParseUint(f[3], 10, 64)
		if err != nil {
			r.fail("line %q: %v", line, err)
		}
		_, twice := m[key]
		r.expect(!twice, "%s comes twice", key)
		m[key] = n
		if i := indexOf(meminfoOrder, key); i >= 0 {
			r.expect(i > at, "%s comes after %s", key, meminfoOrder[max(0, at)])
			at = i
		}
		r.expect((f[4] == "") == strings.HasPrefix(key, "HugePages_"), "%s has the unit %q", key, f[4])
		begin, digits := 16, 8
		if strings.HasPrefix(key, "HugePages_") || key == "HardwareCorrupted" || key == "EarlyMemtestBad" {
			begin, digits = 19, 5
		}
		r.expect(len(line)-len(f[4]) == begin+max(len(f[3]), digits), "line %q is not laid out as the kernel's", line)
	}
	for _, key := range meminfoNeeds {
		_, ok := m[key]
		r.expect(ok, "%s is missing", key)
	}
	total := m["MemTotal"]
	for key, n := range m {
		if !beyondMemory.MatchString(key) {
			r.expect(n <= total, "%s is more than MemTotal", key)
		}
	}
	r.expect(m["SwapFree"] <= m["SwapTotal"], "SwapFree is more than SwapTotal")
	r.expect(m["HugePages_Free"] <= m["HugePages_Total"], "HugePages_Free is more than HugePages_Total")
	r.expect(m["AnonPages"]+m["MemFree"] <= total+slack, "AnonPages and MemFree are more than MemTotal")
	for sum, parts := range map[string][2]string{
		"Active":   {"Active(anon)", "Active(file)"},
		"Inactive": {"Inactive(anon)", "Inactive(file)"},
		"Slab":     {"SReclaimable", "SUnreclaim"},
	} {
		r.expect(near(float64(m[sum]), float64(m[parts[0]]+m[parts[1]]), slack), "%s is not the sum of %s and %s", sum, parts[0], parts[1])
	}
	r.memory = m
}

// slack is by how much, in kB, figures may be apart that the kernel does not
// read at the same instant.
const slack = 2048

func indexOf(all []string, s string) int {
	for i, a := range all {
		if a == s {
			return i
		}
	}
	return -1
}

func (r *report) swaps(text string) {
	head, rest, _ := strings.Cut(text, "\n")
	r.expect(strings.Join(strings.Fields(head), " ") == "Filename Type Size Used Priority", "head %q", head)
	r.expect(strings.HasPrefix(head, "Filename\t\t\t\tType\t\tSize"), "head %q is not laid out as the kernel's", head)
	r.swapTotal, r.swap = 0, 0
	for line := range strings.Lines(rest) {
		f := strings.Fields(line)
		if len(f) != 5 {
			r.fail("line %q has %d columns", line, len(f))
			continue
		}
		var n [3]int64
		for i := range n {
			var err error
			if n[i], err = strconv.ParseInt(f[2+i], 10, 64); err != nil {
				r.fail("line %q: %v", line, err)
			}
		}
		r.expect(n[1] <= n[0], "line %q: more used than there is", line)
		r.swapTotal += uint64(n[0])
		r.swap += uint64(n[1])
	}
}

func (r *report) slabinfo(text string) {
	lines := strings.Split(text, "\n")
	r.expect(lines[0] == "slabinfo - version: 2.1", "head %q", lines[0])
	r.expect(len(lines) > 1 && strings.HasPrefix(lines[1], "# name            <active_objs> <num_objs> <objsize> "), "no line of names")
	for _, line := range lines[min(2, len(lines)):] {
		r.expect(line == "" || len(strings.Fields(line)) == 16, "line %q", line)
	}
}

// pressureLine is psi_show of kernel/sched/psi.c.
var pressureLine = regexp.MustCompile(`^(some|full) avg10=(\d+\.\d\d) avg60=(\d+\.\d\d) avg300=(\d+\.\d\d) total=(\d+)$`)

func (r *report) pressure(text string) { r.pressures(text) }

// pressures gives the totals, in µs.
func (r *report) pressures(text string) map[string]uint64 {
	totals := map[string]uint64{}
	for line := range strings.Lines(text) {
		f := pressureLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if f == nil {
			r.fail("line %q", line)
			continue
		}
		for _, a := range f[2:5] {
			n, err := strconv.ParseFloat(a, 64)
			r.expect(err == nil && n <= 100, "average %q", a)
		}
		n, err := strconv.ParseUint(f[5], 10, 64)
		r.expect(err == nil, "total %q", f[5])
		totals[f[1]] = n
	}
	return totals
}
