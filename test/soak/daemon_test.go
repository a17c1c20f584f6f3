package soak

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// startLimit is how long the start of a process may take, on a machine that may be busy.
const startLimit = 30 * time.Second

// mostMemory is what the daemon may use, whatever containers do.
const mostMemory = 64 << 20

// container is a process in a group, which a daemon knows as a container.
type container struct {
	ID       string
	Group    *fixture.Group
	PID      int
	memTotal uint64
	stop     func()
}

// newContainer starts one with a limit of memory.
func newContainer(t *testing.T, id string, memTotal uint64) *container {
	t.Helper()
	g := fixture.NewGroup(t)
	g.Set(t, "memory.max", "memory.limit_in_bytes", strconv.FormatUint(memTotal, 10))
	cmd := g.Command("sleep", "infinity")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &container{ID: id, Group: g, PID: cmd.Process.Pid, memTotal: memTotal}
	c.stop = func() {
		cmd.Process.Kill() //nolint:errcheck // ours, and waited for
		cmd.Wait()         //nolint:errcheck // ended by a signal
	}
	t.Cleanup(c.stop)
	// The shell that enters the groups becomes the process.
	within(t, "the container's process is in its group", func() error {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", c.PID))
		if err == nil && string(b) != "sleep\n" {
			err = fmt.Errorf("it is %q", b)
		}
		return err
	})
	return c
}

// within waits for what takes milliseconds where nothing else is done.
func within(t *testing.T, what string, f func() error) {
	t.Helper()
	if err := rig.Poll(setup.ctx, startLimit, f); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// daemon is lxcfs-nri supervise, and the serve that it runs.
type daemon struct {
	*rig.Daemon
	dir string
}

// newFolder makes a daemon's folder; its path is short, for sockets.
func newFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(setup.dir, "d")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// supervised starts a daemon that knows containers.
func supervised(t *testing.T, dir string, all ...*container) *daemon {
	t.Helper()
	known(t, dir, all...)
	return supervise(t, dir, setup.binary)
}

// known has the next daemon know containers, from a journal as an earlier one
// would have left that had been told of them by a runtime.
func known(t *testing.T, dir string, all ...*container) {
	t.Helper()
	if err := os.MkdirAll(rig.RunDir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(rig.RunDir(dir), "containers"), journal(t, all), 0o600); err != nil {
		t.Fatal(err)
	}
}

func supervise(t *testing.T, dir, binary string) *daemon {
	t.Helper()
	r, err := rig.Supervise(setup.ctx, dir, binary, "", rig.NoRuntime)
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{r, dir}
	t.Cleanup(func() {
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the daemon:\n%s", lastLines(d.Log(), 40))
		}
	})
	return d
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// journal is the list of containers (view.Journal).
func journal(t *testing.T, all []*container) []byte {
	t.Helper()
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	b := fmt.Appendf(nil, "{\"lxcfsNRIContainers\":1,\"boot\":%q}\n", strings.TrimSpace(string(boot)))
	for i, c := range all {
		ticks, err := strconv.ParseInt(procStat(t, c.PID, 22), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		line, err := json.Marshal(map[string]any{
			"number": i + 1, "container": view.Container{ID: c.ID, PID: c.PID}, "start": time.Duration(ticks) * 10 * time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		b = append(append(b, line...), '\n')
	}
	return b
}

// procStat is a field of /proc/<pid>/stat, counted from 1; "" for a process that
// is not there.
func procStat(t *testing.T, pid, field int) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return strings.Fields(rest)[field-3]
}

// root is the folder of a container's own files.
func (d *daemon) root(c *container) string {
	return filepath.Join(d.Mountpoint, view.ContainerPath(c.ID, ""))
}

// serving is the process that the supervisor runs, 0 while there is none. It
// may not have become lxcfs-nri yet.
func (d *daemon) serving(t *testing.T) int {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", d.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range tasks {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // a thread that has ended
		}
		for f := range strings.FieldsSeq(string(b)) {
			if pid, err := strconv.Atoi(f); err == nil && procStat(t, pid, 3) != "Z" {
				return pid
			}
		}
	}
	return 0
}

// next waits for another process than the one before.
func (d *daemon) next(t *testing.T, before int) int {
	t.Helper()
	limit := rig.Limit(startLimit)
	for begin := time.Now(); ; {
		if pid := d.serving(t); pid != 0 && pid != before {
			return pid
		}
		if time.Since(begin) > limit {
			t.Fatalf("after %d no serve is started within %s", before, limit)
		}
		time.Sleep(200 * time.Microsecond)
	}
}

// ready waits until the daemon answers on its socket, and gives its process.
func (d *daemon) ready(t *testing.T) int {
	t.Helper()
	pid := 0
	within(t, "the daemon answers", func() error {
		s, err := d.Status(setup.ctx)
		pid = s.PID
		if err == nil && pid != d.serving(t) {
			err = fmt.Errorf("%d answers, the supervisor runs %d", pid, d.serving(t))
		}
		return err
	})
	return pid
}

func sendSignal(t *testing.T, pid int, s unix.Signal) {
	t.Helper()
	if err := unix.Kill(pid, s); err != nil && !errors.Is(err, unix.ESRCH) {
		t.Fatal(err)
	}
}

// memoryOf is the most that a process has used, in bytes.
func memoryOf(t *testing.T, pid int) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	var kb int64
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	if _, err := fmt.Sscanf(rest, "%d kB", &kb); err != nil {
		t.Fatalf("the memory of process %d: %v: %q", pid, err, b)
	}
	return kb << 10
}

// bounded checks how much memory the daemon has used, and gives it.
func (d *daemon) bounded(t *testing.T) int64 {
	t.Helper()
	return boundedOf(t, d.ready(t))
}

func boundedOf(t *testing.T, pid int) int64 {
	t.Helper()
	most := memoryOf(t, pid)
	if most == 0 || most > mostMemory {
		t.Errorf("the daemon has used %d MiB, at most %d are promised", most>>20, mostMemory>>20)
	}
	return most
}
