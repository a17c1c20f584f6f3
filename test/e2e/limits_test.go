package e2e

import (
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

// TestUpdate changes limits in place: the next read must show it.
func TestUpdate(t *testing.T) {
	ctx := begin(t)
	c := startLimited(ctx, t, half)
	sees(ctx, t, c, half.Memory, 1)
	for _, tt := range []struct {
		change rig.Limits
		memory int64
		cpus   int
	}{
		{rig.Limits{Memory: 128 * mib}, 128 * mib, 1},
		{rig.Limits{Memory: 512 * mib, Quota: 150_000}, 512 * mib, min(runtime.NumCPU(), 2)},
		{rig.Limits{Quota: 60_000}, 512 * mib, 1},
		{rig.Limits{Memory: 256 * mib}, 256 * mib, 1},
	} {
		if err := c.Update(ctx, tt.change); err != nil {
			t.Fatal(err)
		}
		sees(ctx, t, c, tt.memory, tt.cpus)
		listed(ctx, t, c, tt.memory, tt.cpus)
	}
}

// TestPodLimit has a pod's limit govern a container that may use more, or has
// no limit, and not one that may use less.
func TestPodLimit(t *testing.T) {
	ctx := begin(t)
	p := runPod(ctx, t, rig.PodOptions{Limits: rig.Limits{Memory: 300 * mib, Quota: 100_000}})
	for _, tt := range []struct {
		name   string
		limits rig.Limits
		memory int64
	}{
		{"none", rig.Limits{}, 300 * mib},
		{"less", half, half.Memory},
		{"more", rig.Limits{Memory: 512 * mib}, 300 * mib},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := start(ctx, t, p, rig.ContainerOptions{Name: tt.name, Limits: tt.limits})
			sees(ctx, t, c, tt.memory, 1)
			listed(ctx, t, c, tt.memory, 1)
		})
	}
}

// TestCPUSet shows as many CPUs as a container may run on.
func TestCPUSet(t *testing.T) {
	ctx := begin(t)
	last := strconv.Itoa(runtime.NumCPU() - 1)
	c := startLimited(ctx, t, rig.Limits{Memory: 256 * mib, CPUs: last})
	sees(ctx, t, c, 256*mib, 1)
	listed(ctx, t, c, 256*mib, 1)
	if got := output(ctx, t, c, "cat", "/sys/devices/system/cpu/online"); got != last+"\n" {
		t.Errorf("online CPUs: got %q, want CPU %s", got, last)
	}
}

// TestTwo has two containers read at the same time, of which neither may ever
// see a figure of the other's.
func TestTwo(t *testing.T) {
	ctx := begin(t)
	p := runPod(ctx, t, rig.PodOptions{})
	sizes := map[string]int64{"small": 100 * mib, "large": 200 * mib}
	containers := map[string]*rig.Container{}
	for name, size := range sizes {
		containers[name] = start(ctx, t, p, rig.ContainerOptions{Name: name, Limits: rig.Limits{Memory: size}})
	}
	// What the one writes into memory is the one's use only.
	const written = 24 * mib
	output(ctx, t, containers["small"], "dd", "if=/dev/zero", "of=/dev/shm/file", "bs=1M", "count=24")

	read := func(c *rig.Container) (string, error) {
		const script = "i=0; while [ $i -lt 200 ]; do grep -h -e ^MemTotal -e ^Shmem: /proc/meminfo; i=$((i+1)); done"
		return c.Exec(ctx, "sh", "-c", script)
	}
	type result struct {
		name, out string
		err       error
	}
	results := make(chan result)
	for name, c := range containers {
		go func() {
			out, err := read(c)
			results <- result{name, out, err}
		}()
	}
	for range containers {
		r := <-results
		if r.err != nil {
			t.Error(r.err)
			continue
		}
		shmem := int64(0)
		if r.name == "small" {
			shmem = written
		}
		checkAll(t, r.name, r.out, map[string]int64{"MemTotal:": sizes[r.name], "Shmem:": shmem})
	}
}

// checkAll checks that every one of many lines of meminfo has the value wanted.
func checkAll(t *testing.T, name, out string, want map[string]int64) {
	t.Helper()
	lines := 0
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) != 3 || f[1] != strconv.FormatInt(want[f[0]]>>10, 10) {
			t.Errorf("%s: got the line %q, want %d bytes", name, line, want[f[0]])
			return
		}
		lines++
	}
	if lines != 400 {
		t.Errorf("%s: got %d lines, want 400", name, lines)
	}
}
