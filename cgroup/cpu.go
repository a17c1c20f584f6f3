package cgroup

import (
	"bytes"
	"fmt"
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
	if p.v2 {
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

// parseCPUMax parses cpu.max: "max 100000" or "50000 100000", in µs.
func parseCPUMax(b []byte) (quota, period uint64, err error) {
	q, p, ok := bytes.Cut(bytes.TrimSpace(b), []byte(" "))
	if !ok {
		return 0, 0, fmt.Errorf("%q is not quota and period", clip(string(b)))
	}
	if quota, err = parseLimit(q); err != nil {
		return 0, 0, err
	}
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
	// v1: usage_all (since Linux 4.7) tells user and system time as the ticks
	// found them, usage_percpu the exact time of both together.
	all, exact *file
}

func newUsageFiles(g *Group) usageFiles {
	var u usageFiles
	// A root's use is the host's: no group was made there.
	if p, ok := g.own("cpu"); ok && p.path != "/" {
		u.stat = p.file("cpu.stat")
	}
	if p, ok := g.own("cpuacct"); ok && !p.v2 && p.path != "/" {
		u.all, u.exact = p.file("cpuacct.usage_all"), p.file("cpuacct.usage_percpu")
	}
	return u
}

// parseCPUStat parses cpu.stat of either version, into µs.
func parseCPUStat(b []byte) (u CPUUsage, err error) {
	err = forLines(b, func(line []byte) error {
		key, value, _ := bytes.Cut(line, space)
		var into *uint64
		unit := uint64(1)
		switch string(key) {
		case "user_usec":
			into = &u.User
		case "system_usec":
			into = &u.System
		case "nice_usec": // since Linux 6.11
			into = &u.Nice
		case "nr_throttled":
			into = &u.ThrottledPeriods
		case "throttled_usec":
			into = &u.Throttled
		case "throttled_time": // v1
			into, unit = &u.Throttled, 1000
		default:
			return nil
		}
		n, err := parseUint(value)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		*into = n / unit
		return nil
	})
	// user_usec has nice_usec in it.
	u.Nice = min(u.Nice, u.User)
	u.User -= u.Nice
	return u, err
}

// CPUUsage reads the group's use; per-CPU times are appended to perCPU where
// the kernel has them (v1).
func (g *Group) CPUUsage(perCPU []CPUTime) (CPUUsage, []CPUTime, error) {
	var u CPUUsage
	if g.usage.stat != nil {
		err := g.usage.stat.with(func(b []byte) (err error) { u, err = parseCPUStat(b); return err })
		if err != nil {
			return u, perCPU, err
		}
	}
	if g.usage.all == nil {
		return u, perCPU, nil
	}
	err := g.usage.all.with(func(b []byte) (err error) {
		perCPU, err = parseUsageAll(b, perCPU)
		return err
	})
	if err == nil {
		err = g.usage.exact.with(func(b []byte) error { return scaleUsage(b, perCPU) })
	}
	u.User, u.System, u.Nice = 0, 0, 0
	for _, t := range perCPU {
		u.User += t.User
		u.System += t.System
	}
	return u, perCPU, err
}

// parseUsageAll parses cpuacct.usage_all: a header, then "cpu user system" in ns.
func parseUsageAll(b []byte, times []CPUTime) ([]CPUTime, error) {
	err := forLines(b, func(line []byte) error {
		if bytes.HasPrefix(line, []byte("cpu")) {
			return nil
		}
		var n [3]uint64
		for i := range n {
			word, rest, _ := bytes.Cut(line, []byte(" "))
			v, err := parseUint(word)
			if err != nil {
				return err
			}
			n[i], line = v, rest
		}
		if n[0] > maxCPU {
			return fmt.Errorf("cpu %d: at most %d are possible", n[0], maxCPU)
		}
		times = append(times, CPUTime{CPU: int(n[0]), User: n[1] / 1000, System: n[2] / 1000})
		return nil
	})
	return times, err
}

// scaleUsage parts the exact times of cpuacct.usage_percpu, in ns, by what
// ticks have found: a group that is throttled runs in step with the ticks, and
// is found far too often or too seldom. So does the kernel for processes
// (cputime_adjust in kernel/sched/cputime.c). Both files list the same CPUs.
func scaleUsage(b []byte, times []CPUTime) error {
	rest := bytes.TrimSpace(b)
	for i := range times {
		var word []byte
		word, rest, _ = bytes.Cut(rest, space)
		ns, err := parseUint(word)
		if err != nil {
			return fmt.Errorf("CPU %d: %w", times[i].CPU, err)
		}
		t, exact := &times[i], ns/1000
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
	return nil
}
