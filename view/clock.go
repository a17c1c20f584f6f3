package view

import (
	"slices"
	"sync"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
)

// tick is USER_HZ: the unit of the CPU times in /proc/stat.
const tick = 10 * time.Millisecond

// maxOwed bounds how much use a CPU may owe: use beyond the time that passed,
// which shows up when CPUs were taken away and the use before that is only
// seen now. It is shown as soon as there is time for it.
const maxOwed = time.Second

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

// cpuClock turns the use of a group into CPU counters that never fall and
// whose sum grows with time: each shown CPU gets every tick of the time that
// passes, as used where the group used it and else as idle.
type cpuClock struct {
	mu   sync.Mutex
	kept *keptClock // where the figures outlive this process, nil where they don't
	clockFigures
	cpus []cpuState // as many as were ever shown; the first shown of them are live
}

// clockFigures and cpuState hold no pointers: they are kept as they are.
type clockFigures struct {
	born, at  time.Duration // since boot; at is the time up to which CPUs have their ticks
	seen      cgroup.CPUUsage
	shown     uint64
	live      uint64 // CPUs kept; len(cpus)
	processes uint64 // the most tasks seen
}

type cpuState struct {
	times cpuTimes
	// owed is use not shown yet: remainders below a tick, and what there was no time for.
	user, nice, system, steal time.Duration
	part                      time.Duration // of a tick that has passed
	// what the kernel said of the host CPU that this one stood for
	host                 int64
	seenUser, seenSystem uint64 // µs
}

// cpuSample is one reading of a group's use.
type cpuSample struct {
	now    time.Duration
	use    cgroup.CPUUsage  // µs
	perCPU []cgroup.CPUTime // v1, and only where each shown CPU stands for one of the host's
	shown  cpus
	steal  bool
}

// advance takes in a sample and returns the shown CPUs' counters, appended to
// out. born is when the container's init started. Samples that come in out of
// order change nothing: all sources only grow.
func (c *cpuClock) advance(s cpuSample, born time.Duration, out []cpuTimes) []cpuTimes {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cpus == nil {
		c.born = min(born, s.now)
		c.at = c.born
	}
	n := len(s.shown.set)
	// The time before a change of N was lived by the CPUs of both sides of it.
	live := max(n, int(c.shown))
	for len(c.cpus) < live {
		c.cpus = append(c.cpus, cpuState{host: -1})
	}
	passed := max(0, s.now-c.at)
	c.at += passed
	c.shareUse(s, live)
	for i := range c.cpus[:live] {
		c.cpus[i].pass(passed)
	}
	c.fold(n)
	for i := range c.cpus[:n] {
		out = append(out, c.cpus[i].times)
	}
	c.keep()
	return out
}

// count takes in the number of tasks there are, and gives the most there were.
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

// shareUse lays the use since the last sample on the live CPUs: where the
// kernel tells it per CPU on those, the rest evenly.
func (c *cpuClock) shareUse(s cpuSample, live int) {
	user, nice, system := c.since(s.use)
	for i, cpu := range s.shown.set {
		if len(s.perCPU) == 0 {
			break
		}
		u, sys := c.cpus[i].own(cpu, s.perCPU)
		u, sys = min(u, user), min(sys, system)
		c.cpus[i].user += u
		c.cpus[i].system += sys
		user -= u
		system -= sys
	}
	var steal time.Duration
	if s.use.Throttled > c.seen.Throttled && s.steal {
		steal = micros(s.use.Throttled - c.seen.Throttled)
	}
	c.seen.Throttled = max(c.seen.Throttled, s.use.Throttled)
	for i := range c.cpus[:live] {
		cpu := &c.cpus[i]
		cpu.user += share(user, live, i)
		cpu.nice += share(nice, live, i)
		cpu.system += share(system, live, i)
		cpu.steal += share(steal, live, i)
	}
}

// since gives the use since the last sample, and remembers the new one.
func (c *cpuClock) since(use cgroup.CPUUsage) (user, nice, system time.Duration) {
	n := grown(&c.seen.User, &c.seen.Nice, &c.seen.System, use.User, use.Nice, use.System)
	return micros(n[0]), micros(n[1]), micros(n[2])
}

// grown gives by how much the sum of three counters has grown, in parts, and
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

// share is the i-th of n even parts; the first ones take the remainder.
func share(d time.Duration, n, i int) time.Duration {
	s := d / time.Duration(n)
	if time.Duration(i) < d%time.Duration(n) {
		s++
	}
	return s
}

// own gives what the host's CPU that this one stands for has done for the
// group since the last sample.
func (s *cpuState) own(cpu int, times []cgroup.CPUTime) (user, system time.Duration) {
	i, ok := slices.BinarySearchFunc(times, cpu, func(t cgroup.CPUTime, cpu int) int { return t.CPU - cpu })
	if !ok {
		return 0, 0
	}
	if s.host != int64(cpu) {
		// What a CPU did before it was shown under this number was told of evenly.
		s.host = int64(cpu)
		if s.times.sum() > 0 {
			s.seenUser, s.seenSystem = times[i].User, times[i].System
			return 0, 0
		}
		s.seenUser, s.seenSystem = 0, 0
	}
	var none uint64
	parts := grown(&s.seenUser, &none, &s.seenSystem, times[i].User, 0, times[i].System)
	return micros(parts[0]), micros(parts[2])
}

// pass gives the CPU the ticks of the time that passed: to what it owes, then
// to steal, and the rest to idle.
func (s *cpuState) pass(passed time.Duration) {
	s.part += passed
	ticks := uint64(s.part / tick)
	s.part %= tick
	pay := func(owed *time.Duration, times *uint64, bound time.Duration) {
		n := min(ticks, uint64(*owed/tick))
		*owed = min(*owed-time.Duration(n)*tick, bound)
		*times += n
		ticks -= n
	}
	pay(&s.user, &s.times.user, maxOwed)
	pay(&s.system, &s.times.system, maxOwed)
	pay(&s.nice, &s.times.nice, maxOwed)
	// Throttled time is counted once per CPU that had a task waiting, which
	// can be more than there is: the surplus is dropped.
	pay(&s.steal, &s.times.steal, tick-1)
	s.times.idle += ticks
}

// fold makes n CPUs the shown ones. What the others have counted is laid on
// those that stay, since the sum of all may not fall; they go on from their
// own figures when they come back.
func (c *cpuClock) fold(n int) {
	for i := n; i < int(c.shown); i++ {
		c.cpus[i%n].times.add(c.cpus[i].times)
	}
	c.shown = uint64(n)
}
