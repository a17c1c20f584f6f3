package view

import (
	"errors"
	"os"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
)

// swap is one view's swap, kB.
type swap struct {
	total, used uint64
	host        bool // the host governs swap: the figures are its own
}

// readSwap follows docs/views.md, "swap". gov is the level that governs memory.
func (v *View) readSwap(g *cgroup.Group, host *meminfoLayout, gov governs) swap {
	if v.noSwap {
		return swap{}
	}
	s := swap{total: host.swapTotal, used: under(host.swapTotal, host.swapFree), host: true}
	switch {
	case s.total == 0:
	case g.MemoryV2():
		s = v.swapV2(g, s)
	case gov.level >= 0:
		s = v.swapV1(g, s.total, gov)
	}
	return s
}

// swapV2: swap has limits of its own, and the level with the smallest governs it.
func (v *View) swapV2(g *cgroup.Group, host swap) swap {
	level, smallest := -1, host.total*1024
	for i := range g.MemoryLevels() {
		limit, err := g.SwapLimit(i)
		v.faultUnlessMissing(err)
		if err == nil && limit < smallest {
			level, smallest = i, limit
		}
	}
	if level < 0 {
		return host
	}
	total := smallest / 1024
	return swap{total: total, used: min(total, v.figure(g.SwapUsage(level))/1024)}
}

// swapV1: one limit counts memory and swap together.
func (v *View) swapV1(g *cgroup.Group, hostTotal uint64, gov governs) swap {
	both := uint64(cgroup.NoLimit)
	for i := range g.MemoryLevels() {
		limit, err := g.SwapLimit(i)
		if errors.Is(err, os.ErrNotExist) { // a kernel without swap accounting
			return swap{}
		}
		v.fault(err)
		if err == nil {
			both = min(both, limit)
		}
	}
	used := under(v.figure(g.SwapUsage(gov.level)), v.figure(g.MemoryUsage(gov.level))) / 1024
	total := hostTotal
	if both != cgroup.NoLimit {
		total = min(total, under(both, gov.limit)/1024)
	}
	total = max(total, used)
	if v.figure(g.Swappiness(0)) == 0 {
		total = used
	}
	return swap{total: total, used: used}
}
