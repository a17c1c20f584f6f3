package view

import (
	"slices"
	"sync"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
)

// tick is USER_HZ: the unit of the CPU times in /proc/stat.
const tick = 10 * time.Millisecond

// maxPending bounds the time that one CPU has yet to show: usage and steal time
// beyond the time that passed, for example usage before CPUs were taken away that
// is read only afterwards. It is shown as soon as there is time for it.
const maxPending = time.Second

// cpuTimes is one line of /proc/stat, in ticks.
type cpuTimes struct {
	user, nice, system, idle, steal uint64
}

func (t *cpuTimes) add(o cpuTimes) {
	t.user += o.user
	t.nice += o.nice
	t.system += o.system
	t.idle += o.idle
	t.steal += o.steal
}

func (t *cpuTimes) sum() uint64 { return t.user + t.nice + t.system + t.idle + t.steal }

// cpuDurations is CPU time that is not idle.
type cpuDurations struct{ user, nice, system, steal time.Duration }

func (d *cpuDurations) add(o cpuDurations) {
	d.user += o.user
	d.nice += o.nice
	d.system += o.system
	d.steal += o.steal
}

// portion returns the i-th of n even parts; the first parts take the remainder.
func (d cpuDurations) portion(n, i int) cpuDurations {
	of := func(d time.Duration) time.Duration {
		p := d / time.Duration(n)
		if time.Duration(i) < d%time.Duration(n) {
			p++
		}
		return p
	}
	return cpuDurations{of(d.user), of(d.nice), of(d.system), of(d.steal)}
}

// cpuClock turns a group's CPU usage into the counters of the CPUs that its view
// shows. Each shown CPU gets every tick of the time that passes: as used if the
// group used it, as steal if the group's quota held it back, otherwise as idle.
//
// A CPU that is no longer shown is off-line: its counters stand still and remain
// part of the total, as in the kernel's show_stat (fs/proc/stat.c), which sums up
// all possible CPUs. So no counter falls, and no past counts twice, however often
// CPUs come and go.
type cpuClock struct {
	mu   sync.Mutex
	kept *keptClock // where the figures outlive this process, nil where they don't
	clockFigures
	cpus []cpuState // every CPU that was ever shown, in the order of the host's numbers

	lived []int // scratch of advance: positions in cpus
}

// clockFigures and cpuState hold no pointers: they are kept as they are.
type clockFigures struct {
	born, at time.Duration // since boot; at is the time up to which CPUs have their ticks
	group    uint64        // cgroup.Group.UsageID of the last sample
	seen     cgroup.CPUUsage
	live     uint64 // CPUs kept; len(cpus)
	// stealAllowance is what the periods counted so far leave for steal time.
	stealAllowance time.Duration
	processes      uint64 // the most tasks seen
}

type cpuState struct {
	cpu     int64 // the host's number
	state   cpuShown
	times   cpuTimes
	pending cpuDurations  // not shown yet: remainders below a tick, and what there was no time for
	part    time.Duration // of a tick that has passed
	// what the kernel reported of this CPU (v1), in µs
	seenUser, seenSystem uint64
}

// cpuShown reports whether the last sample showed a CPU.
type cpuShown uint64

const (
	offline  cpuShown = iota
	newcomer          // not shown by the sample before
	resident
)

// cpuSample is one reading of a group's CPU usage.
type cpuSample struct {
	now    time.Duration
	group  uint64 // cgroup.Group.UsageID
	use    cgroup.CPUUsage
	perCPU []cgroup.CPUTime // v1: usage by each of the host's CPUs
	shown  cpus
	// stealPerPeriod bounds the steal time of a period in which the quota ran out.
	stealPerPeriod time.Duration
}

// advance takes in a sample. It returns the counters of all CPUs together, and
// those of the shown CPUs appended to out. born is when the container's init
// started. Samples that arrive out of order change nothing: all sources only grow.
func (c *cpuClock) advance(s cpuSample, born time.Duration, out []cpuTimes) (total cpuTimes, shown []cpuTimes) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cpus == nil {
		c.born = min(born, s.now)
		c.at = c.born
	}
	passed := max(0, s.now-c.at)
	c.at += passed
	first := c.cpus == nil
	if !first && s.group != c.group {
		c.rebase(&s)
	}
	c.group = s.group
	orphaned := c.show(s.shown.set)
	c.settle(&s, orphaned, first)
	for _, i := range c.lived {
		c.cpus[i].pass(passed)
	}
	for i := range c.cpus {
		total.add(c.cpus[i].times)
		if c.cpus[i].state != offline {
			out = append(out, c.cpus[i].times)
		}
	}
	c.keep()
	return total, out
}

// show makes set the CPUs that are shown. The time since the last sample belongs
// to as many CPUs as were shown both then and now: to those in lived. show
// returns what is pending on CPUs that went off-line.
func (c *cpuClock) show(set []int) (orphaned cpuDurations) {
	before, at := 0, 0
	for _, cpu := range set {
		for at < len(c.cpus) && c.cpus[at].cpu < int64(cpu) {
			at++
		}
		if at == len(c.cpus) || c.cpus[at].cpu != int64(cpu) {
			c.cpus = slices.Insert(c.cpus, at, cpuState{cpu: int64(cpu)})
		}
	}
	c.lived = c.lived[:0]
	for i := range c.cpus {
		s := &c.cpus[i]
		if s.state != offline {
			before++
		}
		if _, shown := slices.BinarySearch(set, int(s.cpu)); !shown {
			orphaned.add(s.pending)
			s.state, s.pending = offline, cpuDurations{}
			continue
		}
		s.state = min(s.state+1, resident)
		if s.state == resident {
			c.lived = append(c.lived, i)
		}
	}
	if before == 0 { // the first sample, or the first of another set
		before = len(set)
	}
	for i := range c.cpus {
		if c.cpus[i].state == newcomer && len(c.lived) < min(before, len(set)) {
			c.lived = append(c.lived, i)
		}
	}
	return orphaned
}

// settle adds the usage since the last sample to what is pending: where the kernel
// reports it per CPU on those CPUs, the rest evenly.
func (c *cpuClock) settle(s *cpuSample, rest cpuDurations, first bool) {
	rest.add(c.since(s))
	for i := range c.cpus {
		cpu := &c.cpus[i]
		if cpu.state == offline {
			continue
		}
		user, system := cpu.since(s.perCPU, first || cpu.state == resident)
		if s.shown.own {
			user, system = min(user, rest.user), min(system, rest.system)
			cpu.pending.add(cpuDurations{user: user, system: system})
			rest.user -= user
			rest.system -= system
		}
	}
	for n, i := range c.lived {
		c.cpus[i].pending.add(rest.portion(len(c.lived), n))
	}
}

// since returns the usage and the steal time since the last sample.
func (c *cpuClock) since(s *cpuSample) cpuDurations {
	n := grown(&c.seen.User, &c.seen.Nice, &c.seen.System, s.use.User, s.use.Nice, s.use.System)
	return cpuDurations{user: micros(n[0]), nice: micros(n[1]), system: micros(n[2]), steal: c.steal(s)}
}

// steal returns the steal time since the last sample.
//
// The kernel's throttled time counts each CPU on which a task waited, which can be
// all of the host's. In one period no more was withheld than the time of the
// shown CPUs less the quota. The period is counted first, its throttled time a
// moment later (do_sched_cfs_period_timer in kernel/sched/fair.c): a sample in
// between leaves one period's allowance to the next.
func (c *cpuClock) steal(s *cpuSample) time.Duration {
	throttled := micros(under(s.use.Throttled, c.seen.Throttled))
	periods := under(s.use.ThrottledPeriods, c.seen.ThrottledPeriods)
	c.seen.Throttled = max(c.seen.Throttled, s.use.Throttled)
	c.seen.ThrottledPeriods = max(c.seen.ThrottledPeriods, s.use.ThrottledPeriods)
	most := s.stealPerPeriod
	if most <= 0 {
		c.stealAllowance = 0
		return 0
	}
	periods = min(periods, uint64(throttled/most)+2) // no more is used, and none overflows
	allowed := min(c.stealAllowance, most) + time.Duration(periods)*most
	steal := min(throttled, allowed)
	c.stealAllowance = allowed - steal
	return steal
}

// since returns what this CPU has done for the group since the last sample, or 0
// if counting begins now.
func (s *cpuState) since(times []cgroup.CPUTime, counts bool) (user, system time.Duration) {
	i, ok := slices.BinarySearchFunc(times, s.cpu, func(t cgroup.CPUTime, cpu int64) int { return t.CPU - int(cpu) })
	if !ok {
		return 0, 0
	}
	if !counts {
		s.seenUser, s.seenSystem = times[i].User, times[i].System
		return 0, 0
	}
	var none uint64
	parts := grown(&s.seenUser, &none, &s.seenSystem, times[i].User, 0, times[i].System)
	return micros(parts[0]), micros(parts[2])
}

// grown returns by how much the sum of three counters has grown, in parts, and
// brings what was seen up to it. Only the sum is exact: a part may fall, and
// what another one has grown beyond the sum is not seen.
func grown(seenUser, seenNice, seenSystem *uint64, user, nice, system uint64) (parts [3]uint64) {
	left := under(user+nice+system, *seenUser+*seenNice+*seenSystem)
	parts[1] = min(left, under(nice, *seenNice))
	parts[2] = min(left-parts[1], under(system, *seenSystem))
	parts[0] = left - parts[1] - parts[2]
	*seenUser += parts[0]
	*seenNice += parts[1]
	*seenSystem += parts[2]
	return parts
}

func micros(n uint64) time.Duration { return time.Duration(n) * time.Microsecond }

// pass adds the ticks of the time that passed: to what is pending first, and
// the rest to idle.
func (s *cpuState) pass(passed time.Duration) {
	s.part += passed
	ticks := uint64(s.part / tick)
	s.part %= tick
	drain := func(pending *time.Duration, times *uint64) {
		n := min(ticks, uint64(*pending/tick))
		*pending = min(*pending-time.Duration(n)*tick, maxPending)
		*times += n
		ticks -= n
	}
	drain(&s.pending.user, &s.times.user)
	drain(&s.pending.system, &s.times.system)
	drain(&s.pending.nice, &s.times.nice)
	drain(&s.pending.steal, &s.times.steal)
	s.times.idle += ticks
}

// rebase makes a sample the start of counting: it is of another group, to which the
// container's init has moved. What was used there before does not count.
func (c *cpuClock) rebase(s *cpuSample) {
	c.seen = s.use
	for i := range c.cpus {
		c.cpus[i].since(s.perCPU, false)
	}
}

// running reports whether there has been a sample.
func (c *cpuClock) running() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cpus != nil
}

// count takes in the number of tasks, and returns the largest number so far.
func (c *cpuClock) count(tasks uint64) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if tasks > c.processes {
		c.processes = tasks
		c.keep()
	}
	return c.processes
}

// goOn has the figures kept from now on, those too of reads before the container
// was started (a runtime's, of a mount's source), or takes over those that were.
// Without room (nil) they live as long as this process. It tells when the
// container was born, where that was known before.
func (c *cpuClock) goOn(kept *keptClock) (born time.Duration, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if kept == nil || c.kept != nil {
		return 0, false
	}
	c.kept = kept
	cpus, known := kept.load(&c.clockFigures)
	if known {
		c.cpus = cpus
	}
	return c.born, known
}

func (c *cpuClock) keep() {
	if c.kept != nil && c.cpus != nil {
		c.kept.save(&c.clockFigures, c.cpus)
	}
}

// end gives up what is kept: for ever, where the group is gone.
func (c *cpuClock) end(gone bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept != nil {
		c.kept.release(gone)
		c.kept = nil
	}
}
