package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

// TestFiles looks at every file in a container of 256 MiB and half a CPU.
func TestFiles(t *testing.T) {
	ctx := begin(t)
	c := startLimited(ctx, t, half)
	injected(ctx, t, c)
	sees(ctx, t, c, half.Memory, 1)
	listed(ctx, t, c, half.Memory, 1)

	up, err := strconv.ParseFloat(strings.Fields(output(ctx, t, c, "cat", "/proc/uptime"))[0], 64)
	if err != nil || up <= 0 || up > perTest.Seconds() {
		t.Errorf("uptime: got %v, %v, want that of the container", up, err)
	}
	var cpus []string
	for line := range strings.Lines(output(ctx, t, c, "cat", "/proc/stat")) {
		if strings.HasPrefix(line, "cpu") {
			cpus = append(cpus, strings.Fields(line)[0])
		}
	}
	if got, want := strings.Join(cpus, " "), "cpu cpu0"; got != want {
		t.Errorf("lines of /proc/stat: got %s, want %s", got, want)
	}
	if got, want := output(ctx, t, c, "cat", "/sys/devices/system/cpu/online"), "0\n"; got != want {
		t.Errorf("online CPUs: got %q, want %q", got, want)
	}
	if got, want := output(ctx, t, c, "cat", "/sys/devices/system/cpu/cpu1/online"), "0\n"; got != want {
		t.Errorf("CPU 1 is on-line: got %q, want %q", got, want)
	}
	if got := strings.Fields(output(ctx, t, c, "cat", "/proc/loadavg")); len(got) != 5 || !strings.Contains(got[3], "/") {
		t.Errorf("loadavg: got %q, want five fields", got)
	}
	// What most programs ask, by way of the C library.
	possible, err := exec.CommandContext(ctx, "getconf", "_NPROCESSORS_CONF").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"_NPROCESSORS_ONLN": "1\n", "_NPROCESSORS_CONF": string(possible)} {
		if got := output(ctx, t, c, "getconf", name); got != want {
			t.Errorf("getconf %s: got %q, want %q", name, got, want)
		}
	}
	if got, want := output(ctx, t, c, "cat", "/proc/swaps"), "Filename"; !strings.HasPrefix(got, want) {
		t.Errorf("swaps: got %q, want a line beginning with %s", got, want)
	}
	host, got := devices(t, readHost(t, "/proc/diskstats")), devices(t, output(ctx, t, c, "cat", "/proc/diskstats"))
	for d := range got {
		if !host[d] {
			t.Errorf("diskstats has the device %s, the host has only %v", d, host)
		}
	}
	status, err := setup.daemon.Run(ctx, "status")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{c.Pod.Name, "256", setup.daemon.Mountpoint} {
		if !strings.Contains(status, want) {
			t.Errorf("status: got %q, want %q in it", status, want)
		}
	}
}

// devices lists those in diskstats, whose every line must be whole.
func devices(t *testing.T, content string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for line := range strings.Lines(content) {
		f := strings.Fields(line)
		if len(f) < 14 || !strings.HasSuffix(line, "\n") {
			t.Fatalf("diskstats: got the line %q", line)
		}
		found[f[2]] = true
	}
	return found
}

// TestReaders reads in the ways that programs do: cat of busybox uses sendfile,
// which trusts the size that the file is said to have.
func TestReaders(t *testing.T) {
	ctx := begin(t)
	p := runPod(ctx, t, rig.PodOptions{})
	gnu := start(ctx, t, p, rig.ContainerOptions{Name: "gnu", Limits: half})
	busybox := start(ctx, t, p, rig.ContainerOptions{Name: "busybox", Image: rig.ImageBusybox, Limits: half})
	// A file that does not change from one read to the next.
	const file = "/proc/cpuinfo"
	want := output(ctx, t, gnu, "cat", file)
	if !strings.HasSuffix(want, "\n\n") {
		t.Errorf("%s: got %q, want it to end in an empty line", file, want)
	}
	want = stable(want)
	for _, c := range []*rig.Container{gnu, busybox} {
		for _, args := range [][]string{
			{"cat", file},
			{"dd", "if=" + file, "bs=7"},
			{"tail", "-c", "+1", file},
			{"head", "-n", "1000", file},
			{"sh", "-c", "cp " + file + " /tmp/copy && cat /tmp/copy"},
			{"grep", "", file},
		} {
			if got := stable(output(ctx, t, c, args...)); got != want {
				t.Errorf("%v in %s: got %q, want %q", args, c.Name, got, want)
			}
		}
	}
}

// stable leaves out of cpuinfo what is different at each read.
func stable(cpuinfo string) string {
	var b strings.Builder
	for line := range strings.Lines(cpuinfo) {
		if !strings.HasPrefix(line, "cpu MHz") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// TestReadOnly checks that a container can do nothing to its files, but write PSI
// triggers.
func TestReadOnly(t *testing.T) {
	ctx := begin(t)
	c := startLimited(ctx, t, half)
	for path, options := range ours(ctx, t, c) {
		access := "ro"
		if strings.HasPrefix(path, "/proc/pressure/") {
			access = "rw"
		}
		for _, want := range []string{access, "nosuid", "nodev", "noexec"} {
			if !strings.Contains(","+options+",", ","+want+",") {
				t.Errorf("mount options of %s: got %s, want %s among them", path, options, want)
			}
		}
	}
	if out, err := c.Exec(ctx, "sh", "-c", "echo 1 >/proc/meminfo"); err == nil {
		t.Errorf("writing to /proc/meminfo succeeded: %q", out)
	}
}

// TestOwnMount leaves a file alone that the container's author has provided.
func TestOwnMount(t *testing.T) {
	ctx := begin(t)
	const want = "MemTotal: 42 kB\n"
	file := filepath.Join(t.TempDir(), "meminfo")
	if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
	c := start(ctx, t, runPod(ctx, t, rig.PodOptions{}), rig.ContainerOptions{Limits: half, Mounts: map[string]string{"/proc/meminfo": file}})
	if got := output(ctx, t, c, "cat", "/proc/meminfo"); got != want {
		t.Errorf("meminfo: got %q, want %q", got, want)
	}
	got := ours(ctx, t, c)
	if _, ok := got["/proc/meminfo"]; ok {
		t.Error("/proc/meminfo is mounted over")
	}
	if _, ok := got["/proc/uptime"]; !ok {
		t.Errorf("/proc/uptime is not ours; these are: %v", got)
	}
}

// TestUserns runs a pod with a user namespace of its own.
func TestUserns(t *testing.T) {
	ctx := begin(t)
	c := start(ctx, t, runPod(ctx, t, rig.PodOptions{Userns: true}), rig.ContainerOptions{Limits: half})
	if got := strings.Fields(output(ctx, t, c, "cat", "/proc/self/uid_map")); len(got) != 3 || got[1] == "0" {
		t.Fatalf("uid_map: got %v, want a user namespace", got)
	}
	injected(ctx, t, c)
	sees(ctx, t, c, half.Memory, 1)
	listed(ctx, t, c, half.Memory, 1)
}
