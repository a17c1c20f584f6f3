package rig

import (
	"context"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestRig goes through all that the rig does without lxcfs-nri.
func TestRig(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	r, err := Up(ctx, Options{Log: t.Output(), Userns: true, Busybox: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			b, _ := os.ReadFile(r.ContainerdLog())
			t.Logf("containerd:\n%s", lastLines(b, 60))
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		left, err := r.Leftovers()
		if err != nil || len(left) > 0 {
			t.Errorf("left behind: %q, %v", left, err)
		}
	})
	t.Run("limits", func(t *testing.T) { testLimits(ctx, t, r) })
	t.Run("restart", func(t *testing.T) { testRestart(ctx, t, r) })
	t.Run("userns", func(t *testing.T) { testUserns(ctx, t, r) })
	t.Run("busybox", func(t *testing.T) {
		c := start(ctx, t, r, PodOptions{}, ContainerOptions{Image: ImageBusybox})
		if got := mustExec(ctx, t, c, "free", "-m"); !strings.Contains(got, "Mem:") {
			t.Errorf("busybox free: got %q", got)
		}
	})
	// What is not removed here is for Close.
	start(ctx, t, r, PodOptions{Limits: Limits{Memory: 1 << 30}}, ContainerOptions{})
}

// TestSweep removes a rig knowing nothing but its folder, as is done after a
// run that was killed.
func TestSweep(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	r, err := Up(ctx, Options{Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	start(ctx, t, r, PodOptions{Limits: Limits{Memory: 1 << 30}}, ContainerOptions{})
	before, err := r.Leftovers()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"mount: ", "cgroup: ", "process: ", "folder: "} {
		if !slices.ContainsFunc(before, func(l string) bool { return strings.HasPrefix(l, want) }) {
			t.Errorf("a running rig: got %q, want a %s among them", before, want)
		}
	}
	if err := errors.Join(r.cri.close(), rigIn(r.Dir).remove()); err != nil {
		t.Error(err)
	}
	left, err := r.Leftovers()
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

func start(ctx context.Context, t *testing.T, r *Rig, po PodOptions, co ContainerOptions) *Container {
	t.Helper()
	p, err := r.RunPod(ctx, po)
	if err != nil {
		t.Fatal(err)
	}
	c, err := p.Start(ctx, co)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mustExec(ctx context.Context, t *testing.T, c *Container, args ...string) string {
	t.Helper()
	out, err := c.Exec(ctx, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// limit reads a limit back from the kernel, under the name that v1 or v2 has.
func limit(t *testing.T, path string, names ...string) string {
	t.Helper()
	dirs, err := cgroupDirs(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		if !strings.HasSuffix(dir, path) {
			continue
		}
		for _, name := range names {
			if b, err := os.ReadFile(dir + "/" + name); err == nil {
				return strings.TrimSpace(string(b))
			}
		}
	}
	t.Fatalf("no %v in any of %v", names, dirs)
	return ""
}

func testLimits(ctx context.Context, t *testing.T, r *Rig) {
	c := start(ctx, t, r, PodOptions{Limits: Limits{Memory: 512 << 20, Quota: 80_000}},
		ContainerOptions{Limits: Limits{Memory: 256 << 20, Quota: 50_000}})
	memory := []string{"memory.limit_in_bytes", "memory.max"}
	if got, want := limit(t, c.Cgroup, memory...), strconv.Itoa(256<<20); got != want {
		t.Errorf("container's memory limit: got %s, want %s", got, want)
	}
	if got, want := limit(t, c.Pod.Cgroup, memory...), strconv.Itoa(512<<20); got != want {
		t.Errorf("pod's memory limit: got %s, want %s", got, want)
	}
	if got := limit(t, c.Cgroup, "cpu.cfs_quota_us", "cpu.max"); !strings.HasPrefix(got, "50000") {
		t.Errorf("container's quota: got %s, want 50000", got)
	}
	if err := c.Update(ctx, Limits{Memory: 128 << 20}); err != nil {
		t.Fatal(err)
	}
	if got, want := limit(t, c.Cgroup, memory...), strconv.Itoa(128<<20); got != want {
		t.Errorf("updated memory limit: got %s, want %s", got, want)
	}
	for _, args := range [][]string{{"free", "-m"}, {"top", "-bn1"}, {"uptime"}, {"nproc", "--all"}, {"sh", "-c", "cat /proc/meminfo | head"}} {
		if got := mustExec(ctx, t, c, args...); got == "" {
			t.Errorf("%v printed nothing", args)
		}
	}
	if _, err := c.Exec(ctx, "cat", "/none"); err == nil || !strings.Contains(err.Error(), "/none") {
		t.Errorf("cat of a missing file: got %v, want an error naming it", err)
	}
	if err := c.Pod.Remove(ctx); err != nil {
		t.Error(err)
	}
}

func testRestart(ctx context.Context, t *testing.T, r *Rig) {
	c := start(ctx, t, r, PodOptions{}, ContainerOptions{})
	before, err := c.Pid(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, stop := range []func() error{r.StopContainerd, r.KillContainerd} {
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if err := r.StartContainerd(ctx); err != nil {
			t.Fatal(err)
		}
		if after, err := c.Pid(ctx); err != nil || after != before {
			t.Fatalf("pid after a restart of containerd: got %d, %v, want %d", after, err, before)
		}
		mustExec(ctx, t, c, "true")
	}
}

func testUserns(ctx context.Context, t *testing.T, r *Rig) {
	names, err := r.usernsHandlers(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("handlers with user namespaces: %v", names)
	c := start(ctx, t, r, PodOptions{Userns: true}, ContainerOptions{Limits: Limits{Memory: 256 << 20}})
	if got := strings.Fields(mustExec(ctx, t, c, "cat", "/proc/self/uid_map")); len(got) != 3 || got[0] != "0" || got[1] == "0" {
		t.Errorf("uid_map: got %v, want 0 mapped to another user", got)
	}
}
