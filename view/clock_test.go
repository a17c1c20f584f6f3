package view

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
)

func shown(n int) (c cpus) {
	for i := range n {
		c.set = append(c.set, i)
	}
	return c
}

// advanced returns the counters of the shown CPUs.
func advanced(c *cpuClock, s cpuSample, born time.Duration) []cpuTimes {
	_, cpus := c.advance(s, born, nil)
	return cpus
}

func TestClockSharesUseEvenly(t *testing.T) {
	var c cpuClock
	got := advanced(&c, cpuSample{
		now: 110 * time.Second, shown: shown(2), stealPerPeriod: 100 * time.Millisecond,
		use: cgroup.CPUUsage{User: 6e6, System: 2e6, Nice: 1e6, Throttled: 3e6, ThrottledPeriods: 100},
	}, 100*time.Second)
	want := cpuTimes{user: 300, system: 100, nice: 50, steal: 150, idle: 400}
	for i := range got {
		if got[i] != want {
			t.Errorf("cpu%d is %+v, want %+v", i, got[i], want)
		}
	}
}

func TestClockTakesPerCPUTimesWhereEachIsShown(t *testing.T) {
	var c cpuClock
	got := advanced(&c, cpuSample{
		now: 10 * time.Second, shown: cpus{set: []int{2, 5}, own: true},
		use:    cgroup.CPUUsage{User: 5e6, System: 1e6},
		perCPU: []cgroup.CPUTime{{CPU: 0}, {CPU: 2, User: 4e6}, {CPU: 5, User: 1e6, System: 1e6}},
	}, 0)
	want := []cpuTimes{{user: 400, idle: 600}, {user: 100, system: 100, idle: 800}}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("cpu%d is %+v, want %+v", i, got[i], want[i])
		}
	}
}

// TestStealIsBoundedByThePeriods: the kernel counts throttled time once for each
// CPU on which a task waited. However often it is read, a period withholds the
// time of the shown CPUs less the quota.
func TestStealIsBoundedByThePeriods(t *testing.T) {
	throttled := func(n int) (c *cpuClock, last cpuTimes) {
		c = &cpuClock{}
		s := cpuSample{shown: shown(1), stealPerPeriod: 50 * time.Millisecond}
		for i := range n { // 20 s of spinning under a quota of half a CPU
			s.now += 20 * time.Second / time.Duration(n)
			s.use = cgroup.CPUUsage{User: 10e6 * uint64(i+1) / uint64(n), Throttled: 33e6 * uint64(i+1) / uint64(n), ThrottledPeriods: 200 * uint64(i+1) / uint64(n)}
			advanced(c, s, 0)
		}
		s.now += 10 * time.Second
		return c, advanced(c, s, 0)[0]
	}
	for _, reads := range []int{1, 3, 20, 200, 2000} {
		if _, got := throttled(reads); got.user != 1000 || got.steal < 995 || got.steal > 1000 || got.idle > 1005 {
			t.Errorf("%d reads: %+v, want 1000 ticks of user, 1000 of steal, 1000 of idle", reads, got)
		}
	}
	c, before := throttled(1)
	got := advanced(c, cpuSample{now: 40 * time.Second, shown: shown(1), use: cgroup.CPUUsage{User: 10e6, Throttled: 43e6, ThrottledPeriods: 300}}, 0)[0]
	if before.idle += 1000; got != before {
		t.Errorf("hidden: %+v, want %+v", got, before)
	}
}

// TestClockOfCPUsThatGo: a CPU that is taken away stands still and stays in the
// total; when it comes back it goes on from there, without the time between.
func TestClockOfCPUsThatGo(t *testing.T) {
	var c cpuClock
	set := func(numbers ...int) cpus { return cpus{set: numbers, own: true} }
	s := cpuSample{now: 10 * time.Second, shown: set(0, 2, 3, 5), use: cgroup.CPUUsage{User: 20e6}}
	all, before := c.advance(s, 0, nil)
	s.shown = set(2)
	if total, _ := c.advance(s, 0, nil); total != all {
		t.Errorf("4 CPUs counted %+v, with three of them off-line %+v", all, total)
	}
	s.now += time.Hour
	total, got := c.advance(s, 0, nil)
	all.idle += 360_000
	if total != all {
		t.Errorf("an hour later the total is %+v, want %+v", total, all)
	}
	if want := before[1].idle + 360_000; got[0].idle != want {
		t.Errorf("an hour later CPU 2 has %d ticks of idle, want %d", got[0].idle, want)
	}
	s.shown = set(0, 2, 3, 5)
	total, got = c.advance(s, 0, nil)
	if total != all || got[0] != before[0] || got[3] != before[3] {
		t.Errorf("back on-line: total %+v, want %+v; CPU 0 %+v, want %+v", total, all, got[0], before[0])
	}
	s.now += time.Second
	s.shown = set(1, 4)
	if total, got = c.advance(s, 0, nil); len(got) != 2 || total.sum() != all.sum()+200 {
		t.Errorf("two other CPUs: total %+v, want 200 ticks more than %+v", total, all)
	}
}

// TestRebase: a group to which the init has moved has a past that is not the
// container's.
func TestRebase(t *testing.T) {
	var c cpuClock
	s := cpuSample{now: 10 * time.Second, shown: cpus{set: []int{0}, own: true}, use: cgroup.CPUUsage{User: 4e6}, perCPU: []cgroup.CPUTime{{User: 4e6}}}
	advanced(&c, s, 0)
	for _, u := range []uint64{9e6, 1e6} {
		before := advanced(&c, s, 0)[0]
		late := s
		s.now += time.Second
		s.group++
		s.use.User, s.perCPU = u, []cgroup.CPUTime{{User: u}}
		before.idle += 100
		if got := advanced(&c, s, 0)[0]; got != before {
			t.Errorf("in a group that used %d µs: %+v, want %+v", u, got, before)
		}
		for range 2 { // a sample that was taken before is taken in afterwards
			if got := advanced(&c, late, 0)[0]; got != before {
				t.Errorf("a late sample of another group: %+v, want %+v", got, before)
			}
			if got := advanced(&c, s, 0)[0]; got != before {
				t.Errorf("again in a group that used %d µs: %+v, want %+v", u, got, before)
			}
		}
		s.now += time.Second
		s.use.User, s.perCPU[0].User = u+500_000, u+500_000
		before.idle, before.user = before.idle+50, before.user+50
		if got := advanced(&c, s, 0)[0]; got != before {
			t.Errorf("half a second of use later: %+v, want %+v", got, before)
		}
	}
}

// TestClockInvariants holds the rules of docs/views.md under any sequence of
// samples: resizes, usage beyond the quota, sources that fall, samples that
// arrive late.
func TestClockInvariants(t *testing.T) {
	const possible = 8
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		var c cpuClock
		born := time.Duration(r.Int64N(int64(time.Hour)))
		s := cpuSample{now: born + time.Duration(r.Int64N(int64(time.Hour)))}
		per := make([]cgroup.CPUTime, possible)
		most := map[int]cpuTimes{}
		var before cpuTimes
		at := born
		for step := range 200 {
			passed := time.Duration(r.Int64N(int64(3 * time.Second)))
			if r.IntN(20) == 0 {
				passed = -passed // a sample taken earlier arrives later
			}
			s.now += passed
			n := len(s.shown.set)
			if step == 0 || r.IntN(4) == 0 {
				s.shown.set = slices.Sorted(slices.Values(r.Perm(possible)[:1+r.IntN(possible)]))
			}
			s.shown.own = r.IntN(2) == 0
			s.stealPerPeriod = time.Duration(r.IntN(3)) * 50 * time.Millisecond
			if r.IntN(30) == 0 {
				s.group, s.use = r.Uint64N(3), cgroup.CPUUsage{User: r.Uint64N(1e9), Throttled: r.Uint64N(1e9)}
				clear(per)
			}
			use(r, &s, per)

			total, got := c.advance(s, born, nil)
			checkNoFall(t, "cpu", before, total)
			for i, now := range got {
				cpu := s.shown.set[i]
				checkNoFall(t, "cpuN", most[cpu], now)
				most[cpu] = now
			}
			if step == 0 {
				n = len(s.shown.set)
			}
			n = min(n, len(s.shown.set)) // of a resize both sides count
			want := float64(n) * float64(c.at-at) / float64(tick)
			if grown := float64(total.sum() - before.sum()); grown < want-float64(n) || grown > want+float64(n) {
				t.Fatalf("seed %d step %d: %d CPUs grew by %.0f ticks in %v, want %.1f ± %d", seed, step, n, grown, c.at-at, want, n)
			}
			before, at = total, c.at
		}
	}
}

// use lets the group use some time, at times more than it may, at times (by a
// race of the kernel's counters) less than none.
func use(r *rand.Rand, s *cpuSample, per []cgroup.CPUTime) {
	more := func(to *uint64) {
		d := uint64(r.Int64N(2e6))
		if r.IntN(30) == 0 {
			*to -= min(*to, d/100)
			return
		}
		*to += d
	}
	more(&s.use.User)
	more(&s.use.System)
	more(&s.use.Nice)
	more(&s.use.Throttled)
	s.use.ThrottledPeriods += uint64(r.IntN(20))
	for i := range per {
		per[i].CPU = i
		more(&per[i].User)
		more(&per[i].System)
	}
	s.perCPU = per
}

func checkNoFall(t *testing.T, what string, before, now cpuTimes) {
	t.Helper()
	if now.user < before.user || now.nice < before.nice || now.system < before.system || now.idle < before.idle || now.steal < before.steal {
		t.Fatalf("%s fell from %+v to %+v", what, before, now)
	}
}

// TestGrown: the kernel parts the exact sum by estimates, which change.
func TestGrown(t *testing.T) {
	var user, nice, system uint64
	var total [3]uint64
	for _, s := range [][3]uint64{{10, 0, 10}, {25, 0, 5}, {20, 0, 20}, {20, 5, 16}, {30, 5, 16}, {30, 5, 16}, {1, 1, 1}} {
		sum, before := s[0]+s[1]+s[2], user+nice+system
		parts := grown(&user, &nice, &system, s[0], s[1], s[2])
		for i := range total {
			total[i] += parts[i]
		}
		if total != [3]uint64{user, nice, system} || user+nice+system != max(sum, before) {
			t.Errorf("after %v: seen %d %d %d, shown %v", s, user, nice, system, total)
		}
	}
}
