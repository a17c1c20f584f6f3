package view

import (
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
)

// /sys/devices/system/cpu/{online,possible,present}: cpumap_print_to_pagebuf
// in drivers/base/cpu.c; docs/views.md, "The number of CPUs".

// cpus is the CPUs a view shows.
type cpus struct {
	set []int // the host's CPUs shown, ascending: N of them
	own bool  // N is the whole cpuset: no quota makes it smaller
	// bandwidth is the group's own quota.
	bandwidth cgroup.CPUBandwidth
}

// readCPUs finds the first N CPUs of the effective cpuset; they are in mem.
func (v *View) readCPUs(g *cgroup.Group, mem *scratch) (cpus, error) {
	online, err := v.host.online.get(v.host.now())
	if err != nil {
		return cpus{}, err
	}
	set, err := g.CPUs(mem.cpus[:0])
	v.fault(err)
	set = intersect(set, online)
	if len(set) == 0 {
		set = append(set, online...)
	}
	mem.cpus = set
	n := len(set)
	var own cgroup.CPUBandwidth
	for i := range g.CPULevels() {
		b, err := g.CPUBandwidth(i)
		if err != nil {
			if i == 0 && g.Gone() {
				return cpus{}, ErrGone
			}
			v.faultUnlessMissing(err)
			continue
		}
		if i == 0 {
			own = b
		}
		n = min(n, b.CPUs())
	}
	return cpus{set: set[:n], own: n == len(set), bandwidth: own}, nil
}

// stealPerPeriod returns how much time the group's quota can withhold from the
// shown CPUs in one period.
func (c *cpus) stealPerPeriod() time.Duration {
	if !c.bandwidth.Limited() {
		return 0
	}
	return micros(under(uint64(len(c.set))*c.bandwidth.Period, c.bandwidth.Quota))
}

// scratch is memory for one render.
type scratch struct {
	cpus   []int
	perCPU []cgroup.CPUTime
	times  []cpuTimes

	meminfo meminfo
	stat    cgroup.MemoryStat
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func borrow() *scratch { return scratches.Get().(*scratch) }

func (m *scratch) giveBack() { scratches.Put(m) }

// intersect keeps in a what b has too, in a's memory; both ascend.
func intersect(a, b []int) []int {
	kept, j := a[:0], 0
	for _, c := range a {
		for j < len(b) && b[j] < c {
			j++
		}
		if j < len(b) && b[j] == c {
			kept = append(kept, c)
		}
	}
	return kept
}

func parseOnline(b []byte) ([]int, error) {
	set, err := cgroup.ParseCPUs(b, nil)
	if err == nil && len(set) == 0 {
		err = fmt.Errorf("no CPU is online")
	}
	return set, err
}

// appendCPURange makes the files that list the CPUs: "0-<N−1>", "0" for one.
func (v *View) appendCPURange(b []byte) ([]byte, error) {
	g, err := v.cgroup()
	if err != nil {
		return b, err
	}
	mem := borrow()
	defer mem.giveBack()
	c, err := v.readCPUs(g, mem)
	if err != nil {
		return b, err
	}
	b = append(b, '0')
	if n := len(c.set); n > 1 {
		b = strconv.AppendInt(append(b, '-'), int64(n-1), 10)
	}
	return append(b, '\n'), v.gone(g)
}
