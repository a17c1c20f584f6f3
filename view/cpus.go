package view

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
)

// /sys/devices/system/cpu/{online,possible,present}: show_cpus_attr in
// drivers/base/cpu.c; docs/views.md, "The number of CPUs".

// cpus is the CPUs that a view shows as on-line, under the host's numbers. The
// host's others are off-line in it.
type cpus struct {
	set []int // ascending: N of them
	own bool  // N is the whole cpuset: no quota makes it smaller
	all bool  // these are all of the host's on-line CPUs
	// bandwidth is the group's own quota.
	bandwidth cgroup.CPUBandwidth
}

// readCPUs finds the first N CPUs of the effective cpuset. They are mem.cpus.
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
	n := len(set)
	var own cgroup.CPUBandwidth
	for i := range g.CPULevels() {
		b, err := g.CPUBandwidth(i)
		if err != nil {
			if i == 0 && g.Gone() {
				return cpus{}, v.lost(g)
			}
			v.faultUnlessMissing(err)
			continue
		}
		if i == 0 {
			own = b
		}
		n = min(n, b.CPUs())
	}
	mem.cpus = set[:n]
	return cpus{set: mem.cpus, own: n == len(set), all: n == len(online), bandwidth: own}, nil
}

// offline reports whether the view shows a CPU as off-line though the host may
// have it on-line.
func (c *cpus) offline(cpu int) bool {
	if c.all {
		return false
	}
	_, shown := slices.BinarySearch(c.set, cpu)
	return !shown
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
	cpus    []int // shown
	perCPU  []cgroup.CPUTime
	times   []cpuTimes
	threads []int  // on-line in each package of cpuinfo
	cores   []int  // that have them
	counted []bool // cores that have been counted

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

// parseCPUList parses one of the host's lists of CPUs.
func parseCPUList(b []byte) ([]int, error) {
	set, err := cgroup.ParseCPUs(b, nil)
	if err == nil && len(set) == 0 {
		err = errors.New("no CPU is listed")
	}
	return set, err
}

// onlineNow returns the CPUs of the host that are on-line.
func (h *Host) onlineNow() ([]int, error) { return h.online.get(h.now()) }

// appendOnline renders the list of on-line CPUs: those shown.
func (v *View) appendOnline(b []byte) ([]byte, error) { return v.appendCPUs(b, nil) }

// appendPossible renders the list of possible CPUs: the host's, since getcpu(2)
// and rseq(2) return any of them.
func (v *View) appendPossible(b []byte) ([]byte, error) { return v.appendCPUs(b, &v.host.possible) }

// appendPresent renders the list of present CPUs: the host's.
func (v *View) appendPresent(b []byte) ([]byte, error) { return v.appendCPUs(b, &v.host.present) }

func (v *View) appendCPUs(b []byte, hosts *cached[[]int]) ([]byte, error) {
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
	set := c.set
	if hosts != nil {
		if set, err = hosts.get(v.host.now()); err != nil {
			return b, err
		}
	}
	return appendCPUList(b, set), v.gone(g)
}
