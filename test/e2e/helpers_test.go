package e2e

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

const mib = 1 << 20

// half is what most tests give a container: half a CPU, so that it sees one.
var half = rig.Limits{Memory: 256 * mib, Quota: 50_000}

// runPod starts a pod that goes with the test.
func runPod(ctx context.Context, t *testing.T, o rig.PodOptions) *rig.Pod {
	t.Helper()
	p, err := setup.rig.RunPod(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The test's context may be what has just ended.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if err := p.Remove(ctx); err != nil {
			t.Error(err)
		}
	})
	return p
}

// start starts a container that goes with its pod.
func start(ctx context.Context, t *testing.T, p *rig.Pod, o rig.ContainerOptions) *rig.Container {
	t.Helper()
	c, err := p.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// startLimited starts a container in a pod of its own.
func startLimited(ctx context.Context, t *testing.T, l rig.Limits) *rig.Container {
	t.Helper()
	return start(ctx, t, runPod(ctx, t, rig.PodOptions{}), rig.ContainerOptions{Limits: l})
}

// output runs a program in a container and gives what it prints.
func output(ctx context.Context, t *testing.T, c *rig.Container, args ...string) string {
	t.Helper()
	out, err := c.Exec(ctx, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// sees checks what free and /proc/cpuinfo tell in a container; zero CPUs are
// not looked at.
func sees(ctx context.Context, t *testing.T, c *rig.Container, memory int64, cpus int) {
	t.Helper()
	if got, err := total(output(ctx, t, c, "free", "-m")); err != nil || got != memory/mib {
		t.Errorf("free in %s/%s: got %d MiB, %v, want %d", c.Pod.Name, c.Name, got, err, memory/mib)
	}
	if cpus == 0 {
		return
	}
	if got := strings.Count("\n"+output(ctx, t, c, "cat", "/proc/cpuinfo"), "\nprocessor"); got != cpus {
		t.Errorf("processors in cpuinfo of %s/%s: got %d, want %d", c.Pod.Name, c.Name, got, cpus)
	}
}

// total finds the total of memory in what free prints.
func total(out string) (int64, error) {
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "Mem:" {
			return strconv.ParseInt(f[1], 10, 64)
		}
	}
	return 0, fmt.Errorf("no line Mem: in %q", out)
}

// meminfo gives one line of /proc/meminfo, in bytes.
func meminfo(t *testing.T, content, name string) int64 {
	t.Helper()
	for line := range strings.Lines(content) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == name+":" {
			n, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatalf("no %s in %q", name, content)
	return 0
}

// ours lists what of the product is mounted in a container.
func ours(ctx context.Context, t *testing.T, c *rig.Container) map[string]string {
	t.Helper()
	found := map[string]string{}
	for line := range strings.Lines(output(ctx, t, c, "cat", "/proc/self/mountinfo")) {
		left, right, _ := strings.Cut(line, " - ")
		if l := strings.Fields(left); strings.HasPrefix(right, "fuse") && len(l) > 5 {
			found[l[4]] = l[5]
		}
	}
	return found
}

// untouched checks that a container has nothing of ours and sees the host.
func untouched(ctx context.Context, t *testing.T, c *rig.Container) {
	t.Helper()
	if got := ours(ctx, t, c); len(got) > 0 {
		t.Errorf("mounts in %s/%s: got %v, want none", c.Pod.Name, c.Name, got)
	}
	content := output(ctx, t, c, "cat", "/proc/meminfo")
	for _, name := range []string{"MemTotal", "SwapTotal"} {
		if got, want := meminfo(t, content, name), meminfo(t, readHost(t, "/proc/meminfo"), name); got != want {
			t.Errorf("%s in %s/%s: got %d, want the host's %d", name, c.Pod.Name, c.Name, got, want)
		}
	}
}

// injected checks that a container has our files.
func injected(ctx context.Context, t *testing.T, c *rig.Container) {
	t.Helper()
	got := ours(ctx, t, c)
	for _, file := range []string{
		"/proc/meminfo", "/proc/cpuinfo", "/proc/stat", "/proc/uptime", "/proc/swaps", "/proc/diskstats",
		"/sys/devices/system/cpu", "/proc/loadavg", "/proc/slabinfo",
	} {
		if _, ok := got[file]; !ok {
			t.Errorf("%s of %s/%s is not ours; these are: %v", file, c.Pod.Name, c.Name, got)
		}
	}
}

func readHost(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// listed checks what status tells of a container.
func listed(ctx context.Context, t *testing.T, c *rig.Container, memory int64, cpus int) {
	t.Helper()
	s, err := setup.daemon.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	got, ok := s.Container(c.ID)
	if !ok {
		t.Fatalf("status does not list %s/%s, but %+v", c.Pod.Name, c.Name, s.Containers)
	}
	pid, err := c.Pid(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got.Namespace != c.Pod.Namespace || got.Pod != c.Pod.Name || got.Name != c.Name || got.PID != pid {
		t.Errorf("status of %s/%s/%s, pid %d: got %+v", c.Pod.Namespace, c.Pod.Name, c.Name, pid, got)
	}
	if got.MemoryLimit != uint64(memory) || got.MemTotal != uint64(memory) || got.CPUs != cpus || !strings.HasPrefix(got.Governing, c.Pod.Cgroup) {
		t.Errorf("status of %s/%s: got %+v, want %d bytes, %d CPUs, governed below %s", c.Pod.Name, c.Name, got, memory, cpus, c.Pod.Cgroup)
	}
}
