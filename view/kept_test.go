package view

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
)

func openKept(t *testing.T, name string) *Kept {
	t.Helper()
	k, err := OpenKept(name, NewHost("/"))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func closeKept(t *testing.T, k *Kept) {
	t.Helper()
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
}

// sampled advances a clock by a sample of one CPU.
func sampled(c *cpuClock, now, used time.Duration) cpuTimes {
	return advanced(c, cpuSample{now: now, shown: shown(1), use: cgroup.CPUUsage{User: uint64(used.Microseconds())}}, 0)[0]
}

func TestKeptClockGoesOnInTheNextProcess(t *testing.T) {
	name := filepath.Join(t.TempDir(), "clocks")
	k := openKept(t, name)
	var first cpuClock
	if _, known := first.goOn(k.take("a")); known {
		t.Error("an empty file knows a clock")
	}
	sampled(&first, 10*time.Second, 4*time.Second)
	before := sampled(&first, 20*time.Second, 9*time.Second)
	if n := first.count(7); n != 7 {
		t.Errorf("processes: got %d, want 7", n)
	}
	closeKept(t, k) // as if killed: nothing is released

	k = openKept(t, name)
	// The machine may have booted less than these 20 s ago.
	k.now = func() time.Duration { return time.Minute }
	var other, next cpuClock
	if _, known := other.goOn(k.take("b")); known {
		t.Error("another clock took these figures over")
	}
	if born, known := next.goOn(k.take("a")); !known || born != 0 {
		t.Errorf("the clock is not known any more: %v, %v", born, known)
	}
	if got := sampled(&next, 20*time.Second, 9*time.Second); got != before {
		t.Errorf("after the restart: got %+v, want %+v", got, before)
	}
	if got := next.count(3); got != 7 {
		t.Errorf("processes: got %d, want 7", got)
	}
	if got, want := sampled(&next, 30*time.Second, 9*time.Second), before.idle+1000; got.idle != want {
		t.Errorf("ten idle seconds later: idle %d, want %d", got.idle, want)
	}
	if k.take("a") != nil {
		t.Error("two views share a clock")
	}
	next.end(true)
	var again cpuClock
	if _, known := again.goOn(k.take("a")); known {
		t.Error("what ended for ever is known still")
	}
	closeKept(t, k)
}

// TestReadsBeforeTheStartAreKept: a runtime looks at a mount's source before it
// tells of the container's process. What is counted from then on outlives the
// daemon, too.
func TestReadsBeforeTheStartAreKept(t *testing.T) {
	c := fixture.Load(t, "../cgroup/testdata/v2-limited.txtar")
	groups, err := cgroup.Open(c.Root)
	if err != nil {
		t.Fatal(err)
	}
	dir := group(t, c, "pods/one", 64<<20)
	name := filepath.Join(t.TempDir(), "clocks")
	var r *Registry
	process := func(k *Kept) {
		r = NewRegistry(NewHost(c.Root), groups, slog.New(slog.DiscardHandler), Options{Kept: k})
		t.Cleanup(r.Close)
	}
	processes := func(told Container, tasks string) string {
		t.Helper()
		write(t, filepath.Join(dir, "pids.current"), []byte(tasks))
		v := add(t, r, told)
		v.tasks.set = false // else they are known for a second
		b, err := v.Append(&Files[3], nil)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(b), "\nprocesses ")
		n, _, _ := strings.Cut(rest, "\n")
		return n
	}
	k := openKept(t, name)
	process(k)
	created := Container{ID: "c", CgroupsPath: "/pods/one"}
	started := Container{ID: "c", CgroupsPath: "/pods/one", PID: c.PID}
	for _, step := range []struct {
		told  Container
		tasks string
	}{{created, "6\n"}, {started, "1\n"}} {
		if got := processes(step.told, step.tasks); got != "6" {
			t.Errorf("%+v: %s processes, want 6", step.told, got)
		}
	}
	next := openKept(t, name) // as if killed: nothing is released
	process(next)
	if got := processes(started, "1\n"); got != "6" {
		t.Errorf("in the next process: %s processes, want 6", got)
	}
	r.Close()
	closeKept(t, next)
	closeKept(t, k)
}

func TestKeptForgetsTheLongestUnused(t *testing.T) {
	k := openKept(t, filepath.Join(t.TempDir(), "clocks"))
	defer closeKept(t, k)
	now := time.Duration(0)
	k.now = func() time.Duration { now++; return now }
	for i := range keptRecords {
		var c cpuClock
		c.goOn(k.take(string(rune('a' + i))))
		sampled(&c, time.Second, 0)
		c.end(false)
	}
	first := k.take("a") // in use again, the second is the oldest
	if first == nil {
		t.Fatal("no record")
	}
	if first = k.take("new"); first == nil || first.number != 1 {
		t.Errorf("a full file gave record %+v, want the second", first)
	}
	if _, ok := k.byKey[keptKey{}]; ok || len(k.byKey) != keptRecords {
		t.Errorf("%d clocks in %d records", len(k.byKey), keptRecords)
	}
}

// TestKeptWithoutRoom: a full file system costs what is kept, nothing else.
func TestKeptWithoutRoom(t *testing.T) {
	var c cpuClock
	if _, known := c.goOn((*Kept)(nil).take("a")); known {
		t.Error("nothing is kept, but known")
	}
	if got := sampled(&c, time.Second, time.Second); got.user != 100 {
		t.Errorf("got %+v", got)
	}
	c.end(false)
}

func FuzzKept(f *testing.F) {
	name := filepath.Join(f.TempDir(), "clocks")
	k, err := OpenKept(name, NewHost("/"))
	if err != nil {
		f.Fatal(err)
	}
	var c cpuClock
	c.goOn(k.take("a"))
	sampled(&c, time.Second, time.Second/2)
	page := make([]byte, 2048)
	copy(page, k.mem[keptPage:])
	if err := k.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(page)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, record []byte) {
		file, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = file.WriteAt(record[:min(len(record), keptPage)], keptPage)
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
		k := openKept(t, name)
		defer closeKept(t, k)
		var c cpuClock
		c.goOn(k.take("a"))
		sampled(&c, bootTime(), time.Second)
		c.count(5)
		c.end(false)
	})
}
