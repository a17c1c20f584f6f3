package main

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// stats is /proc/stat, taken apart.
type stats struct {
	cpus  map[string][]uint64 // "cpu", "cpu0", …: ticks
	order []string
	other map[string]uint64
}

var statLine = regexp.MustCompile(`^[a-z_]+\d*( ?)( \d+)+$`)

func (r *report) parseStat(text string) stats {
	s := stats{cpus: map[string][]uint64{}, other: map[string]uint64{}}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		m := statLine.FindStringSubmatch(line)
		if m == nil {
			r.fail("line %.60q", line)
			continue
		}
		f := strings.Fields(line)
		var n []uint64
		for _, w := range f[1:] {
			v, err := strconv.ParseUint(w, 10, 64)
			if err != nil {
				r.fail("line %.60q: %v", line, err)
			}
			n = append(n, v)
		}
		r.expect((m[1] != "") == (f[0] == "cpu"), "line %.20q: blanks", line)
		s.order = append(s.order, f[0])
		if strings.HasPrefix(f[0], "cpu") {
			s.cpus[f[0]] = n
			r.expect(len(n) == 10, "line %s has %d columns", f[0], len(n))
			continue
		}
		s.other[f[0]] = n[0]
		if f[0] == "softirq" {
			r.expect(len(n) == 11, "softirq has %d columns", len(n))
		}
	}
	return s
}

func (r *report) stat(text string) {
	r.statAt = time.Now()
	s := r.parseStat(text)
	var set []int
	want := []string{"cpu"}
	for _, name := range s.order {
		cpu, err := strconv.Atoi(strings.TrimPrefix(name, "cpu"))
		if err == nil && (len(set) == 0 || cpu > set[len(set)-1]) {
			set = append(set, cpu)
			want = append(want, name)
		}
	}
	n := len(set)
	want = append(want, "intr", "ctxt", "btime", "processes", "procs_running", "procs_blocked", "softirq")
	r.expect(strings.Join(s.order, " ") == strings.Join(want, " "), "lines are %v", s.order)
	for i, total := range s.cpus["cpu"] {
		var sum uint64
		for name, c := range s.cpus {
			if name != "cpu" && i < len(c) {
				sum += c[i]
			}
		}
		// The kernel sums nanoseconds, and cuts to ticks after that. What off-line CPUs
		// have used is in the total only.
		r.expect(near(float64(total), float64(sum), float64(n+1)) || r.offline() && total > sum, "column %d of cpu is not the sum of its CPUs", i+1)
	}
	r.cpus["proc/stat"] = set
	r.btime = s.other["btime"]
	if c := s.cpus["cpu"]; len(c) > 3 {
		r.idle = float64(c[3]) / 100
	}
}

// statLater: no counter falls (but bare Linux's idle and iowait, see
// proc_stat(5)), and the CPUs' times add up to the time that passed.
func (r *report) statLater(before, after string, passed time.Duration) {
	a, b := r.parseStat(before), r.parseStat(after)
	const idle, iowait = 3, 4
	for name, old := range a.cpus {
		for i := range min(len(old), len(b.cpus[name])) {
			r.expect(b.cpus[name][i] >= old[i] || r.host && (i == idle || i == iowait), "column %d of %s fell", i+1, name)
		}
	}
	for _, key := range []string{"intr", "ctxt", "processes", "softirq"} {
		r.expect(b.other[key] >= a.other[key], "%s fell", key)
	}
	r.expect(near(float64(a.other["btime"]), float64(b.other["btime"]), 1), "btime went from %d to %d", a.other["btime"], b.other["btime"])
	n := float64(len(b.cpus) - 1)
	// guest times are in user and nice already.
	grown := sum(b.cpus["cpu"], 8) - sum(a.cpus["cpu"], 8)
	want := passed.Seconds() * 100 * n
	// Reading takes time; the host's own ticks are rough on idle CPUs, and a
	// virtual CPU that does not get to run has none.
	tolerance := n * (5 + want*0.1)
	r.expect(near(grown, want, tolerance) || r.host && grown < want && grown > want/4, "the CPUs' times grew by %.0f ticks in %v on %.0f CPUs", grown, passed.Round(10*time.Millisecond), n)
}

func sum(columns []uint64, n int) float64 {
	var s uint64
	for _, c := range columns[:min(n, len(columns))] {
		s += c
	}
	return float64(s)
}

var uptimeText = regexp.MustCompile(`^(\d+\.\d\d) (\d+\.\d\d)\n$`)

func (r *report) uptime(text string) {
	r.uptimeAt = time.Now()
	m := uptimeText.FindStringSubmatch(text)
	if m == nil {
		r.fail("text %q", text)
		return
	}
	r.up, r.upIdle = seconds(m[1]), seconds(m[2])
}

func seconds(s string) float64 {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return -1
	}
	return f
}

func (r *report) uptimeLater(before, after string, passed time.Duration) {
	a, b := uptimeText.FindStringSubmatch(before), uptimeText.FindStringSubmatch(after)
	if a == nil || b == nil {
		return
	}
	grown := seconds(b[1]) - seconds(a[1])
	r.expect(near(grown, passed.Seconds(), 0.3), "grew by %.2f s in %v", grown, passed.Round(10*time.Millisecond))
	// The host's own idle counter wavers by ticks.
	r.expect(seconds(b[2]) >= seconds(a[2]) || r.host, "idle fell")
}

var loadavgText = regexp.MustCompile(`^\d+\.\d\d \d+\.\d\d \d+\.\d\d (\d+)/(\d+) (\d+)\n$`)

func (r *report) loadavg(text string) {
	m := loadavgText.FindStringSubmatch(text)
	if m == nil {
		r.fail("text %q", text)
		return
	}
	r.expect(seconds(m[1]) <= seconds(m[2]), "%s of %s tasks run", m[1], m[2])
	r.expect(m[3] != "0", "the last pid is 0")
}
