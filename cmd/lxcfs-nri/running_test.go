package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// withUptime is a process that has a daemon's uptime in place of the kernel's,
// as a container of a runtime without NRI has it.
func withUptime(t *testing.T, mountpoint string) (file string) {
	t.Helper()
	script := `mount --make-rprivate /; mount --bind "$1/proc/uptime" /proc/uptime; echo ready; exec sleep infinity`
	c := exec.Command("unshare", "-m", "sh", "-euc", script, "sh", mountpoint)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill() //nolint:errcheck // it is ours, and is waited for
		c.Wait()         //nolint:errcheck // killed
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("%q, %v", line, err)
	}
	return fmt.Sprintf("/proc/%d/root/proc/uptime", c.Process.Pid)
}

// fsType is 0x65735546 for a file of FUSE, and another for the kernel's own.
func fsType(t *testing.T, file string) int64 {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(file, &st); err != nil {
		t.Error(err)
	}
	return int64(st.Type)
}

func TestServeHealsAndDetaches(t *testing.T) {
	mountpoint, runDir := dirs(t)
	first := startServe(t, mountpoint, runDir)
	file := withUptime(t, mountpoint)
	if got := fsType(t, file); got != unix.FUSE_SUPER_MAGIC {
		t.Fatalf("not a file of ours: %x", got)
	}
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	first.Wait() //nolint:errcheck // killed
	if _, err := os.ReadFile(file); !errors.Is(err, unix.ENOTCONN) {
		t.Errorf("with a dead daemon: %v, want ENOTCONN", err)
	}
	second := startServe(t, mountpoint, runDir)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		_, err := os.ReadFile(file)
		// Between the dead file and the new one the kernel's own is seen.
		if err == nil && fsType(t, file) == unix.FUSE_SUPER_MAGIC {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("not healed by a file of ours: %v", err)
		}
	}
	if err := second.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := second.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	if got := fsType(t, file); got != unix.PROC_SUPER_MAGIC {
		t.Errorf("after a stop the kernel's own file is not back: %x", got)
	}
}

func TestDetachWithoutADaemon(t *testing.T) {
	mountpoint, runDir := dirs(t)
	c := startServe(t, mountpoint, runDir)
	file := withUptime(t, mountpoint)
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	c.Wait() //nolint:errcheck // killed
	detach := func(mountpoint, want string) {
		t.Helper()
		out, err := command("detach", "--all", "--run-dir", runDir, "--mountpoint", mountpoint).CombinedOutput()
		if err != nil || string(out) != want {
			t.Errorf("got %q, %v, want %q", out, err, want)
		}
	}
	const nothing = "no container has anything to be detached\n"
	detach(mountpoint+"2", nothing)
	detach(mountpoint, "other containers: 1 files detached\n")
	detach(mountpoint, nothing)
	if got := fsType(t, file); got != unix.PROC_SUPER_MAGIC {
		t.Errorf("the kernel's own file is not back: %x", got)
	}
	fails(t, command("attach", "--all", "--run-dir", runDir), exitFailed, "no daemon answers", "lxcfs-nri serve")
	fails(t, command("detach", "abcdef", "abcdeg", "--run-dir", runDir), exitFailed, "no daemon answers")
	fails(t, command("attach"), exitUsage, "--all", "attach --help")
	fails(t, command("detach", "--all", "abcdef"), exitUsage, "--all", "detach --help")
}

// TestManage asks a daemon that knows no container.
func TestManage(t *testing.T) {
	mountpoint, runDir := dirs(t)
	startServe(t, mountpoint, runDir)
	fails(t, command("attach", "abcdef", "abcdeg", "--run-dir", runDir), exitFailed, "no container abcdef", "no container abcdeg")
	out, err := command("attach", "--all", "--run-dir", runDir).CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "no container has") {
		t.Errorf("attach --all: %q, %v", out, err)
	}
	if _, err := os.Stat(filepath.Join(mountpoint, "proc/uptime")); err != nil {
		t.Error(err)
	}
}
