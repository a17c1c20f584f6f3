package view

import (
	"bytes"
	"errors"
	"slices"
	"strconv"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
)

// /proc/stat: show_stat in fs/proc/stat.c; docs/views.md, "stat".

// hostCPUStat is what views show of the host's /proc/stat.
type hostCPUStat struct {
	intr, ctxt, btime, softirq uint64
	softirqs                   int // columns after the total
}

var errNoCPU = errors.New("no cpu line")

// parseHostStat parses the host's totals. A cpu line is necessary; any other that is
// missing, or can't be parsed, is 0 (btime is, on boards without a clock).
func parseHostStat(b []byte) (hostCPUStat, error) {
	var h hostCPUStat
	cpu := false
	for line := range bytes.Lines(b) {
		key, rest, _ := bytes.Cut(line, []byte(" "))
		word, _, _ := bytes.Cut(bytes.TrimSpace(rest), []byte(" "))
		n, err := strconv.ParseUint(string(word), 10, 64)
		if err != nil {
			continue
		}
		switch string(key) {
		case "intr":
			h.intr = n
		case "ctxt":
			h.ctxt = n
		case "btime":
			h.btime = n
		case "softirq":
			h.softirq, h.softirqs = n, len(bytes.Fields(rest))-1
		default:
			cpu = cpu || bytes.HasPrefix(key, []byte("cpu"))
		}
	}
	if !cpu {
		return h, lacking(errNoCPU, b, "cpu")
	}
	return h, nil
}

// parseStatCPUs lists the CPUs of which the host's /proc/stat has lines: those that are
// on-line.
func parseStatCPUs(b []byte) ([]int, error) {
	var set []int
	for line := range bytes.Lines(b) {
		key, _, _ := bytes.Cut(line, []byte(" "))
		if n, ok := cpuDirNumber(string(key)); ok {
			set = append(set, n)
		}
	}
	slices.Sort(set)
	if set = slices.Compact(set); len(set) == 0 {
		return nil, lacking(errNoCPU, b, "cpu")
	}
	return set, nil
}

// stat is the figures of one snapshot of /proc/stat.
type stat struct {
	total                       cpuTimes
	cpus                        []cpuTimes
	numbers                     []int // of those CPUs
	host                        hostCPUStat
	btime                       uint64
	processes, running, blocked uint64
}

// appendStat makes /proc/stat.
func (v *View) appendStat(b []byte) ([]byte, error) {
	g, err := v.cgroup()
	if err != nil {
		return b, err
	}
	var s stat
	if s.host, err = v.host.stat.get(v.host.now()); err != nil {
		return b, err
	}
	mem := borrow()
	defer mem.giveBack()
	if s.total, s.cpus, err = v.cpuTimes(g, mem); err != nil {
		return b, err
	}
	s.numbers = mem.cpus
	s.btime = v.timeNamespace().bootTime(v.host, s.host.btime)
	// The kernel keeps no number of started processes per group. The largest
	// number of tasks seen never falls, as the host's.
	t := v.readTasks(g)
	s.processes, s.running, s.blocked = v.clock.count(t.count), t.running, t.blocked
	return s.append(b), v.gone(g)
}

// cpuTimes reads the group's CPU usage and brings the view's CPU clock up to
// now. It returns the counters of all CPUs together, and those of the shown
// CPUs, which are in mem.
func (v *View) cpuTimes(g *cgroup.Group, mem *scratch) (total cpuTimes, shown []cpuTimes, err error) {
	s := cpuSample{group: g.UsageID()}
	if s.shown, err = v.readCPUs(g, mem); err != nil {
		return total, nil, err
	}
	if !v.hideThrottled {
		s.stealPerPeriod = s.shown.stealPerPeriod()
	}
	s.use, mem.perCPU, err = g.CPUUsage(mem.perCPU[:0])
	v.fault(err)
	s.perCPU = mem.perCPU
	s.now = v.host.now()
	start, known := v.started()
	if known {
		v.keepClock(g)
	} else {
		start = s.now
	}
	total, mem.times = v.clock.advance(s, start, mem.times[:0])
	return total, mem.times, nil
}

// append prints the kernel's lines. Per-interrupt columns are left out (they
// are the host's, and cost milliseconds on large machines); the softirq
// columns stay, as 0, since readers count on them.
func (s *stat) append(b []byte) []byte {
	b = appendCPUTimes(append(b, "cpu "...), &s.total)
	for i := range s.cpus {
		b = strconv.AppendInt(append(b, "cpu"...), int64(s.numbers[i]), 10)
		b = appendCPUTimes(b, &s.cpus[i])
	}
	for _, l := range []struct {
		key   string
		value uint64
	}{
		{"intr ", s.host.intr},
		{"\nctxt ", s.host.ctxt},
		{"\nbtime ", s.btime},
		{"\nprocesses ", s.processes},
		{"\nprocs_running ", s.running},
		{"\nprocs_blocked ", s.blocked},
		{"\nsoftirq ", s.host.softirq},
	} {
		b = strconv.AppendUint(append(b, l.key...), l.value, 10)
	}
	for range s.host.softirqs {
		b = append(b, " 0"...)
	}
	return append(b, '\n')
}

// appendCPUTimes prints user nice system idle iowait irq softirq steal guest guest_nice.
func appendCPUTimes(b []byte, t *cpuTimes) []byte {
	for _, n := range [10]uint64{t.user, t.nice, t.system, t.idle, 0, 0, 0, t.steal, 0, 0} {
		b = strconv.AppendUint(append(b, ' '), n, 10)
	}
	return append(b, '\n')
}
