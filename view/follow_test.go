package view

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
)

// liveRegistry is one of this machine.
func liveRegistry(t testing.TB, opts Options) *Registry {
	t.Helper()
	groups, err := cgroup.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	r := NewRegistry(NewHost("/"), groups, slog.New(slog.DiscardHandler), opts)
	t.Cleanup(r.Close)
	return r
}

// limited makes a group below the root with a limit.
func limited(t testing.TB, mib int) *fixture.Group {
	t.Helper()
	g := fixture.NewGroup(t)
	g.Set(t, "memory.max", "memory.limit_in_bytes", fmt.Sprint(mib<<20))
	return g
}

// busy runs a process in a group that uses CPU time, half of the time.
func busy(t testing.TB, g *fixture.Group) *exec.Cmd {
	t.Helper()
	cmd := g.Command("sh", "-c", "echo ready; while :; do i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 0.05; done")
	fixture.Start(t, cmd)
	return cmd
}

// total is the MiB that the view shows.
func total(t testing.TB, v *View) int {
	t.Helper()
	b, err := v.Append(&Files[0], nil)
	if err != nil {
		t.Fatalf("%q, %v", b, err)
	}
	n, err := strconv.Atoi(strings.Fields(string(b))[1])
	if err != nil {
		t.Fatal(err)
	}
	return n >> 10
}

// due has the next read look where the init is.
func due(v *View) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.checked = time.Time{}
}

// counters checks at each call that none in /proc/stat has fallen.
func counters(t testing.TB, v *View) func() (used uint64) {
	var before []uint64
	return func() uint64 {
		t.Helper()
		b, err := v.Append(&Files[3], nil)
		if err != nil {
			t.Fatal(err)
		}
		line, _, _ := bytes.Cut(b, []byte("\n"))
		var now []uint64
		for i, word := range strings.Fields(string(line))[1:] {
			n, err := strconv.ParseUint(word, 10, 64)
			if err != nil || before != nil && n < before[i] {
				t.Fatalf("%s (%v), was %v", line, err, before)
			}
			now = append(now, n)
		}
		before = now
		return now[0] + now[2]
	}
}

// TestFollowsTheInit to another group, while the old one exists and when it was removed.
func TestFollowsTheInit(t *testing.T) {
	r := liveRegistry(t, Options{})
	a, b, c := limited(t, 64), limited(t, 128), limited(t, 192)
	cmd := busy(t, a)
	v := add(t, r, Container{ID: "c", PID: cmd.Process.Pid, CgroupsPath: a.Name})
	count := counters(t, v)
	if n := total(t, v); n != 64 {
		t.Fatalf("%d MiB, want 64", n)
	}
	count()

	b.Enter(t, cmd.Process.Pid)
	moved := time.Now()
	for total(t, v) != 128 {
		if passed := time.Since(moved); passed > 5*time.Second {
			t.Fatalf("%v after the move: %d MiB, want 128", passed, total(t, v))
		}
		count()
		time.Sleep(10 * time.Millisecond)
	}
	used := count()
	a.Remove(t)
	waitFor(t, "use in the new group", func() bool { return count() > used+20 })
	if n := total(t, v); n != 128 || r.Get("c") != v {
		t.Fatalf("%d MiB, want 128, known: %t", n, r.Get("c") == v)
	}

	c.Enter(t, cmd.Process.Pid)
	b.Remove(t)
	if n := total(t, v); n != 192 {
		t.Errorf("at once after the removal: %d MiB, want 192", n)
	}
	for i := range Files {
		if f := &Files[i]; f.Append != nil && f.Reach != AttachGroupFile {
			if b, err := v.Append(f, nil); err != nil {
				t.Errorf("%s: %q, %v", f.Path, b, err)
			}
		}
	}
	count()

	cmd.Process.Kill() //nolint:errcheck // it is ours
	cmd.Wait()         //nolint:errcheck // ended by a signal
	c.Remove(t)
	waitFor(t, "end of the view, which nobody reads", func() bool { return r.Get("c") == nil })
}

// TestUseBeforeTheMove counts, though nobody read in time.
func TestUseBeforeTheMove(t *testing.T) {
	r := liveRegistry(t, Options{})
	a, b := limited(t, 64), limited(t, 128)
	cmd := busy(t, a)
	v := add(t, r, Container{ID: "c", PID: cmd.Process.Pid, CgroupsPath: a.Name})
	count := counters(t, v)
	before := count()
	used := func() (ticks uint64) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range bytes.Fields(b)[13:15] { // utime and stime
			n, err := strconv.ParseUint(string(word), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			ticks += n
		}
		return ticks
	}
	from := used()
	waitFor(t, "use", func() bool { return used() > from+20 })
	syscall.Kill(cmd.Process.Pid, syscall.SIGSTOP) //nolint:errcheck // it is ours
	b.Enter(t, cmd.Process.Pid)
	due(v)
	// It starts other programs, too.
	if now, least := count(), before+used()-from-2; now < least || now > 2*least+20 {
		t.Errorf("%d ticks after the move, want about %d", now, least)
	}
	if n := total(t, v); n != 128 {
		t.Errorf("%d MiB, want 128", n)
	}
}

// TestCallersInit: who reads the files of any reader is found by the init of its PID
// namespace, wherever that is.
func TestCallersInit(t *testing.T) {
	r := liveRegistry(t, Options{})
	a, b := limited(t, 64), limited(t, 128)
	pid, _ := fixture.Process(t, 0, ":")
	for i, g := range []*fixture.Group{a, b} {
		g.Enter(t, pid)
		if i > 0 {
			a.Remove(t)
		}
		v, err := r.CallerView(pid)
		if err != nil {
			t.Fatal(err)
		}
		b, err := v.AppendForCaller(&Files[0], nil)
		if want := fmt.Sprintf("MemTotal:       %8d kB\n", (64+64*i)<<10); err != nil || !strings.HasPrefix(string(b), want) {
			t.Errorf("%.40q, %v, want %q", b, err, want)
		}
	}
}

// TestNoReadBetween: removals are noticed also if nobody reads, and end no view while
// the init runs.
func TestNoReadBetween(t *testing.T) {
	r := liveRegistry(t, Options{})
	var groups []*fixture.Group
	for i := range 5 {
		groups = append(groups, limited(t, 64+i))
	}
	cmd := busy(t, groups[0])
	v := add(t, r, Container{ID: "c", PID: cmd.Process.Pid, CgroupsPath: groups[0].Name})
	total(t, v)
	for i, next := range groups[1:] {
		next.Enter(t, cmd.Process.Pid)
		groups[i].Remove(t)
		waitFor(t, "watch of "+next.Name, func() bool {
			v.mu.Lock()
			defer v.mu.Unlock()
			return strings.HasSuffix(v.watched, next.Name)
		})
	}
	if n := total(t, v); n != 68 || r.Get("c") != v {
		t.Errorf("%d MiB, want 68", n)
	}
	r.watch.mu.Lock()
	defer r.watch.mu.Unlock()
	if len(r.watch.dirs) != 1 {
		t.Errorf("watched: %v", r.watch.dirs)
	}
}

// TestMovesBelow: what an init makes below its group is not the container's group; what
// others make of it is.
func TestMovesBelow(t *testing.T) {
	r := liveRegistry(t, Options{})
	for _, spec := range []bool{true, false} {
		a, b := limited(t, 64), limited(t, 128)
		scope, x, y := a.Inner(t, "init.scope"), a.Inner(t, "x"), b.Inner(t, "y")
		cmd := busy(t, a)
		told := Container{ID: fmt.Sprint(spec), PID: cmd.Process.Pid}
		if spec {
			told.CgroupsPath = a.Name
		}
		v := add(t, r, told)
		is := func(step string, want string) {
			t.Helper()
			due(v)
			if f, err := v.Figures(); err != nil || f.Cgroup != want {
				t.Errorf("%s (path told: %t): %s, %v, want %s", step, spec, f.Cgroup, err, want)
			}
		}
		is("started", a.Name)
		for _, below := range []*fixture.Group{scope, x} {
			below.Enter(t, cmd.Process.Pid)
			is("in "+below.Name, a.Name)
		}
		b.Enter(t, cmd.Process.Pid)
		is("moved", b.Name)
		y.Enter(t, cmd.Process.Pid)
		is("below the new one", b.Name)
		x.Enter(t, cmd.Process.Pid)
		is("back", map[bool]string{true: a.Name, false: x.Name}[spec])
	}
}

// TestMovesInOneHierarchy of v1: the view follows in each.
func TestMovesInOneHierarchy(t *testing.T) {
	r := liveRegistry(t, Options{})
	a, b := limited(t, 64), limited(t, 128)
	cmd := busy(t, a)
	v := add(t, r, Container{ID: "c", PID: cmd.Process.Pid, CgroupsPath: a.Name})
	count := counters(t, v)
	count()
	memory := filepath.Dir(b.File("memory.stat"))
	want := 64
	for i, dir := range b.Dirs() {
		if err := os.WriteFile(dir+"/cgroup.procs", fmt.Append(nil, cmd.Process.Pid), 0); err != nil {
			t.Fatal(err)
		}
		if dir == memory {
			want = 128
		}
		due(v)
		if n := total(t, v); n != want {
			t.Errorf("moved in %d of %d hierarchies: %d MiB, want %d", i+1, len(b.Dirs()), n, want)
		}
		count()
	}
	a.Remove(t)
	if n := total(t, v); n != 128 {
		t.Errorf("%d MiB, want 128", n)
	}
	count()
}

// TestAnEndingInitIsNotFollowed: of a v1 zombie the kernel says that it is in the root.
func TestAnEndingInitIsNotFollowed(t *testing.T) {
	r := liveRegistry(t, Options{})
	a := limited(t, 64)
	cmd := busy(t, a)
	v := add(t, r, Container{ID: "c", PID: cmd.Process.Pid})
	total(t, v)
	syscall.Kill(cmd.Process.Pid, syscall.SIGKILL) //nolint:errcheck // it is ours
	waitFor(t, "zombie", func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
		return err == nil && bytes.Contains(b, []byte(") Z "))
	})
	due(v)
	if n := total(t, v); n != 64 {
		t.Errorf("a zombie's view shows %d MiB, want 64", n)
	}
	if v.moved(v.group) {
		t.Error("a zombie has moved")
	}
	a.Remove(t)
	if b, err := v.Append(&Files[0], nil); !errors.Is(err, ErrGone) {
		t.Errorf("its group is gone: %q, %v", b, err)
	}
}

// TestAnotherProcessIsNotFollowed: numbers are given again.
func TestAnotherProcessIsNotFollowed(t *testing.T) {
	r, c := newRegistry(t)
	group(t, c, "pods/other", 128<<20)
	group(t, c, "pods/one", 64<<20)
	v := add(t, r, Container{ID: "c", PID: c.PID, CgroupsPath: "/pods/one"})
	total(t, v)
	stat := filepath.Join(c.Root, "proc", fmt.Sprint(c.PID), "stat")
	own, err := os.ReadFile(stat)
	if err != nil {
		t.Fatal(err)
	}
	fields := bytes.Fields(own)
	fields[21] = append(fields[21], '0')
	write(t, stat, bytes.Join(fields, []byte(" ")))
	write(t, filepath.Join(c.Root, "proc", fmt.Sprint(c.PID), "cgroup"), []byte("0::/pods/other\n"))
	due(v)
	if n := total(t, v); n != 64 {
		t.Errorf("%d MiB, want 64", n)
	}
	write(t, stat, own)
	write(t, filepath.Join(c.Root, "proc", fmt.Sprint(c.PID), "cgroup"), []byte("0::/pods/other/\n"))
	write(t, filepath.Join(c.Root, "proc", fmt.Sprint(c.PID), "cgroup"), []byte("0::/pods/other\n\n"))
	due(v)
	if n := total(t, v); n != 128 {
		t.Errorf("the init itself: %d MiB, want 128", n)
	}
}

// TestCountersInTheNextProcess go on, wherever the init is by then, and whether the
// process before has noticed it.
func TestCountersInTheNextProcess(t *testing.T) {
	for _, before := range []bool{false, true} {
		kept := openKept(t, filepath.Join(t.TempDir(), "clocks"))
		a, b := limited(t, 64), limited(t, 128)
		cmd := busy(t, a)
		told := Container{ID: "c", PID: cmd.Process.Pid, CgroupsPath: a.Name}
		first := liveRegistry(t, Options{Kept: kept})
		first.watch.close() // it notices nothing by itself
		count := counters(t, add(t, first, told))
		waitFor(t, "use", func() bool { return count() > 20 })
		used := count()
		if before {
			first.Close()
		}
		b.Enter(t, cmd.Process.Pid)
		a.Remove(t)
		first.Close()

		next := liveRegistry(t, Options{Kept: kept})
		count = counters(t, add(t, next, told))
		if now := count(); now < used || now > used+20 {
			t.Errorf("the move was before the end: %t: %d ticks were used, %d before", !before, now, used)
		}
		waitFor(t, "use in the new group", func() bool { return count() > used+20 })
		next.Close()
		closeKept(t, kept)
	}
}

// TestStandIn: who has a delegated group does not stand in for a stopped container, and
// a container that is started again is found, by the name of its old group, too.
func TestStandIn(t *testing.T) {
	r := liveRegistry(t, Options{})
	id := fmt.Sprintf("%016x%016x%016x%016x", rand.Uint64(), rand.Uint64(), rand.Uint64(), rand.Uint64())
	name := "docker-" + id + ".scope"
	all := fixture.NewGroup(t)
	v := r.Lookup(id)
	hostile := all.StandIn(t, name)
	stopped := func() bool {
		b, err := r.ByNumber(v.Number).Append(&Files[0], nil)
		if err == nil && !bytes.HasPrefix(b, []byte("MemTotal:          65")) {
			t.Fatalf("the stand-in is shown: %.40q", b)
		}
		return errors.Is(err, ErrGone)
	}
	if !stopped() {
		t.Fatal("a stopped container is shown")
	}
	slice := all.Child(t).Child(t) // further in than the stand-in's
	for i := range 3 {
		real := slice.Named(t, name)
		real.Set(t, "memory.max", "memory.limit_in_bytes", fmt.Sprint((64+i)<<20))
		cmd := busy(t, real)
		var now *View
		waitFor(t, "container", func() bool {
			now = r.ByNumber(v.Number)
			b, err := now.Append(&Files[0], nil)
			return err == nil && strings.Contains(string(b[:40]), fmt.Sprint((64+i)<<10))
		})
		if pid := now.PID(); pid != cmd.Process.Pid || pid == hostile {
			t.Errorf("start %d: process %d, want %d", i, pid, cmd.Process.Pid)
		}
		cmd.Process.Kill() //nolint:errcheck // it is ours
		cmd.Wait()         //nolint:errcheck // ended by a signal
		real.Remove(t)
		if i != 1 { // else it is started again before anybody looks
			waitFor(t, "end", stopped)
		}
	}
}

// BenchmarkFollow is what following the init costs a read: looking where it is once a
// second, as is done, and at each read.
func BenchmarkFollow(b *testing.B) {
	for name, each := range map[string]bool{"once a second": false, "each read": true} {
		b.Run(name, func(b *testing.B) {
			g := limited(b, 64)
			cmd := busy(b, g)
			v := add(b, liveRegistry(b, Options{}), Container{ID: "c", PID: cmd.Process.Pid, CgroupsPath: g.Name})
			syscall.Kill(cmd.Process.Pid, syscall.SIGSTOP) //nolint:errcheck // it is ours
			buf := make([]byte, 0, 16<<10)
			b.ReportAllocs()
			for b.Loop() {
				if each {
					due(v)
				}
				if _, err := v.Append(&Files[0], buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
