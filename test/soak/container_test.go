package soak

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// quiet is a neighbour that reads now and then.
func quiet(t *testing.T, b *container, root string) *readers {
	t.Helper()
	r := &readers{}
	r.start(t, b.Group.Command, reading{
		Way: wayOpen, Root: root, Files: []string{"proc/meminfo"}, Threads: 1, Pause: 3 * time.Millisecond, MemTotal: b.memTotal,
	})
	return r
}

// TestThreads has a container read in very many threads, its own files and those
// that go by who asks. A neighbour that reads now and then is to notice little of it.
func TestThreads(t *testing.T) {
	d, a, b := two(t)
	alone := quiet(t, b, d.root(b))
	time.Sleep(2 * time.Second)
	memory := d.bounded(t)
	results.add(1, "a quiet neighbour, alone", alone.flawless(t), memory)

	for _, c := range []struct{ what, a, b string }{
		{"", d.root(a), d.root(b)}, {", of the caller-resolved files", d.Mountpoint, d.Mountpoint},
	} {
		hostile, neighbour := &readers{}, quiet(t, b, c.b)
		hostile.start(t, a.Group.Command,
			reading{Way: wayOpen, Root: c.a, Files: namedFiles(), Threads: setup.threads / 2, MemTotal: a.memTotal},
			reading{Way: wayPread, Root: c.a, Files: namedFiles(), Threads: setup.threads - setup.threads/2, MemTotal: a.memTotal},
		)
		time.Sleep(5 * time.Second)
		memory = d.bounded(t)
		results.add(setup.threads, "threads of one container read"+c.what, hostile.flawless(t), memory)
		results.add(setup.threads, "the quiet neighbour of these threads"+c.what, neighbour.flawless(t), memory)
	}

	lx := startLxcfs(t)
	neighbour := quiet(t, b, lx.Dir)
	hostile := &readers{}
	hostile.start(t, a.Group.Command,
		reading{Way: wayOpen, Root: lx.Dir, Files: mountedFiles, Threads: setup.threads / 2},
		reading{Way: wayPread, Root: lx.Dir, Files: mountedFiles, Threads: setup.threads - setup.threads/2},
	)
	time.Sleep(5 * time.Second)
	memory = memoryOf(t, lx.PID())
	results.add(setup.threads, "**lxcfs**: such threads", hostile.stop(t), memory)
	results.add(setup.threads, "**lxcfs**: their quiet neighbour", neighbour.stop(t), memory)
}

// TestHandles has a container open very many files and read a piece of each. The
// daemon keeps a bounded part of them, also where it is killed.
func TestHandles(t *testing.T) {
	d, a, b := two(t)
	neighbour := quiet(t, b, d.root(b))
	var holders []*holder
	for left := setup.handles; left > 0; left -= perHolder {
		holders = append(holders, newHolder(t, a.Group.Command, holding{Root: d.root(a), Count: min(left, perHolder)}))
	}
	opened := 0
	for _, h := range holders {
		opened += h.tells(t).Open
	}
	if opened != setup.handles {
		t.Errorf("%d files are open, want %d", opened, setup.handles)
	}
	memory := d.bounded(t)
	for range 2 {
		for _, h := range holders {
			h.readOn(t)
		}
		memory = max(memory, d.bounded(t))
		pid := d.ready(t)
		sendSignal(t, pid, unix.SIGKILL)
		d.next(t, pid)
	}
	for _, h := range holders {
		h.end()
	}
	memory = max(memory, d.bounded(t))
	results.add(setup.handles, "open files of one container, kept over two kills (its neighbour's reads)", neighbour.flawless(t), memory)
}

// freezer is a way to freeze a group.
type freezer struct{ file, on, off, state, is string }

var freezers = []freezer{
	{"freezer.state", "FROZEN", "THAWED", "freezer.state", "FROZEN\n"},
	{"cgroup.freeze", "1", "0", "cgroup.events", "populated 1\nfrozen 1\n"},
}

// TestFrozen freezes a container in the middle of its reads, which nobody can
// answer at that moment. Its neighbour reads on, and so does it when thawed.
func TestFrozen(t *testing.T) {
	d, a, b := two(t)
	r := busy(t, d, a, b)
	for i := range setup.freezes {
		f := freezers[i%len(freezers)]
		if a.Group.File(f.file) == "" {
			f = freezers[(i+1)%len(freezers)]
		}
		pid := d.ready(t)
		sendSignal(t, pid, unix.SIGSTOP)
		time.Sleep(20 * time.Millisecond) // all readers wait for it now
		a.Group.Set(t, f.file, "", f.on)
		sendSignal(t, pid, unix.SIGKILL)
		within(t, "the container is frozen", func() error {
			state, err := os.ReadFile(a.Group.File(f.state))
			if err == nil && string(state) != f.is {
				err = fmt.Errorf("%s is %q", f.state, state)
			}
			return err
		})
		neighbour := quiet(t, b, d.root(b))
		time.Sleep(100 * time.Millisecond)
		neighbour.flawless(t)
		a.Group.Set(t, f.file, "", f.off)
	}
	memory := d.bounded(t)
	results.add(setup.freezes, "frozen in the middle of a read, the daemon killed meanwhile", r.flawless(t), memory)
}

// TestDeleted removes a container's group while its files are read from outside.
// They end with ESRCH, and nobody else notices.
func TestDeleted(t *testing.T) {
	a, b := newContainer(t, "a", 256<<20), newContainer(t, "b", 128<<20)
	all := []*container{a, b}
	for i := range setup.groups {
		all = append(all, newContainer(t, fmt.Sprint("ends-", i), 64<<20))
	}
	d := supervised(t, newFolder(t), all...)
	others := busy(t, d, a, b)
	var s seen
	for _, c := range all[2:] {
		theirs := &readers{}
		kept, err := os.Open(filepath.Join(d.root(c), "proc/meminfo"))
		if err != nil {
			t.Fatal(err)
		}
		defer kept.Close()
		theirs.start(t, exec.Command,
			reading{Way: wayOpen, Root: d.root(c), Threads: 1, MemTotal: c.memTotal, MayEnd: true},
			reading{Way: wayPread, Root: d.root(c), Threads: 1, MemTotal: c.memTotal, MayEnd: true, Pause: time.Millisecond},
		)
		time.Sleep(50 * time.Millisecond)
		c.stop()
		removeGroup(t, c)
		within(t, "its files end", func() error {
			_, err := unix.Pread(int(kept.Fd()), make([]byte, 100), 0)
			if errors.Is(err, unix.ESRCH) {
				return nil
			}
			return fmt.Errorf("a read is not told of it: %w", err)
		})
		s.add(theirs.stop(t))
	}
	s.times()
	memory := d.bounded(t)
	if s.Failed+s.Torn+s.Hung > 0 || s.Ended == 0 || s.Texts == 0 {
		t.Errorf("%d failed, %d torn, %d hung, %d told of the end:\n%s", s.Failed, s.Torn, s.Hung, s.Ended, s.examples())
	}
	results.add(setup.groups, "the container's group removed under its readers", s, memory)
	results.add(setup.groups, "the neighbours of those", others.flawless(t), memory)
}

// removeGroup removes a group whose processes were killed.
func removeGroup(t *testing.T, c *container) {
	t.Helper()
	for _, dir := range c.Group.Dirs() {
		within(t, "its group is removed", func() error { return unix.Rmdir(dir) })
	}
}
