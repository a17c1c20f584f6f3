package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestPressure: the files are the cgroup's own, so that triggers (write and
// poll, Documentation/accounting/psi.rst) work from inside. A container without
// a cgroup2 group of its own keeps the kernel's.
func TestPressure(t *testing.T) {
	ctx := begin(t)
	c := startLimited(ctx, t, half)
	pid, err := c.Pid(ctx)
	if err != nil {
		t.Fatal(err)
	}
	on := ""
	for line := range strings.Lines(output(ctx, t, c, "cat", "/proc/self/mountinfo")) {
		if f := strings.Fields(line); f[4] == "/proc/pressure/cpu" {
			on = line
		}
	}
	if own := ownPressure(t, pid); !own {
		if on != "" {
			t.Errorf("mounted: %s", on)
		}
		return
	}
	if !strings.Contains(on, " - cgroup2 ") || !strings.Contains(on, "/cpu.pressure /proc/pressure/cpu ") {
		t.Fatalf("mounted on /proc/pressure/cpu: %q", on)
	}
	// Opened where the container has it.
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/root/proc/pressure/cpu", pid), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd) //nolint:errcheck // the trigger goes with it
	// Who lacks CAP_SYS_RESOURCE, as containers do, may watch windows of 2 s only.
	if _, err := unix.Write(fd, []byte("some 50000 2000000\x00")); err != nil {
		t.Fatalf("set a trigger: %v", err)
	}
	output(ctx, t, c, "sh", "-c", "for i in 1 2 3; do (i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done) & done; wait")
	for {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLPRI}}
		n, err := unix.Poll(p, 10_000)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n != 1 || err != nil || p[0].Revents != unix.POLLPRI {
			t.Errorf("three tasks under a quota of half a CPU trigger nothing: %d, %v, %+v", n, err, p)
		}
		break
	}
	if got := output(ctx, t, c, "cat", "/proc/pressure/cpu"); !strings.HasPrefix(got, "some avg10=") || strings.Contains(got, "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n") {
		t.Errorf("the container's own pressure: %q", got)
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
