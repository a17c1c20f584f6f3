package main

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// whose says which machine a program shows.
type whose string

const (
	container whose = "container"
	host      whose = "host"
	neither   whose = "neither" // what it shows is true of nothing
)

// span holds what is true while a program runs.
type span struct{ least, most float64 }

// minutes is seconds cut to minutes, where either clock may be a second off.
func (s span) minutes() span {
	return span{math.Floor((s.least - 1) / 60), math.Floor((s.most + 1) / 60)}
}

func exactly(x float64) span { return span{x, x} }

func (s span) has(x, tolerance float64) bool {
	return x >= s.least-tolerance && x <= s.most+tolerance
}

// figure is something that programs tell, and how the kernel tells it: from the
// cgroup or from the whole machine, never from files of ours.
type figure struct {
	name      string
	format    string
	tolerance float64
	// hostTolerance is for figures of a machine on which others are at work.
	hostTolerance float64
	container     func(w *watch) span
	host          func(w *watch) span
}

func (f figure) show(x float64) string {
	if !strings.Contains(f.format, "%") {
		return f.format
	}
	return fmt.Sprintf(f.format, x)
}

// truth is what a program is to tell, and how far it may be off.
func (f figure) truth(w *watch, of whose) (span, float64) {
	if of == host {
		return f.host(w), max(f.tolerance, f.hostTolerance)
	}
	return f.container(w), f.tolerance
}

// MiB are shown for memory. Its tolerance is what the kernel charges in advance
// per CPU, and programs' rounding.
const (
	memory   = "%.0f MiB"
	memorySl = 3
	cpus     = "%.0f"
)

var (
	memTotal = figure{
		"memory in all", memory, 0.6, 0,
		func(w *watch) span { return exactly(w.limit) },
		func(w *watch) span { return exactly(w.machine.total) },
	}
	memFree = figure{
		"memory free", memory, memorySl, 96,
		func(w *watch) span { return w.over(func(s sample) float64 { return w.limit - s.used }) },
		func(w *watch) span { return w.over(func(s sample) float64 { return s.hostFree }) },
	}
	memAvailable = figure{
		"memory available", memory, memorySl, 96,
		func(w *watch) span { return w.over(func(s sample) float64 { return w.limit - s.used + s.reclaimable }) },
		nil,
	}
	memUsed = figure{
		"memory used", memory, memorySl, 96,
		func(w *watch) span { return w.over(func(s sample) float64 { return s.used }) },
		nil,
	}
	// What counts as used is each program's own affair.
	memUsedLessAvailable = figure{
		"memory used, without what is available", memory, memorySl, 96,
		func(w *watch) span { return w.over(func(s sample) float64 { return s.used - s.reclaimable }) },
		nil,
	}
	memUsedLessCache = figure{
		"memory used, without the page cache", memory, memorySl, 96,
		func(w *watch) span { return w.over(func(s sample) float64 { return s.used - s.cache }) },
		nil,
	}
	memBlocks = figure{
		"memory by blocks", memory, 0.6, 0,
		nil,
		func(w *watch) span { return exactly(w.machine.blocks) },
	}
	nodeMemory = figure{
		"memory of the node", memory, 2, 96,
		nil,
		func(w *watch) span { return w.over(func(s sample) float64 { return s.hostNode }) },
	}
	swapTotal = figure{
		"swap", memory, 0.6, 0,
		func(w *watch) span { return exactly(w.swap) },
		nil,
	}
	cpuCount = figure{
		"CPUs", cpus, 0, 0,
		func(w *watch) span { return exactly(w.cpus) },
		func(w *watch) span { return exactly(w.machine.cpus) },
	}
	// goProcs is Go's own rule since 1.25: at least 2.
	goProcs = figure{
		"threads of Go code", cpus, 0, 0,
		func(w *watch) span { return exactly(min(w.affinity, max(2, math.Ceil(w.quota)))) },
		nil,
	}
	cpuUsed = figure{
		"CPU time used", "%.0f %%", 8, 0,
		func(w *watch) span { return w.cpuUsed() },
		nil,
	}
	uptime = figure{
		"time since start", "%.0f s", 1.2, 0,
		func(w *watch) span { return w.over(func(s sample) float64 { return s.sinceBoot - w.born }) },
		func(w *watch) span { return w.over(func(s sample) float64 { return s.sinceBoot }) },
	}
	// bootTime is the machine's, cut to seconds.
	bootTime = figure{
		"time of the boot", "%.0f s ago", 1.2, 0,
		nil, uptime.host,
	}
	// processStart is that of the container's init: seconds since the boot, which
	// itself is cut to seconds.
	processStart = figure{
		"start of a process", "%.0f s ago", 2.2, 0,
		uptime.container, nil,
	}
	// processAge is what ps makes of the container's uptime, less the time from the
	// machine's boot to the process's start. If that is less than 0, as it is unless the
	// machine has just booted, it is printed without a sign.
	processAge = figure{
		"age of a process", "nonsense", 1.2, 0,
		func(w *watch) span {
			age := w.over(func(s sample) float64 { return s.sinceBoot - 2*w.born })
			switch {
			case age.most < -2:
				return span{w.samples[0].sinceBoot, math.Inf(1)}
			case age.least < 2:
				return span{0, math.Inf(1)}
			}
			return age
		},
		nil,
	}
	upMinutes = figure{
		"whole minutes since start", "%.0f min", 0, 0,
		func(w *watch) span { return uptime.container(w).minutes() },
		func(w *watch) span { return uptime.host(w).minutes() },
	}
	load1 = figure{
		"load", "%.2f", 0.15, 0.3,
		func(w *watch) span { return w.load() },
		func(w *watch) span { return w.over(func(s sample) float64 { return s.hostLoad }) },
	}
	written = figure{
		"written to the disk", "%.0f KiB", 256, 4096,
		func(w *watch) span { return w.over(func(s sample) float64 { return s.written }) },
		func(w *watch) span { return w.over(func(s sample) float64 { return s.hostWritten }) },
	}
)

// over is the span of what was seen while a program ran.
func (w *watch) over(f func(sample) float64) span {
	all := span{math.Inf(1), math.Inf(-1)}
	for _, s := range w.samples {
		all.least, all.most = min(all.least, f(s)), max(all.most, f(s))
	}
	return all
}

// cpuUsed is the use of the CPUs that are shown, over every stretch as long as
// the one that a program looks at: which one that is it does not tell. While it
// looks it hardly does anything itself, but starting it may take a while: so the
// least is what the work in the container uses.
func (w *watch) cpuUsed() span {
	return span{
		w.rates(func(s sample) float64 { return s.workCPU }).least,
		w.rates(func(s sample) float64 { return s.cpu }).most,
	}
}

// rates are percentages of the CPUs that are shown.
func (w *watch) rates(seconds func(sample) float64) span {
	all := span{math.Inf(1), math.Inf(-1)}
	for i, from := range w.samples {
		for _, to := range w.samples[i:] {
			if passed := to.at.Sub(from.at); passed >= w.interval {
				rate := 100 * (seconds(to) - seconds(from)) / passed.Seconds() / w.cpus
				all.least, all.most = min(all.least, rate), max(all.most, rate)
				break
			}
		}
	}
	return all
}

// load is the kernel's arithmetic for a load that has been the same since a
// container's start: it takes a step each 5 s, and knows no shorter time. The
// programs that ask run, too, one after the other, in up to two tasks at once.
func (w *watch) load() span {
	const period, readers = 6, 2
	after := func(seconds float64) float64 { return 1 - math.Exp(-max(0, seconds)/time.Minute.Seconds()) }
	return span{
		w.over(func(s sample) float64 { return w.waiting * after(s.sinceBoot-w.born-period) }).least,
		w.over(func(s sample) float64 {
			return w.waiting*after(s.sinceBoot-w.born+period) + readers*after(s.sinceBoot-w.asked)
		}).most,
	}
}
