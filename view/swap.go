package view

import (
	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
)

// swap is one view's swap, kB.
type swap struct {
	total, used uint64
	host        bool // the host governs swap: the figures are its own
}

// readSwap follows docs/views.md, "swap". gov is the level that governs memory, and
// known its memory.stat, nil if that has not been read; work is memory to work in.
func (v *View) readSwap(g *cgroup.Group, host *meminfoLayout, gov governs, known, work *cgroup.MemoryStat) swap {
	if v.noSwap {
		return swap{}
	}
	s := swap{total: host.swapTotal, used: under(host.swapTotal, host.swapFree), host: true}
	switch {
	case s.total == 0:
	case g.MemoryV2():
		return v.swapV2(g, s)
	default:
		return v.swapV1(g, s, gov, known, work)
	}
	return s
}

// swapV2: swap has limits of its own, and the level with the smallest governs it.
func (v *View) swapV2(g *cgroup.Group, host swap) swap {
	level, smallest := -1, host.total*1024
	for i := range g.MemoryLevels() {
		if limit := v.limit(g.SwapLimit(i)); limit < smallest {
			level, smallest = i, limit
		}
	}
	if level < 0 {
		return host
	}
	total := smallest / 1024
	return swap{total: total, used: min(total, v.figure(g.SwapUsage(level))/1024)}
}

// swapV1: one limit counts memory and swap together. What of it is left for swap
// is the smallest such limit less the memory that there can be.
func (v *View) swapV1(g *cgroup.Group, host swap, gov governs, known, work *cgroup.MemoryStat) swap {
	both, level, accounted := uint64(cgroup.NoLimit), gov.level, false
	for i := range g.MemoryLevels() {
		limit, err := g.SwapLimit(i)
		v.faultUnlessMissing(err)
		if err != nil {
			continue
		}
		accounted = true
		if limit < both {
			both, level = limit, i
		}
	}
	total := host.total
	switch {
	case both == cgroup.NoLimit:
	case gov.level < 0 && both < gov.limit: // the memory limit below it can't be read
		total = min(total, both/1024)
	default:
		total = min(total, under(both, gov.limit)/1024)
	}
	switch {
	case gov.level < 0 && total == host.total:
		return host
	case !accounted: // a kernel without swap accounting
		return swap{}
	}
	stat := known
	if stat == nil || level != gov.level {
		stat = work
		v.fault(g.MemoryStat(level, stat))
	}
	used := stat.Swap / 1024
	if swappiness, err := g.Swappiness(0); err == nil && swappiness == 0 {
		total = used
	} else {
		v.faultUnlessMissing(err)
	}
	return swap{total: max(total, used), used: used}
}
