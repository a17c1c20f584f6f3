package view

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
)

// /proc/meminfo: meminfo_proc_show in fs/proc/meminfo.c; docs/views.md, "meminfo".

// meminfo is the figures of one snapshot; kB, but for the hugePages counts.
type meminfo struct {
	total, free, available       uint64
	stat                         cgroup.MemoryStat // bytes
	swap                         swap
	hugeTotal, hugeFree, hugetlb uint64
	commitLimit, committed       uint64
}

// memoryLines says what a limited view shows in one of the host's lines.
var memoryLines = map[string]func(*meminfo) uint64{
	"MemTotal":        func(m *meminfo) uint64 { return m.total },
	"MemFree":         func(m *meminfo) uint64 { return m.free },
	"MemAvailable":    func(m *meminfo) uint64 { return m.available },
	"Cached":          func(m *meminfo) uint64 { return m.stat.File / 1024 },
	"SwapCached":      func(m *meminfo) uint64 { return m.stat.SwapCached / 1024 },
	"Active":          func(m *meminfo) uint64 { return m.stat.ActiveAnon/1024 + m.stat.ActiveFile/1024 },
	"Inactive":        func(m *meminfo) uint64 { return m.stat.InactiveAnon/1024 + m.stat.InactiveFile/1024 },
	"Active(anon)":    func(m *meminfo) uint64 { return m.stat.ActiveAnon / 1024 },
	"Inactive(anon)":  func(m *meminfo) uint64 { return m.stat.InactiveAnon / 1024 },
	"Active(file)":    func(m *meminfo) uint64 { return m.stat.ActiveFile / 1024 },
	"Inactive(file)":  func(m *meminfo) uint64 { return m.stat.InactiveFile / 1024 },
	"Unevictable":     func(m *meminfo) uint64 { return m.stat.Unevictable / 1024 },
	"SwapTotal":       func(m *meminfo) uint64 { return m.swap.total },
	"SwapFree":        func(m *meminfo) uint64 { return m.swap.total - m.swap.used },
	"Zswap":           func(m *meminfo) uint64 { return m.stat.Zswap / 1024 },
	"Zswapped":        func(m *meminfo) uint64 { return m.stat.Zswapped / 1024 },
	"Dirty":           func(m *meminfo) uint64 { return m.stat.Dirty / 1024 },
	"Writeback":       func(m *meminfo) uint64 { return m.stat.Writeback / 1024 },
	"AnonPages":       func(m *meminfo) uint64 { return m.stat.Anon / 1024 },
	"Mapped":          func(m *meminfo) uint64 { return m.stat.Mapped / 1024 },
	"Shmem":           func(m *meminfo) uint64 { return m.stat.Shmem / 1024 },
	"KReclaimable":    func(m *meminfo) uint64 { return m.stat.SlabReclaimable / 1024 },
	"SReclaimable":    func(m *meminfo) uint64 { return m.stat.SlabReclaimable / 1024 },
	"SUnreclaim":      func(m *meminfo) uint64 { return m.stat.SlabUnreclaimable / 1024 },
	"Slab":            func(m *meminfo) uint64 { return m.stat.SlabReclaimable/1024 + m.stat.SlabUnreclaimable/1024 },
	"KernelStack":     func(m *meminfo) uint64 { return m.stat.KernelStack / 1024 },
	"PageTables":      func(m *meminfo) uint64 { return m.stat.PageTables / 1024 },
	"SecPageTables":   func(m *meminfo) uint64 { return m.stat.SecPageTables / 1024 },
	"CommitLimit":     func(m *meminfo) uint64 { return m.commitLimit },
	"Committed_AS":    func(m *meminfo) uint64 { return m.committed },
	"VmallocUsed":     func(m *meminfo) uint64 { return m.stat.Vmalloc / 1024 },
	"Percpu":          func(m *meminfo) uint64 { return m.stat.Percpu / 1024 },
	"AnonHugePages":   func(m *meminfo) uint64 { return m.stat.AnonHuge / 1024 },
	"ShmemHugePages":  func(m *meminfo) uint64 { return m.stat.ShmemHuge / 1024 },
	"FileHugePages":   func(m *meminfo) uint64 { return m.stat.FileHuge / 1024 },
	"HugePages_Total": func(m *meminfo) uint64 { return m.hugeTotal },
	"HugePages_Free":  func(m *meminfo) uint64 { return m.hugeFree },
	"Hugetlb":         func(m *meminfo) uint64 { return m.hugetlb },
}

// constantLines are the same in a container as on its host.
var constantLines = map[string]bool{"VmallocTotal": true, "VmallocChunk": true, "Hugepagesize": true}

// swapLines are ruled by swap limits even where the host governs memory.
var swapLines = map[string]bool{"SwapTotal": true, "SwapFree": true}

// memoryLine is one of the host's lines, cut as the kernel prints it.
type memoryLine struct {
	host   []byte // the whole line
	key    string // "" for a line that can't be parsed
	prefix []byte // up to the field of the number
	width  int    // of that field
	value  uint64 // the host's
	suffix []byte // " kB\n" or "\n"
	show   func(*meminfo) uint64
}

// meminfoLayout is the host's meminfo: its lines in order, and what other figures need of it.
type meminfoLayout struct {
	lines                      []memoryLine
	total, swapTotal, swapFree uint64 // kB
	hugePageSize, hugePages    uint64 // kB, count
}

var errNoMemTotal = errors.New("no MemTotal")

// parseMeminfo cuts the host's file into lines. MemTotal is necessary.
func parseMeminfo(b []byte) (meminfoLayout, error) {
	var l meminfoLayout
	for line := range bytes.Lines(b) {
		m := parseMemoryLine(line)
		l.lines = append(l.lines, m)
		l.keep(m)
	}
	if l.total == 0 {
		return l, lacking(errNoMemTotal, b, "MemTotal")
	}
	return l, nil
}

// parseMemoryLine parses "%-16s%8lu kB\n", and "HugePages_Total:   %5lu\n".
func parseMemoryLine(line []byte) memoryLine {
	odd := memoryLine{host: line}
	key, rest, ok := bytes.Cut(line, []byte(":"))
	if !ok || len(key) == 0 {
		return odd
	}
	digits := bytes.TrimLeft(rest, " \t")
	end := 0
	for end < len(digits) && digits[end] >= '0' && digits[end] <= '9' {
		end++
	}
	value, err := strconv.ParseUint(string(digits[:end]), 10, 64)
	if suffix := digits[end:]; err != nil || len(suffix) > 0 && suffix[0] != ' ' && suffix[0] != '\n' {
		return odd
	}
	m := memoryLine{host: line, key: string(key), value: value, width: 8, suffix: digits[end:]}
	if len(bytes.TrimSpace(m.suffix)) == 0 {
		m.width = 5
	}
	field := len(line) - len(digits)
	column := field + end
	// A key too long for its column pushes the number, whose field is
	// narrower then ("HardwareCorrupted: %5lu kB").
	m.prefix = line[:max(len(key)+1, min(field, column-m.width))]
	m.width = min(m.width, column-len(m.prefix))
	m.show = memoryLines[m.key]
	return m
}

func (l *meminfoLayout) keep(m memoryLine) {
	switch m.key {
	case "MemTotal":
		l.total = m.value
	case "SwapTotal":
		l.swapTotal = m.value
	case "SwapFree":
		l.swapFree = m.value
	case "Hugepagesize":
		l.hugePageSize = m.value
	case "HugePages_Total":
		l.hugePages = m.value
	}
}

// appendMeminfo makes /proc/meminfo.
func (v *View) appendMeminfo(b []byte) ([]byte, error) {
	g, err := v.cgroup()
	if err != nil {
		return b, err
	}
	host, err := v.host.meminfo.get(v.host.now())
	if err != nil {
		return b, err
	}
	mem := borrow()
	defer mem.giveBack()
	m := &mem.meminfo
	limited, err := v.meminfo(g, &host, m, &mem.stat)
	if err != nil {
		return b, err
	}
	return m.append(b, host.lines, limited), nil
}

// meminfo reads one snapshot into m. limited is false where the host governs
// memory. outer is memory to work in.
func (v *View) meminfo(g *cgroup.Group, host *meminfoLayout, m *meminfo, outer *cgroup.MemoryStat) (limited bool, err error) {
	*m = meminfo{}
	gov, err := v.governing(g, host.total)
	if err != nil {
		return false, err
	}
	if gov.level < 0 {
		m.swap = v.readSwap(g, host, gov, nil, outer)
		return false, v.gone(g)
	}
	m.total = gov.limit / 1024
	usage := v.figure(g.MemoryUsage(gov.level))
	m.free = under(gov.limit, usage) / 1024
	m.available = m.total
	for i := range g.MemoryLevels() {
		limit := gov.limit
		if i != gov.level {
			if limit = v.limit(g.MemoryLimit(i)); limit >= host.total*1024 {
				continue
			}
		}
		st, used := &m.stat, usage
		if i != gov.level {
			st, used = outer, v.figure(g.MemoryUsage(i))
		}
		v.fault(g.MemoryStat(i, st))
		reclaimable := st.ActiveFile + st.InactiveFile + st.SlabReclaimable
		m.available = min(m.available, under(limit+reclaimable, used)/1024)
	}
	m.swap = v.readSwap(g, host, gov, &m.stat, outer)
	// An outer level can be fuller than the governing one: what it has not
	// is not free here either.
	m.free = min(m.free, m.available)
	v.readHugePages(g, host, m)
	v.readCommit(m)
	return true, v.gone(g)
}

// governs is the level that governs memory.
type governs struct {
	level int    // -1: the host
	limit uint64 // bytes
}

// governing finds the level with the smallest limit, of equals the innermost;
// the host governs where no limit is below its MemTotal (kB).
func (v *View) governing(g *cgroup.Group, hostTotal uint64) (governs, error) {
	gov := governs{level: -1, limit: hostTotal * 1024}
	for i := range g.MemoryLevels() {
		limit, err := g.MemoryLimit(i)
		if err != nil && i == 0 && g.Gone() {
			return gov, v.lost(g)
		}
		if limit = v.limit(limit, err); limit < gov.limit {
			gov = governs{i, limit}
		}
	}
	return gov, v.gone(g)
}

// readHugePages fills the lines of the default huge page size where a level limits it.
func (v *View) readHugePages(g *cgroup.Group, host *meminfoLayout, m *meminfo) {
	if host.hugePageSize == 0 || host.hugePages == 0 {
		return
	}
	size := host.hugePageSize * 1024
	smallest := uint64(cgroup.NoLimit)
	for i := range g.HugetlbLevels() {
		limit, used, err := g.Hugetlb(i, size)
		v.faultUnlessMissing(err)
		if limit >= smallest {
			continue
		}
		smallest = limit
		m.hugeTotal, m.hugeFree = limit/size, under(limit, used)/size
	}
	// A limit above what the host has set aside promises pages that are not there.
	m.hugeFree = under(min(m.hugeTotal, host.hugePages), m.hugeTotal-m.hugeFree)
	m.hugeTotal = min(m.hugeTotal, host.hugePages)
	m.hugetlb = m.hugeTotal * host.hugePageSize
}

// readCommit follows vm_commit_limit in mm/util.c, on this view's totals.
func (v *View) readCommit(m *meminfo) {
	oc, _ := v.host.overcommit.get(v.host.now()) // it has defaults
	allowed := oc.kbytes
	if allowed == 0 {
		allowed = under(m.total, m.hugetlb) / 4 * oc.ratio / 100 * 4
	}
	m.commitLimit = allowed + m.swap.total
	m.committed = m.stat.Anon/1024 + m.stat.Shmem/1024
	if !m.swap.host {
		m.committed += m.swap.used
	}
}

// append prints the figures in the host's lines. A line that has no figure of
// this view is 0, but for constants; how the host maps its memory (DirectMap)
// is left out, and so are lines that can't be parsed.
func (m *meminfo) append(b []byte, lines []memoryLine, limited bool) []byte {
	for i := range lines {
		l := &lines[i]
		value := uint64(0)
		switch {
		case !limited && !swapLines[l.key], constantLines[l.key]:
			b = append(b, l.host...)
			continue
		case l.show != nil:
			value = l.show(m)
		case l.key == "", strings.HasPrefix(l.key, "DirectMap"):
			continue
		}
		b = append(b, l.prefix...)
		b = appendPadded(b, value, l.width)
		b = append(b, l.suffix...)
	}
	return b
}

// appendPadded appends a number right-aligned in width columns.
func appendPadded(b []byte, n uint64, width int) []byte {
	digits := 1
	for m := n; m >= 10; m /= 10 {
		digits++
	}
	for ; digits < width; digits++ {
		b = append(b, ' ')
	}
	return strconv.AppendUint(b, n, 10)
}

// under is a − b, not below 0.
func under(a, b uint64) uint64 { return a - min(a, b) }
