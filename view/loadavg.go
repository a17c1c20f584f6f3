package view

import (
	"errors"
	"strconv"
	"sync"
	"time"
)

// /proc/loadavg: loadavg_proc_show in fs/proc/loadavg.c, and the averages of
// kernel/sched/loadavg.c; docs/views.md, "loadavg".

// The kernel's fixed point and period (linux/sched/loadavg.h).
const (
	loadShift  = 11
	loadOne    = 1 << loadShift
	loadPeriod = 5 * time.Second
)

// loadDecay is e to the power of −5 s/1 min, −5 s/5 min, −5 s/15 min.
var loadDecay = [3]uint64{1884, 2014, 2037}

const (
	// loadHolds is how long a group is sampled after its last read.
	loadHolds = 15 * time.Minute
	// loadSettled is from which age on a group that was not sampled so far is
	// taken to have had its present load all along.
	loadSettled = time.Minute
)

// load is one group's averages.
type load struct {
	mu      sync.Mutex
	average [3]uint64     // fixed point
	read    time.Duration // when it was last read, since boot
	watched bool
}

// step lets one period pass with that many active tasks (calc_load).
func (l *load) step(active uint64) {
	active <<= loadShift
	for i, decay := range loadDecay {
		next := l.average[i]*decay + active*(loadOne-decay)
		if active >= l.average[i] {
			next += loadOne - 1
		}
		l.average[i] = next >> loadShift
	}
}

// begin starts the averages of a group of that age.
func (l *load) begin(age time.Duration, active uint64) {
	l.average = [3]uint64{}
	if age >= loadSettled {
		for i := range l.average {
			l.average[i] = active << loadShift
		}
		return
	}
	for range age / loadPeriod {
		l.step(active)
	}
}

// appendLoadavg makes /proc/loadavg.
func (v *View) appendLoadavg(b []byte) ([]byte, error) {
	g, err := v.cgroup()
	if err != nil {
		return b, err
	}
	t := v.readTasks(g)
	if err := v.gone(g); err != nil {
		return b, err
	}
	now := v.host.now()
	start, known := v.started()
	if !known {
		start = now
	}
	v.load.mu.Lock()
	defer v.load.mu.Unlock()
	if !v.load.watched {
		v.load.begin(now-start, t.running+t.blocked)
		v.load.watched = true
		v.sampler.watch(v)
	}
	v.load.read = now
	return appendLoad(b, v.load.average, &t), nil
}

// appendLoad prints averages, running and all tasks, and the last pid.
func appendLoad(b []byte, average [3]uint64, t *taskFigures) []byte {
	for _, a := range average {
		a += loadOne / 200 // to the nearest hundredth
		b = append(appendHundredths(b, a>>loadShift*100+(a&(loadOne-1)*100)>>loadShift), ' ')
	}
	b = append(strconv.AppendUint(b, t.running, 10), '/')
	b = append(strconv.AppendUint(b, t.count, 10), ' ')
	return append(strconv.AppendInt(b, int64(t.lastPID), 10), '\n')
}

// sampler lets time pass for the averages of the groups that are watched. It
// runs only while there are any.
type sampler struct {
	mu      sync.Mutex
	views   map[*View]bool
	running bool
}

// watch adds a view.
func (s *sampler) watch(v *View) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.views == nil {
		s.views = map[*View]bool{}
	}
	s.views[v] = true
	if !s.running {
		s.running = true
		go s.run()
	}
}

func (s *sampler) run() {
	period := time.NewTicker(loadPeriod)
	defer period.Stop()
	for range period.C {
		for _, v := range s.watched() {
			v.sampleLoad()
		}
		if s.idle() {
			return
		}
	}
}

func (s *sampler) watched() []*View {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*View, 0, len(s.views))
	for v := range s.views {
		all = append(all, v)
	}
	return all
}

// idle ends the run where nothing is watched any more.
func (s *sampler) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = len(s.views) > 0
	return !s.running
}

func (s *sampler) drop(v *View) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.views, v)
}

// sampleLoad lets one period pass. It ends the watch of a group that is gone,
// or whose averages nobody has read for long.
func (v *View) sampleLoad() {
	g, err := v.cgroup()
	var t taskFigures
	if err == nil {
		t = v.readTasks(g)
		err = v.gone(g)
	}
	if errors.Is(err, errMoved) {
		return // the next period counts where it is now
	}
	v.load.mu.Lock()
	defer v.load.mu.Unlock()
	if err != nil || v.host.now()-v.load.read > loadHolds {
		v.load.watched = false
		v.sampler.drop(v)
		return
	}
	v.load.step(t.running + t.blocked)
}
