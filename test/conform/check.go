package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// finding is one broken promise.
type finding struct{ file, what string }

func (f finding) String() string { return f.file + ": " + f.what }

// report is what a check has found.
type report struct {
	root     string
	host     bool   // the figures are the host's own
	file     string // being checked
	findings []finding
	absent   []string
	checked  int

	// facts that files tell of the same thing
	memory           meminfo
	swapTotal, swap  uint64           // of swaps, kB
	cpus             map[string][]int // numbers, by file
	idle, upIdle     float64          // seconds
	up               float64
	btime            uint64
	statAt, uptimeAt time.Time
}

// fail notes a finding of the file at hand, once.
func (r *report) fail(format string, args ...any) {
	f := finding{r.file, fmt.Sprintf(format, args...)}
	if !slices.Contains(r.findings, f) {
		r.findings = append(r.findings, f)
	}
}

// expect is fail unless ok.
func (r *report) expect(ok bool, format string, args ...any) {
	if !ok {
		r.fail(format, args...)
	}
}

// file is one file and its rules.
type file struct {
	path string
	mode fs.FileMode
	// parse checks one text of it.
	parse func(r *report, text string)
	// later checks that a text, read some time after another, may follow it.
	later func(r *report, before, after string, passed time.Duration)
	// empty says that it may hold nothing.
	empty bool
}

var files = []file{
	{path: "proc/meminfo", mode: 0o444, parse: (*report).meminfo},
	{path: "proc/swaps", mode: 0o444, parse: (*report).swaps},
	{path: "proc/cpuinfo", mode: 0o444, parse: (*report).cpuinfo},
	{path: "proc/stat", mode: 0o444, parse: (*report).stat, later: (*report).statLater},
	{path: "proc/uptime", mode: 0o444, parse: (*report).uptime, later: (*report).uptimeLater},
	{path: "proc/loadavg", mode: 0o444, parse: (*report).loadavg},
	{path: "proc/diskstats", mode: 0o444, parse: (*report).diskstats, later: (*report).diskstatsLater, empty: true},
	{path: "proc/slabinfo", mode: 0o400, parse: (*report).slabinfo},
	{path: "proc/pressure/cpu", mode: 0o666, parse: (*report).pressure, later: (*report).pressureLater},
	{path: "proc/pressure/memory", mode: 0o666, parse: (*report).pressure, later: (*report).pressureLater},
	{path: "proc/pressure/io", mode: 0o666, parse: (*report).pressure, later: (*report).pressureLater},
	{path: "proc/pressure/irq", mode: 0o666, parse: (*report).pressure, later: (*report).pressureLater},
	{path: cpuDir + "/online", mode: 0o444, parse: (*report).cpuList},
	{path: cpuDir + "/possible", mode: 0o444, parse: (*report).cpuList},
	{path: cpuDir + "/present", mode: 0o444, parse: (*report).cpuList},
}

func newReport(root string, host bool) *report {
	return &report{root: root, host: host, cpus: map[string][]int{}}
}

// check reads every file of a tree in every way.
// The figures of a host are rougher than those of a view.
func check(root string, host bool) *report {
	r := newReport(root, host)
	first := map[string]string{}
	begun := map[string]time.Time{}
	kept := map[string]*os.File{}
	for _, f := range files {
		r.file = f.path
		h, err := os.Open(filepath.Join(root, f.path))
		if errors.Is(err, fs.ErrNotExist) {
			r.absent = append(r.absent, f.path)
			continue
		}
		r.checked++
		if err != nil {
			r.fail("open: %v", err)
			continue
		}
		defer h.Close()
		begun[f.path] = time.Now()
		text, ok := r.whole(h)
		if !ok {
			continue
		}
		kept[f.path], first[f.path] = h, text
		r.text(f, text)
		r.ways(f, h, text)
	}
	// Counters are looked at twice, on the descriptors that are open already.
	const pause = 1200 * time.Millisecond
	time.Sleep(pause)
	for _, f := range files {
		h, ok := kept[f.path]
		if !ok {
			continue
		}
		r.file = f.path
		text, ok := r.whole(h)
		passed := time.Since(begun[f.path])
		if !ok {
			continue
		}
		r.text(f, text)
		if f.later != nil {
			f.later(r, first[f.path], text, passed)
		}
	}
	r.cpuTree()
	r.agree()
	return r
}

// text checks what all files have in common, then the file's own rules.
func (r *report) text(f file, text string) {
	if text == "" {
		r.expect(f.empty, "is empty")
		return
	}
	r.expect(strings.HasSuffix(text, "\n"), "the last line has no end")
	if i := strings.IndexFunc(text, func(c rune) bool { return c > '~' || c < ' ' && c != '\n' && c != '\t' }); i >= 0 {
		r.fail("byte %d is %q", i, text[i])
	}
	f.parse(r, text)
}

// agree compares what different files tell of the same thing.
func (r *report) agree() {
	r.agreeOnCPUs()
	if r.up > 0 && r.btime > 0 {
		// The host's btime is cut to seconds, and jumps when its clock is set. A
		// container starts after the machine, whose btime it shares.
		born := float64(r.uptimeAt.UnixMilli())/1000 - r.up
		r.expect(near(born, float64(r.btime), 3) || !r.host && born > float64(r.btime), "btime %d, but uptime says %.1f", r.btime, born)
		// Idle is idle, and on bare Linux the I/O wait is not in it.
		n := float64(max(1, len(r.cpus["proc/stat"])))
		gap := r.uptimeAt.Sub(r.statAt).Seconds()
		r.expect(near(r.upIdle, r.idle, 2+n*(gap+1)), "idle of stat is %.2f s, of uptime %.2f", r.idle, r.upIdle)
		r.expect(r.upIdle <= n*(r.up+1), "idle %.2f s in %.2f s of %d CPUs", r.upIdle, r.up, int(n))
	}
	if total, ok := r.memory["SwapTotal"]; ok && !slices.Contains(r.absent, "proc/swaps") {
		used := total - min(total, r.memory["SwapFree"])
		r.expect(near(float64(r.swapTotal), float64(total), 8), "SwapTotal is %d kB, swaps adds up to %d", total, r.swapTotal)
		r.expect(near(float64(r.swap), float64(used), 4096), "%d kB of swap are used, swaps says %d", used, r.swap)
	}
}

func near(a, b, tolerance float64) bool { return a-b <= tolerance && b-a <= tolerance }
