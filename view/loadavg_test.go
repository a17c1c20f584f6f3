package view

import (
	"math"
	"testing"
	"time"

	"github.com/prometheus/procfs"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
)

// TestLoadFollowsTheKernelsFormula: three busy tasks for two minutes, against
// the exponential that the fixed point stands for.
func TestLoadFollowsTheKernelsFormula(t *testing.T) {
	var l load
	for range 2 * time.Minute / loadPeriod {
		l.step(3)
	}
	for i, minutes := range []float64{1, 5, 15} {
		want := 3 * (1 - math.Exp(-2/minutes))
		if got := float64(l.average[i]) / loadOne; math.Abs(got-want) > 0.03 {
			t.Errorf("over %v minutes: %.3f, want %.3f", minutes, got, want)
		}
	}
	for range 2 * time.Hour / loadPeriod {
		l.step(0)
	}
	if l.average != [3]uint64{} {
		t.Errorf("idle for two hours: %v, want 0", l.average)
	}
}

func TestLoadBegins(t *testing.T) {
	var old, young load
	old.begin(time.Minute, 2)
	if got := old.average; got != [3]uint64{2 * loadOne, 2 * loadOne, 2 * loadOne} {
		t.Errorf("an old group begins with %v, want its present load", got)
	}
	young.begin(10*time.Second, 2)
	var want load
	want.step(2)
	want.step(2)
	if young.average != want.average {
		t.Errorf("a group of 10 s begins with %v, want %v", young.average, want.average)
	}
}

func TestLoadFormat(t *testing.T) {
	got := string(appendLoad(nil, [3]uint64{loadOne * 3 / 2, loadOne / 100, 12*loadOne - 1}, &taskFigures{running: 2, count: 17, lastPID: 99}))
	if want := "1.50 0.01 12.00 2/17 99\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestLoadIsSampledOnlyWhileWatched: from the first read, until long without one.
func TestLoadIsSampledOnlyWhileWatched(t *testing.T) {
	c := fixture.Load(t, "../cgroup/testdata/v2-limited.txtar")
	v := open(t, c, Options{})
	if len(v.sampler.watched()) != 0 {
		t.Error("a group that nobody has asked about is sampled")
	}
	b := render(t, v, "proc/loadavg")
	fs := t.TempDir()
	write(t, fs+"/loadavg", b)
	proc, err := procfs.NewFS(fs)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := proc.LoadAvg(); err != nil {
		t.Errorf("%q: %v", b, err)
	}
	if len(v.sampler.watched()) != 1 {
		t.Error("a group that was asked about is not sampled")
	}
	v.sampleLoad()
	now := v.host.now() + loadHolds
	v.host.now = func() time.Duration { return now }
	v.sampleLoad()
	if len(v.sampler.watched()) != 1 {
		t.Error("the watch ends too early")
	}
	now++
	v.sampleLoad()
	if len(v.sampler.watched()) != 0 || !v.sampler.idle() {
		t.Error("a group that nobody asks about any more is sampled")
	}
}
