package soak

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/control"
	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

// TestOOM has the kernel kill the daemon for want of memory.
func TestOOM(t *testing.T) {
	d, a, b := two(t)
	r := busy(t, d, a, b)
	for range setup.ooms {
		small := fixture.NewGroup(t)
		small.Set(t, "memory.max", "memory.limit_in_bytes", "65536")
		if swap := small.File("memory.swap.max"); swap != "" {
			if err := os.WriteFile(swap, []byte("0"), 0); err != nil {
				t.Fatal(err)
			}
		}
		memory := small.File("memory.max")
		if memory == "" {
			memory = small.File("memory.limit_in_bytes")
		}
		pid := d.ready(t)
		// What it has stays charged where it was; what it takes from now on is not
		// there.
		if err := os.WriteFile(filepath.Join(filepath.Dir(memory), "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
			t.Fatal(err)
		}
		within(t, "it is killed", func() error {
			if d.serving(t) != pid {
				return nil
			}
			// Costs it memory, and at last its life.
			c, err := net.Dial("unix", filepath.Join(rig.RunDir(d.dir), control.SocketName))
			if err != nil {
				return err
			}
			t.Cleanup(func() { c.Close() })
			return errors.New("it runs")
		})
		d.next(t, pid)
		if n := oomKills(t, small); n == 0 {
			t.Errorf("%d ended, but the kernel has not killed it for want of memory", pid)
		}
	}
	memory := d.bounded(t)
	results.add(setup.ooms, "killed by the kernel for want of memory", r.flawless(t), memory)
}

// oomKills is how many processes of a group the kernel has killed.
func oomKills(t *testing.T, g *fixture.Group) (n int) {
	t.Helper()
	name := g.File("memory.events")
	if name == "" {
		name = g.File("memory.oom_control")
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if _, err := fmt.Sscanf(line, "oom_kill %d", &n); err == nil {
			return n
		}
	}
	t.Fatalf("%s has no oom_kill: %q", name, b)
	return 0
}

// TestNoSpace has the daemon killed while the file system of its run directory
// is full.
func TestNoSpace(t *testing.T) {
	dir := newFolder(t)
	run := rig.RunDir(dir)
	if err := os.Mkdir(run, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", run, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(run, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	a, b := newContainer(t, "a", 256<<20), newContainer(t, "b", 128<<20)
	d := supervised(t, dir, a, b)
	r := busy(t, d, a, b)
	start := d.startTime(t)
	fill(t, run)
	pid := d.ready(t)
	for range setup.full {
		anyMoment(start)
		sendSignal(t, pid, unix.SIGKILL)
		pid = d.next(t, pid)
	}
	memory := d.bounded(t)
	results.add(setup.full, "SIGKILL with `/run` full", r.flawless(t), memory)
}

// fill writes until there is no room.
func fill(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int{1 << 16, 1} {
		for block := make([]byte, size); err == nil; {
			_, err = f.Write(block)
		}
		err = nil
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || st.Bavail != 0 {
		t.Fatalf("%d blocks are free in %s (%v)", st.Bavail, dir, err)
	}
}
