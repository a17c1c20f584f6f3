package soak

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
	"github.com/lxcfs-nri/lxcfs-nri/view"
)

const podMemory = 64 << 20

// TestRuntime has a runtime start containers while the daemon is killed, remove
// containers while they are read, and end itself.
func TestRuntime(t *testing.T) {
	r, err := rig.Up(setup.ctx, rig.Options{Log: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	started, err := r.Supervise(setup.ctx, setup.binary, "")
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{started, r.Dir}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the daemon:\n%s", lastLines(d.Log(), 40))
		}
	})
	stays := start(t, r, d)
	all := mounts(t, stays)
	if all == 0 {
		t.Fatal("a container has no files")
	}
	reads := &readers{}
	reads.start(t, exec.Command, own(d, stays, false)...)
	t.Run("kill while containers start", func(t *testing.T) { killWhileStarting(t, r, d, all) })
	t.Run("remove while read", func(t *testing.T) { removeWhileRead(t, r, d) })
	t.Run("restart the runtime", func(t *testing.T) { restartRuntime(t, r, d) })
	memory := d.bounded(t)
	results.add(setup.pods, "containers started, each while the daemon is killed; the reads of another", reads.flawless(t), memory)
}

// own are readings of a container's own files, from the host.
func own(d *daemon, c *rig.Container, mayEnd bool) (rs []reading) {
	for _, way := range []string{wayOpen, wayPread, waySmall, waySendfile} {
		rs = append(rs, reading{
			Way: way, Root: filepath.Join(d.Mountpoint, view.ContainerPath(c.ID, "")), Threads: 1, MemTotal: podMemory, MayEnd: mayEnd,
			Pause: time.Millisecond,
		})
	}
	return rs
}

// start starts a container in a pod, with the daemon connected.
func start(t *testing.T, r *rig.Rig, d *daemon) *rig.Container {
	t.Helper()
	if err := d.WaitConnected(setup.ctx); err != nil {
		t.Fatal(err)
	}
	p, err := r.RunPod(setup.ctx, rig.PodOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := p.Start(setup.ctx, rig.ContainerOptions{Limits: rig.Limits{Memory: podMemory}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// mounts is how many of a container's files are ours: of those that come with its
// creation, and so not of pressure.
func mounts(t *testing.T, c *rig.Container) int {
	t.Helper()
	pid, err := c.Pid(setup.ctx)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, " - fuse.lxcfs-nri ") && !strings.Contains(line, " /proc/pressure/") {
			n++
		}
	}
	return n
}

// killWhileStarting: a container has all files or none, whenever the daemon is
// killed, and those that it has can be read.
func killWhileStarting(t *testing.T, r *rig.Rig, d *daemon, all int) {
	have := 0
	for range setup.pods {
		if err := d.WaitConnected(setup.ctx); err != nil {
			t.Fatal(err)
		}
		p, err := r.RunPod(setup.ctx, rig.PodOptions{})
		if err != nil {
			t.Fatal(err)
		}
		pid := d.ready(t)
		var c *rig.Container
		startErr := make(chan error, 1)
		go func() {
			var err error
			c, err = p.Start(setup.ctx, rig.ContainerOptions{Limits: rig.Limits{Memory: podMemory}})
			startErr <- err
		}()
		time.Sleep(rand.N(250 * time.Millisecond))
		sendSignal(t, pid, unix.SIGKILL)
		if err := <-startErr; err != nil {
			t.Errorf("a container does not start: %v", err)
			continue
		}
		switch n := mounts(t, c); n {
		case all:
			have++
			if out, err := c.Exec(setup.ctx, "cat", "/proc/meminfo"); err != nil || !strings.Contains(out, fmt.Sprintf("MemTotal: %14d kB\n", podMemory>>10)) {
				t.Errorf("it reads %.40q, %v", out, err)
			}
		case 0:
		default:
			t.Errorf("it has %d of %d files", n, all)
		}
		if err := p.Remove(setup.ctx); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d of %d containers have the files", have, setup.pods)
}

// removeWhileRead: who reads a container's files from outside is told of its end.
func removeWhileRead(t *testing.T, r *rig.Rig, d *daemon) {
	theirs := &readers{}
	for range max(1, setup.pods/4) {
		c := start(t, r, d)
		theirs.start(t, exec.Command, own(d, c, true)...)
		time.Sleep(100 * time.Millisecond)
		if err := c.Pod.Remove(setup.ctx); err != nil {
			t.Error(err)
		}
	}
	time.Sleep(100 * time.Millisecond)
	s := theirs.stop(t)
	if s.Failed+s.Torn+s.Hung > 0 || s.Ended == 0 || s.Texts == 0 {
		t.Errorf("%d failed, %d torn, %d hung, %d told of the end:\n%s", s.Failed, s.Torn, s.Hung, s.Ended, s.examples())
	}
	results.add(max(1, setup.pods/4), "containers removed by the runtime while they are read", s, d.bounded(t))
}

// restartRuntime: containers read their files while the runtime is away, and the
// daemon finds it again.
func restartRuntime(t *testing.T, r *rig.Rig, d *daemon) {
	c := start(t, r, d)
	reads := &readers{}
	reads.start(t, exec.Command, own(d, c, false)...)
	ends := []func() error{r.StopContainerd, r.KillContainerd}
	for _, end := range slices.Concat(ends, ends) {
		if err := errors.Join(end(), r.StartContainerd(setup.ctx), d.WaitConnected(setup.ctx)); err != nil {
			t.Fatal(err)
		}
	}
	if c := start(t, r, d); mounts(t, c) == 0 {
		t.Error("a container that came after it has no files")
	}
	results.add(2*len(ends), "the runtime ended or killed, and started again", reads.flawless(t), d.bounded(t))
}
