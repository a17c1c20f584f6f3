package view

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
)

func shown(n int, own bool) cpus {
	c := cpus{own: own}
	for i := range n {
		c.set = append(c.set, i)
	}
	return c
}

func total(cpus []cpuTimes) (t cpuTimes) {
	for _, c := range cpus {
		t.add(c)
	}
	return t
}

func TestClockSharesUseEvenly(t *testing.T) {
	var c cpuClock
	got := c.advance(cpuSample{
		now: 110 * time.Second, shown: shown(2, false), steal: true,
		use: cgroup.CPUUsage{User: 6e6, System: 2e6, Nice: 1e6, Throttled: 3e6},
	}, 100*time.Second, nil)
	want := cpuTimes{user: 300, system: 100, nice: 50, steal: 150, idle: 400}
	for i := range got {
		if got[i] != want {
			t.Errorf("cpu%d is %+v, want %+v", i, got[i], want)
		}
	}
}

func TestClockTakesPerCPUTimesWhereEachIsShown(t *testing.T) {
	var c cpuClock
	got := c.advance(cpuSample{
		now: 10 * time.Second, shown: cpus{set: []int{2, 5}, own: true},
		use:    cgroup.CPUUsage{User: 5e6, System: 1e6},
		perCPU: []cgroup.CPUTime{{CPU: 0}, {CPU: 2, User: 4e6}, {CPU: 5, User: 1e6, System: 1e6}},
	}, 0, nil)
	want := []cpuTimes{{user: 400, idle: 600}, {user: 100, system: 100, idle: 800}}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("cpu%d is %+v, want %+v", i, got[i], want[i])
		}
	}
}

func TestClockDropsThrottledTimeThereWasNoRoomFor(t *testing.T) {
	var c cpuClock
	s := cpuSample{now: 10 * time.Second, shown: shown(1, false), steal: true, use: cgroup.CPUUsage{User: 5e6, Throttled: 40e6}}
	got := c.advance(s, 0, nil)
	if want := (cpuTimes{user: 500, steal: 500}); got[0] != want {
		t.Errorf("while throttled: %+v, want %+v", got[0], want)
	}
	s.now += 10 * time.Second
	got = c.advance(s, 0, nil)
	if want := (cpuTimes{user: 500, steal: 500, idle: 1000}); got[0] != want {
		t.Errorf("idle afterwards: %+v, want %+v", got[0], want)
	}
	s.now += 10 * time.Second
	s.use.Throttled += 10e6
	s.steal = false
	got = c.advance(s, 0, nil)
	if want := (cpuTimes{user: 500, steal: 500, idle: 2000}); got[0] != want {
		t.Errorf("hidden: %+v, want %+v", got[0], want)
	}
}

func TestClockKeepsTheSumWhenCPUsGo(t *testing.T) {
	var c cpuClock
	s := cpuSample{now: 10 * time.Second, shown: shown(4, false), use: cgroup.CPUUsage{User: 20e6}}
	before := total(c.advance(s, 0, nil))
	s.shown = shown(1, false)
	after := total(c.advance(s, 0, nil))
	if before != after {
		t.Errorf("4 CPUs counted %+v, the one left %+v", before, after)
	}
}

// TestClockInvariants holds the rules of docs/views.md under any sequence of
// samples: resizes, use beyond the quota, sources that fall, samples that come
// in late.
func TestClockInvariants(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		var c cpuClock
		born := time.Duration(r.Int64N(int64(time.Hour)))
		s := cpuSample{now: born + time.Duration(r.Int64N(int64(time.Hour))), steal: r.IntN(2) == 0}
		per := make([]cgroup.CPUTime, 8)
		most := map[int]cpuTimes{}
		var mostTotal, since cpuTimes
		n, sinceN := 1, time.Duration(0)
		for step := range 200 {
			passed := time.Duration(r.Int64N(int64(3 * time.Second)))
			if r.IntN(20) == 0 {
				passed = -passed // a sample taken earlier comes in later
			}
			s.now += passed
			resized := step == 0 || r.IntN(10) == 0
			if resized {
				n = 1 + r.IntN(8)
			}
			s.shown = shown(n, r.IntN(2) == 0)
			use(r, &s, per, n)

			got := c.advance(s, born, nil)
			sum := total(got)
			checkNoFall(t, "cpu", mostTotal, sum)
			mostTotal = sum
			for i, now := range got {
				checkNoFall(t, "cpuN", most[i], now)
				most[i] = now
			}
			if resized {
				since, sinceN = sum, c.at
				continue
			}
			want := float64(n) * float64(c.at-sinceN) / float64(tick)
			if grown := float64(sum.sum() - since.sum()); grown < want-float64(n) || grown > want+float64(n) {
				t.Fatalf("seed %d step %d: %d CPUs grew by %.0f ticks in %v, want %.1f ± %d", seed, step, n, grown, c.at-sinceN, want, n)
			}
		}
	}
}

// use lets the group use some time, at times more than it may, at times (by a
// race of the kernel's counters) less than none.
func use(r *rand.Rand, s *cpuSample, per []cgroup.CPUTime, n int) {
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
	s.perCPU = nil
	if !s.shown.own {
		return
	}
	for i := range per {
		per[i].CPU = i
		if i < n {
			more(&per[i].User)
			more(&per[i].System)
		}
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
