package oracle

import (
	"math"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
	"github.com/lxcfs-nri/lxcfs-nri/test/box"
	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

// columns of the cpu lines of /proc/stat, in ticks of 10 ms.
const (
	user = iota
	nice
	system
	idle
	iowait
	irq
	softirq
	steal
	columns = 10
)

// stat is a reading of /proc/stat: when it was made lies between from and to.
type stat struct {
	from, to time.Time
	cpus     map[string][columns]float64
	other    map[string]float64
}

func readStat(t testing.TB, cmd *exec.Cmd) stat {
	t.Helper()
	s := stat{from: time.Now(), cpus: map[string][columns]float64{}, other: map[string]float64{}}
	text, err := box.Run(cmd)
	s.to = time.Now()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if !strings.HasPrefix(f[0], "cpu") {
			s.other[f[0]] = number(t, f[1])
			continue
		}
		var c [columns]float64
		for i := range c {
			c[i] = number(t, f[1+i])
		}
		s.cpus[f[0]] = c
	}
	return s
}

func (s stat) n() float64 { return float64(len(s.cpus) - 1) }

func (s stat) sum() (sum float64) {
	for _, c := range s.cpus["cpu"] {
		sum += c
	}
	return sum
}

// grows checks that the time of all CPUs together grew as time did: N ticks
// each 10 ms, ± N; after a resize, of the smaller N.
func (s stat) grows(t testing.TB, later stat) {
	t.Helper()
	n := min(s.n(), later.n())
	least := later.from.Sub(s.to).Seconds()*100*n - n
	most := later.to.Sub(s.from).Seconds()*100*n + n
	if got := later.sum() - s.sum(); got < least || got > most {
		t.Errorf("the sum of cpu grew by %.0f ticks, want %.0f to %.0f", got, least, most)
	}
}

// used is what a group has used, in ticks.
func used(t testing.TB, g *fixture.Group) float64 {
	t.Helper()
	if file := g.File("cpuacct.usage"); file != "" {
		return number(t, readFile(t, file)) / 1e7
	}
	return keyed(t, g.File("cpu.stat"), "usage_usec") / 1e4
}

// percentages are what a program tells of all CPUs.
type percentages struct{ used, idle, steal float64 }

var topLine = regexp.MustCompile(`(?m)^%Cpu\(s\): *([\d.]+) us, *([\d.]+) sy, *([\d.]+) ni, *([\d.]+) id, *([\d.]+) wa, *([\d.]+) hi, *([\d.]+) si, *([\d.]+) st`)

func parseTop(t testing.TB, out string) percentages {
	t.Helper()
	all := topLine.FindAllStringSubmatch(out, -1)
	if len(all) < 2 {
		t.Fatalf("top gives %d readings: %q", len(all), out)
	}
	m := all[len(all)-1] // the first is since the start
	return percentages{number(t, m[1]) + number(t, m[2]) + number(t, m[3]), number(t, m[4]), number(t, m[8])}
}

func parseVmstat(t testing.TB, out string) (p percentages) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(out), "\n")
	head := strings.Fields(lines[1])
	rows := lines[3:] // the first is since the start
	for _, row := range rows {
		for i, w := range strings.Fields(row) {
			switch head[i] {
			case "us", "sy":
				p.used += number(t, w) / float64(len(rows))
			case "id":
				p.idle += number(t, w) / float64(len(rows))
			case "st":
				p.steal += number(t, w) / float64(len(rows))
			}
		}
	}
	return p
}

func parseMpstat(t testing.TB, out string) (p percentages) {
	t.Helper()
	var head []string
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if i := slices.Index(f, "CPU"); i >= 0 {
			head = f[i+1:]
		}
		if len(f) < 2+len(head) || f[0] != "Average:" || f[1] != "all" {
			continue
		}
		for i, column := range head {
			switch column {
			case "%usr", "%nice", "%sys":
				p.used += number(t, f[2+i])
			case "%idle":
				p.idle += number(t, f[2+i])
			case "%steal":
				p.steal += number(t, f[2+i])
			}
		}
	}
	if head == nil {
		t.Fatalf("mpstat gives no average: %q", out)
	}
	return p
}

// percentagesOf is what a program tells.
type percentagesOf struct {
	name string
	percentages
	out string
}

// span is a figure that changes while it is read: what it was before and after.
type span struct{ from, to float64 }

// throttled is how long a quota has held a group back, in ticks of all CPUs together.
func throttled(t testing.TB, g *fixture.Group) float64 {
	t.Helper()
	if g.File("cpu.cfs_quota_us") != "" {
		return keyed(t, filepath.Join(filepath.Dir(g.File("cpu.cfs_quota_us")), "cpu.stat"), "throttled_time") / 1e7
	}
	return keyed(t, g.File("cpu.stat"), "throttled_usec") / 1e4
}

// TestThrottled: what would burn all CPUs under a quota of half a CPU uses up to
// half of the one CPU that is shown, and is held back for the other half: on an
// idle machine; on others, for what the kernel says. vmstat, mpstat and top say
// so too. Tolerance: the rounding of ticks for what is used; 8 % of the time for
// what is stolen, as throttling goes by periods of 100 ms; and 12 points for the
// programs, which are held back themselves.
func TestThrottled(t *testing.T) {
	g := fixture.NewGroup(t)
	g.Set(t, "cpu.max", "cpu.cfs_quota_us", "50000")
	b := box.New(t, g, daemon.Mountpoint)
	w := newWorker(t, b, "burn", "2")
	w.do()
	time.Sleep(time.Second)

	stat := func() (s stat, kernel span) {
		kernel.from = used(t, g)
		s = readStat(t, g.Command("cat", mounted("proc/stat")))
		kernel.to = used(t, g)
		return s, kernel
	}
	throttledBefore := throttled(t, g)
	before, usedBefore := stat()
	programs := map[string]struct {
		cmd   *exec.Cmd
		parse func(testing.TB, string) percentages
	}{
		"vmstat": {b.Command("vmstat", "-n", "2", "4"), parseVmstat},
		"mpstat": {b.Command("mpstat", "6", "1"), parseMpstat},
		"top":    {b.Command("top", "-b", "-d", "5", "-n", "2"), parseTop},
	}
	told := make(chan percentagesOf, len(programs))
	var wg sync.WaitGroup
	for name, p := range programs {
		wg.Go(func() {
			p.cmd.Env = append(p.cmd.Environ(), "LC_ALL=C", "TERM=dumb")
			out, err := box.Run(p.cmd)
			if err != nil {
				t.Error(err)
				return
			}
			told <- percentagesOf{name, p.parse(t, out), out}
		})
	}
	wg.Wait()
	close(told)
	after, usedAfter := stat()
	held := throttled(t, g) - throttledBefore

	if after.n() != 1 {
		t.Fatalf("%.0f CPUs are shown, want 1", after.n())
	}
	before.grows(t, after)
	change := func(column int) float64 { return after.cpus["cpu"][column] - before.cpus["cpu"][column] }
	passed := after.sum() - before.sum()
	got := change(user) + change(nice) + change(system)
	if least, most := usedAfter.from-usedBefore.to-2, usedAfter.to-usedBefore.from+2; got < least || got > most {
		t.Errorf("%.0f ticks are shown as used, the kernel says %.0f to %.0f", got, least, most)
	}
	if got > passed*0.56 {
		t.Errorf("%.0f ticks of %.0f were used under a quota of half", got, passed)
	}
	// The kernel counts once for each CPU that a task waits on: more than there is.
	if stolen, want := change(steal), min(held, passed-got); math.Abs(stolen-want) > passed*0.08 {
		t.Errorf("%.0f ticks of %.0f are stolen, the kernel says %.0f", stolen, passed, want)
	}
	if held < passed*0.1 {
		t.Errorf("the kernel has held it back for %.0f ticks of %.0f only: this machine is too busy", held, passed)
	}
	want := percentages{used: 100 * got / passed, idle: 100 * change(idle) / passed, steal: 100 * change(steal) / passed}
	for p := range told {
		if math.Abs(p.used-want.used) > 12 || math.Abs(p.steal-want.steal) > 12 || math.Abs(p.idle-want.idle) > 12 {
			t.Errorf("%s tells %+v, want %+v:\n%s", p.name, p.percentages, want, p.out)
		}
	}
}

// TestCountersNeverFall resizes a busy container in every way, and has the
// daemon killed and started anew meanwhile.
func TestCountersNeverFall(t *testing.T) {
	dir := t.TempDir()
	d, err := rig.Serve(t.Context(), dir, binary, "", rig.NoRuntime)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
	}()
	g := fixture.NewGroup(t)
	// The readers in the group shall have their turn soon.
	nice := func(name string, args ...string) *exec.Cmd {
		return g.Command("nice", append([]string{"-n", "19", name}, args...)...)
	}
	w := start(t, nice, "burn", "2")
	w.do()
	read := func() stat { return readStat(t, g.Command("cat", d.Mountpoint+"/proc/stat")) }
	uptime := func() (up, idle float64) {
		out, err := box.Run(g.Command("cat", d.Mountpoint+"/proc/uptime"))
		if err != nil {
			t.Fatal(err)
		}
		f := strings.Fields(out)
		return number(t, f[0]), number(t, f[1])
	}
	restart := func(end func() error) func() {
		return func() {
			if err := end(); err != nil {
				t.Fatal(err)
			}
			if d, err = rig.Serve(t.Context(), dir, binary, "", rig.NoRuntime); err != nil {
				t.Fatal(err)
			}
		}
	}
	quota := func(v string) func() {
		return func() { g.Set(t, "cpu.max", "cpu.cfs_quota_us", v) }
	}
	none := "-1"
	if g.File("cpu.max") != "" {
		none = "max"
	}
	cpus := func(v string) func() { return func() { g.Set(t, "cpuset.cpus", "cpuset.cpus", v) } }
	memory := func(m int) func() {
		return func() { g.Set(t, "memory.max", "memory.limit_in_bytes", strconv.Itoa(m*mib)) }
	}
	steps := []struct {
		name string
		do   func()
		n    float64 // CPUs shown after it
	}{
		{"memory 256", memory(256), 2},
		{"quota 0.5", quota("50000"), 1},
		{"SIGKILL", restart(func() error { return d.Kill() }), 1},
		{"quota 2", quota("200000"), 2},
		{"cpuset 1", cpus("1"), 1},
		{"SIGTERM", restart(func() error { return d.Stop() }), 1},
		{"cpuset 0-1", cpus("0-1"), 2},
		{"memory 128", memory(128), 2},
		{"cpuset 0", cpus("0"), 1},
		{"cpuset all, no quota", func() { cpus("0-1")(); quota(none)() }, 2},
		{"SIGKILL again", restart(func() error { return d.Kill() }), 2},
		{"quota 1.5", quota("150000"), 2},
		{"quota 0.1", quota("10000"), 1},
		{"no quota", quota(none), 2},
		{"memory 512", memory(512), 2},
	}
	highest := map[string][columns]float64{}
	var others stat
	var highUp, highIdle float64
	var last stat
	for _, step := range steps {
		step.do()
		for range 2 {
			time.Sleep(200 * time.Millisecond)
			now := read()
			if now.n() != step.n {
				t.Errorf("after %s: %.0f CPUs, want %.0f", step.name, now.n(), step.n)
			}
			for name, c := range now.cpus {
				for column, v := range c {
					if old := highest[name][column]; v < old {
						t.Errorf("after %s: column %d of %s fell from %.0f to %.0f", step.name, column+1, name, old, v)
					}
				}
				highest[name] = c
			}
			for _, key := range []string{"intr", "ctxt", "processes", "softirq"} {
				if now.other[key] < others.other[key] {
					t.Errorf("after %s: %s fell from %.0f to %.0f", step.name, key, others.other[key], now.other[key])
				}
			}
			others = now
			if last.cpus != nil {
				last.grows(t, now)
			}
			up, idle := uptime()
			if up < highUp || idle < highIdle {
				t.Errorf("after %s: uptime fell from %.2f %.2f to %.2f %.2f", step.name, highUp, highIdle, up, idle)
			}
			highUp, highIdle = up, idle
			last = read()
		}
	}
}

// TestLoad has three busy tasks for two minutes, and compares with what the
// kernel's averages would be: 3·(1−e^(−t/T)). Tolerance: one period of 5 s,
// plus 0.1 for what else ran in the container at a sample.
func TestLoad(t *testing.T) {
	t.Parallel()
	const tasks, lasts = 3, 2 * time.Minute
	g := fixture.NewGroup(t)
	// The other tests come first, but readers shall not wait: they would be load.
	usual := "1024"
	if g.File("cpu.weight") != "" {
		usual = "100"
	}
	yields := func(yes bool) {
		weight := map[bool]string{true: "2", false: usual}[yes]
		g.Set(t, "cpu.weight", "cpu.shares", weight)
	}
	g.Set(t, "memory.max", "memory.limit_in_bytes", strconv.Itoa(64*mib)) // who has no limit is shown the host's
	b := box.New(t, g, daemon.Mountpoint)
	// A Go program would have threads of its own.
	burners := b.Command("nice", "-n", "19", "sh", "-c", "while :; do :; done & while :; do :; done & while :; do :; done")
	if err := burners.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		yields(false)
		b.Output(t, "sh", "-c", "kill -9 -1") // all of the container but its init
		burners.Wait()                        //nolint:errcheck // ended by a signal
	})
	begun := time.Now()
	read := func() (load [3]float64, running float64) {
		f := strings.Fields(b.Output(t, "cat", "/proc/loadavg"))
		for i := range load {
			load[i] = number(t, f[i])
		}
		r, _, _ := strings.Cut(f[3], "/")
		return load, number(t, r)
	}
	at := func(t, period float64) float64 { return tasks * (1 - math.Exp(-t/period)) }
	if load, _ := read(); load[0] > at(time.Since(begun).Seconds()+6, 60)+0.1 {
		t.Errorf("just started: load %v after %s", load, time.Since(begun))
	}
	yields(true)
	time.Sleep(lasts)
	yields(false)
	load, running := read()
	bare := strings.Fields(readFile(t, "/proc/loadavg"))
	passed := time.Since(begun).Seconds()
	for i, period := range []float64{60, 300, 900} {
		least, most := at(passed-6, period)-0.1, at(passed+6, period)+0.1
		if load[i] < least || load[i] > most {
			t.Errorf("load over %.0f s after %.0f s: got %.2f, want %.2f to %.2f", period, passed, load[i], least, most)
		}
		// Bare Linux has these tasks, and those of others.
		if got := number(t, bare[i]); got < least {
			t.Errorf("bare Linux' load over %.0f s: got %.2f, want at least %.2f", period, got, least)
		}
	}
	if running < tasks || running > tasks+2 {
		t.Errorf("%.0f tasks run, want %d and perhaps the reader", running, tasks)
	}
	out := b.Output(t, "uptime")
	later, _ := read()
	_, averages, _ := strings.Cut(out, "load average: ")
	word, _, _ := strings.Cut(averages, ",")
	if got := number(t, word); got < min(load[0], later[0])-0.011 || got > max(load[0], later[0])+0.011 {
		t.Errorf("uptime tells %q, loadavg %v, then %v", out, load, later)
	}
}
