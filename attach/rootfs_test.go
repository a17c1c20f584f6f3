package attach

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// newRoot makes a directory that is a container's root to be, once it has
// mounts: those of rootScript.
func newRoot(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"/proc", "/sys", "/bare"} {
		if err := os.Mkdir(root+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const rootScript = "mount -t proc proc %[1]s/proc; mount -t sysfs sysfs %[1]s/sys; mount --bind %[2]s %[1]s/proc/loadavg"

func TestEnsureIn(t *testing.T) {
	dir, root := files(t), newRoot(t)
	pid := container(t, 0, fmt.Sprintf(rootScript, root, "/etc/hostname"))
	mounts := []Mount{
		{Source: dir + "/uptime", Target: "/proc/uptime"},
		{Source: dir + "/loadavg", Target: "/proc/loadavg"}, // its author's
		{Source: dir + "/cpu", Target: "/sys/devices/system/cpu"},
	}
	for i, want := range []int{2, 0} {
		if made, err := EnsureIn(pid, root, "tmpfs", mounts); err != nil || made != want {
			t.Fatalf("time %d: %d mounts, %v, want %d", i, made, err, want)
		}
	}
	for file, want := range map[string]bool{
		root + "/proc/uptime": true, root + "/sys/devices/system/cpu/online": true, root + "/proc/loadavg": false,
		"/proc/uptime": false, "/sys/devices/system/cpu/online": false,
	} {
		if got := inside(t, pid, file) == "ours\n"; got != want {
			t.Errorf("%s is ours: %t, want %t", file, got, want)
		}
	}
}

// TestEnsureInElsewhere: what is not a container's root to be is left alone.
func TestEnsureInElsewhere(t *testing.T) {
	dir, root := files(t), newRoot(t)
	link := t.TempDir() + "/link"
	if err := os.Symlink(root, link); err != nil {
		t.Fatal(err)
	}
	pid := container(t, 0, fmt.Sprintf(rootScript, root, "/etc/hostname"))
	mounts := []Mount{{Source: dir + "/uptime", Target: "/proc/uptime"}}
	for _, c := range []struct {
		pid          int
		rootfs, says string
	}{
		{pid, "/", "clean"},
		{pid, "", "clean"},
		{pid, strings.TrimPrefix(root, "/"), "clean"},
		{pid, root + "/", "clean"},
		{pid, root + "/../../etc", "clean"},
		{pid, root + "\x00", "clean"},
		{pid, link, "no procfs"},
		{pid, root + "/bare", "no procfs"},
		{pid, root + "/nothing", "no procfs"},
		{pid, root[:len(root)-1], "no procfs"},
		{os.Getpid(), root, "own mount namespace"},
		{0, root, "no procfs"}, // this process's, without the container's mounts
		{1 << 30, root, ErrGone.Error()},
	} {
		if made, err := EnsureIn(c.pid, c.rootfs, "tmpfs", mounts); made != 0 || err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("process %d, %q: %d mounts, %v, want %q", c.pid, c.rootfs, made, err, c.says)
		}
	}
}

// ownVar has this test mount in its own namespace, which a process that has
// threads can't make.
const ownVar = "LXCFS_NRI_TEST_ROOTFS"

func TestEnsureInOwnNamespace(t *testing.T) {
	if at := os.Getenv(ownVar); at != "" {
		root, source, _ := strings.Cut(at, ":")
		made, err := EnsureIn(0, root, "tmpfs", []Mount{{Source: source, Target: "/proc/uptime"}})
		if b, readErr := os.ReadFile(root + "/proc/uptime"); made != 1 || string(b) != "ours\n" {
			t.Errorf("%d mounts, %v: %q", made, errors.Join(err, readErr), b)
		}
		return
	}
	dir, root := files(t), newRoot(t)
	// As with runc: a PID namespace in which the procfs on /proc is another's.
	script := "mount --make-rprivate /; " + fmt.Sprintf(rootScript, root, "/etc/hostname") + "; exec " + os.Args[0] + " -test.v -test.run '^TestEnsureInOwnNamespace$'"
	cmd := exec.Command("sh", "-euc", script)
	cmd.Env = append(os.Environ(), ownVar+"="+root+":"+dir+"/uptime")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestEnsureInOwnNamespace") {
		t.Errorf("%v\n%s", err, out)
	}
}
