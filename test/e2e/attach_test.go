package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

// restarted ends the daemon, does something without it, and starts another with
// a configuration of its own until the test ends.
func restarted(ctx context.Context, t *testing.T, config string, end func(*rig.Daemon) error, without func()) {
	t.Helper()
	if err := end(setup.daemon); err != nil {
		t.Fatal(err)
	}
	without()
	d, err := setup.rig.Serve(ctx, setup.binary, config)
	if err != nil {
		t.Fatal(err)
	}
	setup.daemon = d
	if err := d.WaitConnected(ctx); err != nil {
		t.Fatal(err)
	}
	if config != "" {
		t.Cleanup(func() { // the next test starts one without
			if err := d.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// command runs a command of lxcfs-nri on the daemon, and checks what it prints.
func command(ctx context.Context, t *testing.T, want string, args ...string) {
	t.Helper()
	out, err := setup.daemon.Run(ctx, args[0], args[1:]...)
	if err != nil || !strings.Contains(out, want) {
		t.Errorf("lxcfs-nri %v: got %q, %v, want %q in it", args, out, err, want)
	}
}

// TestAttach gives containers their files that started while no daemon ran,
// takes them away, and gives them again, below what runs and is open.
func TestAttach(t *testing.T) {
	ctx := begin(t)
	var plain, users *rig.Container
	restarted(ctx, t, "", (*rig.Daemon).Stop, func() {
		plain = startLimited(ctx, t, half)
		users = start(ctx, t, runPod(ctx, t, rig.PodOptions{Userns: true}), rig.ContainerOptions{Limits: half})
	})
	for _, c := range []*rig.Container{plain, users} {
		untouched(ctx, t, c)
		eventually(ctx, t, c)
	}
	pid, err := plain.Pid(ctx)
	if err != nil {
		t.Fatal(err)
	}
	files := 9 // spec files; on cgroup v2 the kernel's files of pressure come to it
	if ownPressure(t, pid) {
		files += len(pressures(t))
	}
	kernels := openIn(t, pid, "/proc/meminfo")
	command(ctx, t, fmt.Sprintf("%.12s default/%s/main: %d files attached\n", plain.ID, plain.Pod.Name, files), "attach", plain.ID)
	untouched(ctx, t, users)
	command(ctx, t, fmt.Sprintf("%.12s default/%s/main: nothing to do\n", plain.ID, plain.Pod.Name), "attach", plain.ID[:20])
	command(ctx, t, fmt.Sprintf("%d files attached\n", files), "attach", users.ID[:20], plain.ID)
	for _, c := range []*rig.Container{plain, users} {
		injected(ctx, t, c)
		sees(ctx, t, c, half.Memory, 1)
	}
	own := openIn(t, pid, "/proc/meminfo")
	if got, want := memTotal(t, kernels), meminfo(t, readHost(t, "/proc/meminfo"), "MemTotal"); got != want {
		t.Errorf("a file that was open before: got %d, want the host's %d still", got, want)
	}
	command(ctx, t, fmt.Sprintf("%d files detached\n", files), "detach", plain.ID[:20])
	untouched(ctx, t, plain)
	injected(ctx, t, users)
	if got := memTotal(t, own); got != half.Memory {
		t.Errorf("a file of ours that was open before: got %d, want %d still", got, half.Memory)
	}
	command(ctx, t, fmt.Sprintf("%.12s", plain.ID), "attach", "--all")
	sees(ctx, t, plain, half.Memory, 1)

	// Of those that came with the container's creation, nothing is left either.
	young := startLimited(ctx, t, half)
	injected(ctx, t, young)
	command(ctx, t, fmt.Sprintf("%d files detached\n", files), "detach", young.ID)
	untouched(ctx, t, young)
	if got, want := output(ctx, t, young, "cat", "/sys/devices/system/cpu/online"), readHost(t, "/sys/devices/system/cpu/online"); got != want {
		t.Errorf("online CPUs of a detached container: got %q, want the kernel's %q", got, want)
	}
	for _, refused := range [][]string{{"attach", "feedfeed"}, {"detach", young.ID[:3]}, {"attach"}, {"detach", "--all", young.ID}} {
		if out, err := setup.daemon.Run(ctx, refused[0], refused[1:]...); err == nil {
			t.Errorf("lxcfs-nri %v is not refused: %q", refused, out)
		}
	}
}

// TestHeal kills the daemon: the next one gives containers new files in place of
// the dead ones, with and without a runtime that knows them.
func TestHeal(t *testing.T) {
	ctx := begin(t)
	c := startLimited(ctx, t, half)
	users := start(ctx, t, runPod(ctx, t, rig.PodOptions{Userns: true}), rig.ContainerOptions{Limits: half})
	// As a container of a runtime without NRI has it.
	foreign := start(ctx, t, runPod(ctx, t, rig.PodOptions{Annotations: map[string]string{"lxcfs.nri.io/inject": "false"}}), rig.ContainerOptions{
		Limits: half, Mounts: map[string]string{"/proc/meminfo": filepath.Join(setup.daemon.Mountpoint, "proc/meminfo")},
	})
	all := []*rig.Container{c, users, foreign}
	pids := make([]int, len(all))
	for i := range all {
		var err error
		if pids[i], err = all[i].Pid(ctx); err != nil {
			t.Fatal(err)
		}
	}
	restarted(ctx, t, "", (*rig.Daemon).Kill, func() {
		for i, pid := range pids {
			if _, err := os.ReadFile(inside(pid, "/proc/meminfo")); !errors.Is(err, unix.ENOTCONN) {
				t.Errorf("%s/%s with a dead daemon: %v, want ENOTCONN", all[i].Pod.Name, all[i].Name, err)
			}
		}
	})
	err := rig.Poll(ctx, 10*time.Second, func() error {
		var errs []error
		for _, pid := range pids {
			_, err := os.ReadFile(inside(pid, "/proc/meminfo"))
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*rig.Container{c, users} {
		injected(ctx, t, c)
		sees(ctx, t, c, half.Memory, 1)
		listed(ctx, t, c, half.Memory, 1)
	}
	sees(ctx, t, foreign, half.Memory, 0)

	// One that nobody tells the next daemon of is found by its cgroup's name.
	restarted(ctx, t, "policy:\n  inject: false\n", (*rig.Daemon).Kill, func() {
		if err := os.Remove(filepath.Join(setup.rig.Dir, "daemon/containers")); err != nil {
			t.Fatal(err)
		}
	})
	err = rig.Poll(ctx, 10*time.Second, func() error {
		_, err := os.ReadFile(inside(pids[0], "/proc/meminfo"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	injected(ctx, t, c)
	sees(ctx, t, c, half.Memory, 1)
	sees(ctx, t, foreign, half.Memory, 0)
}

// TestAttachExisting starts a daemon that gives files also to containers that
// run already, but to those that the policy leaves alone.
func TestAttachExisting(t *testing.T) {
	ctx := begin(t)
	var c, out *rig.Container
	restarted(ctx, t, "attachExisting: true\n", (*rig.Daemon).Stop, func() {
		c = startLimited(ctx, t, half)
		out = start(ctx, t, runPod(ctx, t, rig.PodOptions{Namespace: "kube-system"}), rig.ContainerOptions{Limits: half})
	})
	err := rig.Poll(ctx, 10*time.Second, func() error {
		if !strings.Contains(setup.daemon.Log(), "attached to a container that runs already") {
			return errors.New("the daemon has not logged it")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	injected(ctx, t, c)
	sees(ctx, t, c, half.Memory, 1)
	untouched(ctx, t, out)
	// Who has been detached stays so, also when the runtime tells of all again.
	command(ctx, t, "files detached", "detach", c.ID)
	connects := func() int { return strings.Count(setup.daemon.Log(), "connected to the runtime") }
	before := connects()
	if err := errors.Join(setup.rig.StopContainerd(), setup.rig.StartContainerd(ctx)); err != nil {
		t.Fatal(err)
	}
	err = rig.Poll(ctx, 15*time.Second, func() error {
		if connects() == before {
			return errors.New("the daemon has not connected again")
		}
		return nil
	})
	if err = errors.Join(err, setup.daemon.WaitConnected(ctx)); err != nil {
		t.Fatal(err)
	}
	young := startLimited(ctx, t, half) // its events come after the list
	injected(ctx, t, young)
	untouched(ctx, t, c)
}

// TestStop asks the daemon to end: containers have the kernel's own files, also
// where a file of ours is open, and nothing of it is mounted anywhere.
func TestStop(t *testing.T) {
	ctx := begin(t)
	c := startLimited(ctx, t, half)
	users := start(ctx, t, runPod(ctx, t, rig.PodOptions{Userns: true}), rig.ContainerOptions{Limits: half})
	pid, err := c.Pid(ctx)
	if err != nil {
		t.Fatal(err)
	}
	openIn(t, pid, "/proc/meminfo")
	if err := setup.daemon.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*rig.Container{c, users} {
		untouched(ctx, t, c)
		if got := output(ctx, t, c, "cat", "/proc/self/mountinfo"); strings.Contains(got, setup.daemon.Mountpoint) || strings.Contains(got, "/proc/pressure/") {
			t.Errorf("mounts of %s/%s: %s", c.Pod.Name, c.Name, got)
		}
	}
	// A killed one's are taken by the command.
	serve(ctx, t)
	c = startLimited(ctx, t, half)
	if err := setup.daemon.Kill(); err != nil {
		t.Fatal(err)
	}
	command(ctx, t, "other containers: ", "detach", "--all", "--mountpoint", setup.daemon.Mountpoint)
	untouched(ctx, t, c)
}

// pressures lists the kernel's files of pressure.
func pressures(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob("/proc/pressure/*")
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// inside is a path of a process's root.
func inside(pid int, file string) string { return fmt.Sprintf("/proc/%d/root%s", pid, file) }

// openIn opens a file as a process has it, until the test ends.
func openIn(t *testing.T, pid int, file string) *os.File {
	t.Helper()
	f, err := os.Open(inside(pid, file))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// memTotal reads meminfo from its beginning.
func memTotal(t *testing.T, f *os.File) int64 {
	t.Helper()
	b := make([]byte, 64<<10)
	n, err := f.ReadAt(b, 0)
	if n == 0 {
		t.Fatalf("%s: %v", f.Name(), err)
	}
	return meminfo(t, string(b[:n]), "MemTotal")
}
