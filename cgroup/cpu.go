package cgroup

import (
	"bytes"
	"errors"
	"math"
	"math/bits"
)

// cpuLevel is the cpu controller's files of one level.
// cgroup-v2.rst, "CPU Interface Files"; scheduler/sched-bwc.rst for v1.
type cpuLevel struct {
	max           *file // v2 cpu.max
	quota, period *file // v1 cpu.cfs_quota_us, cpu.cfs_period_us
}

func newCPULevel(p place) cpuLevel {
	if p.h.v2 {
		return cpuLevel{max: p.file("cpu.max")}
	}
	return cpuLevel{quota: p.file("cpu.cfs_quota_us"), period: p.file("cpu.cfs_period_us")}
}

// CPULevels is the number of levels of the cpu controller.
func (g *Group) CPULevels() int { return len(g.cpu) }

// CPUBandwidth is the CPU time that a level may use in each period, in µs.
type CPUBandwidth struct{ Quota, Period uint64 }

// Limited reports whether there is a quota.
func (b CPUBandwidth) Limited() bool { return b.Quota != 0 && b.Quota != NoLimit && b.Period != 0 }

// CPUs returns the number of CPUs that the quota allows, rounded up, at least 1;
// math.MaxInt if there is no quota.
func (b CPUBandwidth) CPUs() int {
	if !b.Limited() {
		return math.MaxInt
	}
	n := b.Quota / b.Period
	if b.Quota%b.Period != 0 {
		n++
	}
	return int(max(1, min(n, math.MaxInt32)))
}

// CPUBandwidth returns a level's quota and period.
func (g *Group) CPUBandwidth(level int) (b CPUBandwidth, err error) {
	l := &g.cpu[level]
	if l.max != nil {
		err = l.max.with(func(text []byte) error { b.Quota, b.Period, err = parseCPUMax(text); return err })
		return b, err
	}
	// -1 stands for none, which parseUint takes as 0.
	if b.Quota, err = l.quota.readUint(); err == nil && b.Quota != 0 {
		b.Period, err = l.period.readUint()
	}
	return b, err
}

// parseCPUMax parses cpu.max: "max 100000" or "50000 100000", in µs. More fields
// than these are ignored.
func parseCPUMax(b []byte) (quota, period uint64, err error) {
	q, rest, _ := bytes.Cut(bytes.TrimSpace(b), space)
	if quota, err = parseLimit(q, 0); err != nil || quota == NoLimit {
		return quota, 0, err
	}
	p, _, _ := bytes.Cut(bytes.TrimSpace(rest), space)
	period, err = parseUint(p)
	return quota, period, err
}

// CPUUsage is the CPU time that a group and its descendants used since it was
// made, and how long its quota held it back; all in µs. The sum of User, Nice and
// System only grows. How it is parted among them is the kernel's estimate, and
// may change afterwards by a little.
type CPUUsage struct {
	User, System, Nice uint64
	// Throttled counts once for each CPU on which a task waited.
	Throttled uint64
	// ThrottledPeriods is the number of periods in which the quota ran out.
	ThrottledPeriods uint64
}

// CPUTime is the time used on one CPU (v1), in µs.
type CPUTime struct {
	CPU          int
	User, System uint64
}

type usageFiles struct {
	stat *file // cpu.stat
	// unified is cgroup2's cpu.stat, which every group has, where no v1 hierarchy
	// counts use.
	unified *file
	// v1: usage_all (since Linux 4.7) has user and system time as the ticks found
	// them, usage_percpu the exact time of both together.
	all, exact *file
}

func newUsageFiles(g *Group) usageFiles {
	var u usageFiles
	p, cpu := g.owns("cpu")
	if cpu {
		u.stat = p.file("cpu.stat")
	}
	a, ok := g.owns("cpuacct")
	switch {
	case !ok:
	case !a.h.v2:
		u.all, u.exact = a.file("cpuacct.usage_all"), a.file("cpuacct.usage_percpu")
	case cpu && !p.h.v2:
		u.unified = a.file("cpu.stat")
	}
	return u
}

// parseCPUStat parses cpu.stat of either version, into µs.
func parseCPUStat(b []byte) (u CPUUsage) {
	for line := range lines(b) {
		key, value, _ := bytes.Cut(line, space)
		n, err := parseUint(value)
		if err != nil {
			continue
		}
		switch string(key) {
		case "user_usec":
			u.User = n
		case "system_usec":
			u.System = n
		case "nice_usec": // since Linux 6.11
			u.Nice = n
		case "nr_throttled":
			u.ThrottledPeriods = n
		case "throttled_usec":
			u.Throttled = n
		case "throttled_time": // v1
			u.Throttled = n / 1000
		}
	}
	// user_usec has nice_usec in it.
	u.Nice = min(u.Nice, u.User)
	u.User -= u.Nice
	return u
}

// CPUUsage reads the group's use; per-CPU times are appended to perCPU where
// the kernel has them (v1). What can't be read is 0.
func (g *Group) CPUUsage(perCPU []CPUTime) (CPUUsage, []CPUTime, error) {
	var u CPUUsage
	var errStat, errUse error
	if g.usage.stat != nil {
		errStat = g.usage.stat.with(func(b []byte) error { u = parseCPUStat(b); return nil })
	}
	switch {
	case g.usage.unified != nil:
		throttled := u.Throttled
		errUse = g.usage.unified.with(func(b []byte) error { u = parseCPUStat(b); return nil })
		u.Throttled = throttled
	case g.usage.all != nil:
		start := len(perCPU)
		errUse = g.usage.all.with(func(b []byte) error { perCPU = parseUsageAll(b, perCPU); return nil })
		if errUse == nil {
			errUse = g.usage.exact.with(func(b []byte) error { scaleUsage(b, perCPU[start:]); return nil })
		}
		u.User, u.System, u.Nice = 0, 0, 0
		for _, t := range perCPU[start:] {
			u.User += t.User
			u.System += t.System
		}
	}
	return u, perCPU, errors.Join(errStat, errUse)
}

// parseUsageAll parses cpuacct.usage_all: a header, then "cpu user system" in ns.
func parseUsageAll(b []byte, times []CPUTime) []CPUTime {
	for line := range lines(b) {
		if bytes.HasPrefix(line, []byte("cpu")) {
			continue
		}
		cpu, rest, _ := bytes.Cut(line, space)
		user, system, _ := bytes.Cut(rest, space)
		n, err1 := parseUint(cpu)
		u, err2 := parseUint(user)
		s, err3 := parseUint(system)
		if err1 != nil || err2 != nil || err3 != nil || n > maxCPU {
			continue
		}
		times = append(times, CPUTime{CPU: int(n), User: u / 1000, System: s / 1000})
	}
	return times
}

// scaleUsage splits the exact times of cpuacct.usage_percpu, in ns, in the ratio
// that the ticks sampled: a group that is throttled runs in step with the ticks,
// which find it far too often or too seldom. So does the kernel for processes
// (cputime_adjust in kernel/sched/cputime.c). Both files list the possible CPUs; if
// one of them has a line less, CPUs are taken to be numbered without gaps.
func scaleUsage(b []byte, times []CPUTime) {
	words := 0
	for range bytes.FieldsSeq(b) {
		words++
	}
	aligned := words == len(times)
	i, cpu := 0, 0
	for word := range bytes.FieldsSeq(b) {
		for !aligned && i < len(times) && times[i].CPU < cpu {
			i++
		}
		if i < len(times) && (aligned || times[i].CPU == cpu) {
			if ns, err := parseUint(word); err == nil {
				times[i].scale(ns / 1000)
			}
			i++
		}
		cpu++
	}
}

// scale gives a CPU its exact time.
func (t *CPUTime) scale(exact uint64) {
	if found := t.User + t.System; found > 0 {
		hi, lo := bits.Mul64(exact, t.System)
		t.System = exact
		if hi < found {
			t.System, _ = bits.Div64(hi, lo, found)
		}
	}
	t.System = min(t.System, exact)
	t.User = exact - t.System
}
