package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

// probe is the test binary in a container (probe_test.go).
const probe = "/probe"

// startProbed starts a container with the probe in it, in a pod of its own.
func startProbed(ctx context.Context, t *testing.T, o rig.PodOptions, capabilities ...string) *rig.Container {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return start(ctx, t, runPod(ctx, t, o), rig.ContainerOptions{Limits: half, Mounts: map[string]string{probe: exe}, Capabilities: capabilities})
}

// resource is CAP_SYS_RESOURCE by its name in CRI, nothing if this process lacks it: it
// can give none then.
func resource(t *testing.T) []string {
	t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&header, &caps[0]); err != nil {
		t.Fatal(err)
	}
	if caps[0].Effective&(1<<unix.CAP_SYS_RESOURCE) == 0 {
		return nil
	}
	return []string{"SYS_RESOURCE"}
}

// TestPressure: a container has its own pressure, and PSI triggers
// (Documentation/accounting/psi.rst) work from inside. One without a cgroup2 group of
// its own keeps the kernel's file.
func TestPressure(t *testing.T) {
	ctx := begin(t)
	supervise(ctx, t)
	c := startProbed(ctx, t, rig.PodOptions{})
	pid, err := c.Pid(ctx)
	if err != nil {
		t.Fatal(err)
	}
	on := pressureMount(ctx, t, c)
	switch {
	case !ownPressure(t, pid):
		if on != "" {
			t.Errorf("mounted: %s", on)
		}
		return
	case refusesTriggers(t, pid):
		if !strings.Contains(on, " - fuse.lxcfs-nri ") || !strings.Contains(on, "/containers/"+c.ID+"/proc/pressure/cpu /proc/pressure/cpu rw,") {
			t.Fatalf("a container in a cgroup namespace of its own has on /proc/pressure/cpu: %q", on)
		}
		asTheKernels(ctx, t, c)
		hostsNamespace(ctx, t)
	default:
		groupsOwn(t, on)
	}
	t.Run("events", func(t *testing.T) { events(ctx, t, c, 12*time.Second, func() {}) })
	if capability := resource(t); capability != nil {
		c = startProbed(ctx, t, rig.PodOptions{}, capability...)
	}
	t.Run("events over kills", func(t *testing.T) {
		events(ctx, t, c, 24*time.Second, func() {
			for range 3 {
				time.Sleep(3 * time.Second)
				kill(ctx, t)
			}
		})
	})
	if got := output(ctx, t, c, "cat", "/proc/pressure/cpu"); !strings.HasPrefix(got, "some avg10=") || strings.Contains(got, "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n") {
		t.Errorf("the container's own pressure: %q", got)
	}
}

// groupsOwn checks that a mount on /proc/pressure/cpu is of the group's own file.
func groupsOwn(t *testing.T, on string) {
	t.Helper()
	if !strings.Contains(on, " - cgroup2 ") || !strings.Contains(on, "/cpu.pressure /proc/pressure/cpu rw,") {
		t.Fatalf("mounted on /proc/pressure/cpu: %q", on)
	}
}

// asTheKernels compares the file with the kernel's own, in containers with and without
// a user namespace, and with CAP_SYS_RESOURCE.
func asTheKernels(ctx context.Context, t *testing.T, c *rig.Container) {
	t.Helper()
	t.Run("writes", func(t *testing.T) {
		behavesAs(ctx, t, c, startProbed(ctx, t, rig.PodOptions{Annotations: off}))
	})
	t.Run("writes in a user namespace", func(t *testing.T) {
		behavesAs(ctx, t, startProbed(ctx, t, rig.PodOptions{Userns: true}), startProbed(ctx, t, rig.PodOptions{Userns: true, Annotations: off}))
	})
	if capability := resource(t); capability != nil {
		t.Run("writes with CAP_SYS_RESOURCE", func(t *testing.T) {
			behavesAs(ctx, t, startProbed(ctx, t, rig.PodOptions{}, capability...), startProbed(ctx, t, rig.PodOptions{Annotations: off}, capability...))
		})
	}
}

// hostsNamespace checks a container in the host's cgroup namespace: it needs no other
// file than the group's own.
func hostsNamespace(ctx context.Context, t *testing.T) {
	t.Helper()
	t.Run("the host's cgroup namespace", func(t *testing.T) {
		c := startProbed(ctx, t, rig.PodOptions{Privileged: true})
		groupsOwn(t, pressureMount(ctx, t, c))
		events(ctx, t, c, 12*time.Second, func() {})
	})
}

// refusesTriggers reports whether the kernel takes no triggers from a process on its
// own group's file.
func refusesTriggers(t *testing.T, pid int) bool {
	t.Helper()
	own, err := os.Readlink("/proc/self/ns/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	return own != theirs && strings.Contains(readHost(t, "/proc/self/mountinfo"), "nsdelegate")
}

// off has a container left alone.
var off = map[string]string{"lxcfs.nri.io/inject": "false"}

// pressureMount is the line of a container's mount table for /proc/pressure/cpu, "" for none.
func pressureMount(ctx context.Context, t *testing.T, c *rig.Container) (line string) {
	t.Helper()
	for l := range strings.Lines(output(ctx, t, c, "cat", "/proc/self/mountinfo")) {
		if f := strings.Fields(l); f[4] == "/proc/pressure/cpu" {
			line = l
		}
	}
	return line
}

// behavesAs compares what programs see that write to the file of pressure, with one of
// the kernel's.
func behavesAs(ctx context.Context, t *testing.T, c, kernels *rig.Container) {
	t.Helper()
	if on := pressureMount(ctx, t, kernels); on != "" {
		t.Fatalf("the container to compare with has %q", on)
	}
	got := strings.Split(output(ctx, t, c, probe, probeWrites), "\n")
	want := strings.Split(output(ctx, t, kernels, probe, probeWrites), "\n")
	t.Logf("the kernel's own file:\n%s", strings.Join(want, "\n"))
	if len(got) != len(want) || len(want) < 20 {
		t.Fatalf("%d lines, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got  %s\nwant %s", got[i], want[i])
		}
	}
}

// events has a container press for CPU time, and checks that a program in it is told so
// all the while, whatever is done meanwhile.
func events(ctx context.Context, t *testing.T, c *rig.Container, limit time.Duration, meanwhile func()) {
	t.Helper()
	loaded := make(chan error, 1)
	go func() {
		_, err := c.Exec(ctx, probe, probeLoad, milliseconds(limit+4*time.Second))
		loaded <- err
	}()
	told := make(chan string, 1)
	go func() {
		out, err := c.Exec(ctx, probe, probeEvents, milliseconds(limit))
		if err != nil {
			out = err.Error()
		}
		told <- out
	}()
	meanwhile()
	out := <-told
	if err := <-loaded; err != nil {
		t.Error(err)
	}
	t.Logf("after ms, events: %s", out)
	// Events come every 2 or 4 s; a window that is begun again, and a start of the
	// daemon, can cost as much again.
	last, n := 0, 0
	for f := range strings.FieldsSeq(out) {
		ms, revents, _ := strings.Cut(f, ":")
		at, err := strconv.Atoi(ms)
		if err != nil || revents != "2" {
			t.Fatalf("told %s", out)
		}
		if limit := rig.Limit(8 * time.Second); time.Duration(at-last)*time.Millisecond > limit {
			t.Errorf("nothing from %d to %d ms", last, at)
		}
		last, n = at, n+1
	}
	if n < int(limit.Seconds())/6 {
		t.Errorf("%d events", n)
	}
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// supervise has the daemon started again when it is killed, until the test ends.
func supervise(ctx context.Context, t *testing.T) {
	t.Helper()
	if err := setup.daemon.Stop(); err != nil {
		t.Fatal(err)
	}
	d, err := setup.rig.Supervise(ctx, setup.binary, "")
	if err != nil {
		t.Fatal(err)
	}
	setup.daemon = d
	t.Cleanup(func() {
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := d.WaitConnected(ctx); err != nil {
		t.Fatal(err)
	}
}

// kill kills serve, and waits for the next one.
func kill(ctx context.Context, t *testing.T) {
	t.Helper()
	s, err := setup.daemon.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(s.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	err = rig.Poll(ctx, rig.Limit(20*time.Second), func() error {
		next, err := setup.daemon.Status(ctx)
		if err == nil && next.PID == s.PID {
			err = errors.New("it lives")
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// ownPressure says whether a process is in a cgroup2 group with PSI.
func ownPressure(t *testing.T, pid int) bool {
	t.Helper()
	for line := range strings.Lines(readHost(t, fmt.Sprintf("/proc/%d/cgroup", pid))) {
		at, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !ok || at == "/" {
			continue
		}
		for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
			if _, err := os.Stat(filepath.Join(dir, at, "cpu.pressure")); err == nil {
				return true
			}
		}
	}
	return false
}
