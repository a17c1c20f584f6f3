package attach

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
)

// container starts a process with a mount namespace of its own: a procfs and a
// sysfs, and a file of its author's on /proc/loadavg.
func container(t *testing.T, flags uintptr, script string) int {
	t.Helper()
	pid, _ := fixture.Process(t, flags, "mount -t proc proc /proc; "+script)
	return pid
}

// files is a tmpfs, which stands for the file system of ours.
func files(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	for _, name := range []string{"uptime", "loadavg", "cpu/online"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte("ours\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// inside reads a file as a process sees it.
func inside(t *testing.T, pid int, file string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/root%s", pid, file))
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

func TestEnsureAndRemove(t *testing.T) {
	dir := files(t)
	others := filepath.Join(t.TempDir(), "others")
	if err := os.Chmod(filepath.Dir(filepath.Dir(others)), 0o755); err != nil { // for the user namespace's root
		t.Fatal(err)
	}
	if err := os.WriteFile(others, []byte("theirs\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	mounts := []Mount{
		{Source: dir + "/uptime", Target: "/proc/uptime"},
		{Source: dir + "/loadavg", Target: "/proc/loadavg"},
		{Source: dir + "/cpu", Target: "/sys/devices/system/cpu"},
		{Source: dir + "/uptime", Target: "/etc/hostname"}, // not the kernel's
		{Source: dir + "/uptime", Target: "/proc/version", Writable: true},
	}
	targets := []string{"/proc/uptime", "/proc/loadavg", "/sys/devices/system/cpu", "/proc/version"}
	for name, flags := range map[string]uintptr{"plain": 0, "in a user namespace": syscall.CLONE_NEWUSER} {
		t.Run(name, func(t *testing.T) {
			pid := container(t, flags, "mount --bind "+others+" /proc/loadavg; mount -o remount,bind,ro /")
			kernels := inside(t, pid, "/proc/version")
			kept, err := os.Open(fmt.Sprintf("/proc/%d/root/proc/version", pid))
			if err != nil {
				t.Fatal(err)
			}
			defer kept.Close()
			for i, want := range []int{3, 0} { // the second time all are there
				if made, err := Ensure(pid, "tmpfs", mounts); err != nil || made != want {
					t.Fatalf("time %d: %d mounts, %v, want %d", i, made, err, want)
				}
			}
			for file, want := range map[string]string{
				"/proc/uptime": "ours\n", "/proc/version": "ours\n", "/sys/devices/system/cpu/online": "ours\n", "/proc/loadavg": "theirs\n",
			} {
				if got := inside(t, pid, file); got != want {
					t.Errorf("%s: got %q, want %q", file, got, want)
				}
			}
			if _, err := os.OpenFile(fmt.Sprintf("/proc/%d/root/proc/uptime", pid), os.O_WRONLY, 0); !errors.Is(err, unix.EROFS) {
				t.Errorf("uptime can be written: %v", err)
			}
			if f, err := os.OpenFile(fmt.Sprintf("/proc/%d/root/proc/version", pid), os.O_WRONLY, 0); err != nil {
				t.Errorf("what is to be writable is not: %v", err)
			} else {
				f.Close()
			}
			if got := inside(t, os.Getpid(), "/proc/version"); got != kernels {
				t.Errorf("the host sees %q", got)
			}
			b := make([]byte, len(kernels))
			if _, err := kept.ReadAt(b, 0); err != nil || string(b) != kernels {
				t.Errorf("a descriptor that was open gives %q, %v", b, err)
			}
			for i, want := range []int{3, 0} {
				if gone, err := Remove(pid, "tmpfs", targets); err != nil || gone != want {
					t.Fatalf("time %d: %d mounts taken away, %v, want %d", i, gone, err, want)
				}
			}
			if got := inside(t, pid, "/proc/version"); got != kernels {
				t.Errorf("after it was taken away: %q, want %q", got, kernels)
			}
			if got := inside(t, pid, "/proc/loadavg"); got != "theirs\n" {
				t.Errorf("somebody else's mount: %q", got)
			}
		})
	}
}

// deadFUSE is the mount of a FUSE daemon that has died.
func deadFUSE(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd) //nolint:errcheck // the mount keeps the connection
	if err := unix.Mount("dead", dir, "fuse.dead", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestTheDeadAreReplaced: two mounts, one on the other, whose daemon died.
func TestTheDeadAreReplaced(t *testing.T) {
	dead, dir := deadFUSE(t), files(t)
	pid := container(t, 0, ":")
	const target = "/sys/devices/system/cpu"
	for range 2 {
		p, err := open(pid)
		if err != nil {
			t.Fatal(err)
		}
		todo := []change{{target: target, mount: &Mount{Source: dead, Target: target}}}
		err = errors.Join(p.change(todo), todo[0].err)
		p.close()
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.ReadDir(fmt.Sprintf("/proc/%d/root%s", pid, target)); !errors.Is(err, unix.ENOTCONN) {
		t.Fatalf("not dead: %v", err)
	}
	if made, err := Ensure(pid, "fuse.dead", []Mount{{Source: dir + "/cpu", Target: target}}); err != nil || made != 1 {
		t.Fatalf("%d mounts, %v", made, err)
	}
	if got := inside(t, pid, target+"/online"); got != "ours\n" {
		t.Errorf("got %q", got)
	}
	if gone, err := Remove(pid, "tmpfs", []string{target}); err != nil || gone != 1 {
		t.Errorf("%d mounts taken away, %v", gone, err)
	}
	if got, want := inside(t, pid, target+"/online"), inside(t, os.Getpid(), target+"/online"); got != want {
		t.Errorf("something lay below: %q, want the kernel's %q", got, want)
	}
}

// TestKernelsOwn is for containers that a runtime has given the kernel's file where
// that of ours was meant: it stays below ours.
func TestKernelsOwn(t *testing.T) {
	dir := files(t)
	pid := container(t, 0, "mount --bind /proc/uptime /proc/uptime; mount --bind /sys/devices/system/cpu /sys/devices/system/cpu; mount --bind /proc/version /proc/loadavg")
	mounts := []Mount{
		{Source: dir + "/uptime", Target: "/proc/uptime"},
		{Source: dir + "/loadavg", Target: "/proc/loadavg"},
		{Source: dir + "/cpu", Target: "/sys/devices/system/cpu"},
	}
	for i, want := range []int{2, 0} {
		if made, err := Ensure(pid, "tmpfs", mounts); err != nil || made != want {
			t.Fatalf("time %d: %d mounts, %v, want %d", i, made, err, want)
		}
	}
	if got := inside(t, pid, "/proc/uptime"); got != "ours\n" {
		t.Errorf("got %q", got)
	}
	if gone, err := Remove(pid, "tmpfs", []string{"/proc/uptime", "/proc/loadavg", "/sys/devices/system/cpu"}); err != nil || gone != 2 {
		t.Errorf("%d mounts taken away, %v, want 2", gone, err)
	}
	if got := inside(t, pid, "/proc/uptime"); got == "ours\n" {
		t.Error("the kernel's own file is not back")
	}
}

func TestRefused(t *testing.T) {
	dir := files(t)
	pid := container(t, 0, "mount -t tmpfs t /mnt; ln -s /proc /mnt/link; mount --bind /proc /mnt; ln -sf /proc/version "+dir+"/link")
	for _, target := range []string{"proc/uptime", "/", "", "/proc/../proc/uptime", "/proc/up\x00time", "/proc/" + strings.Repeat("x", 5000), "/proc/nothing", "/proc/self/status"} {
		if made, err := Ensure(pid, "tmpfs", []Mount{{Source: dir + "/uptime", Target: target}}); err == nil || made != 0 {
			t.Errorf("%.40q: %d mounts, %v", target, made, err)
		}
	}
	good := []Mount{{Source: dir + "/nothing", Target: "/proc/version"}, {Source: dir + "/uptime", Target: "/proc/uptime"}}
	if made, err := Ensure(pid, "tmpfs", good); made != 1 || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("one that can't be, one that can: %d, %v", made, err)
	}
	if _, err := Ensure(os.Getpid(), "tmpfs", good); err == nil || errors.Is(err, ErrGone) {
		t.Errorf("the host's own namespace: %v", err)
	}
	for _, gone := range []int{0, -1, 1 << 22} {
		if _, err := Ensure(gone, "tmpfs", good); !errors.Is(err, ErrGone) {
			t.Errorf("process %d: %v", gone, err)
		}
	}
}

// TestRemoveLooksAtTheTop: what somebody has mounted on a file of ours is not
// taken for it.
func TestRemoveLooksAtTheTop(t *testing.T) {
	dir := files(t)
	pid := container(t, 0, ":")
	if _, err := Ensure(pid, "tmpfs", []Mount{{Source: dir + "/uptime", Target: "/proc/uptime"}}); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("nsenter", "-m", "-t", strconv.Itoa(pid), "mount", "--bind", "/proc/version", "/proc/uptime").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if gone, err := Remove(pid, "tmpfs", []string{"/proc/uptime"}); err != nil || gone != 0 {
		t.Errorf("%d mounts taken away, %v, want 0", gone, err)
	}
	if got, want := inside(t, pid, "/proc/uptime"), inside(t, pid, "/proc/version"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestSharedWithTheHost: what is mounted on a bind of the host's sysfs that is
// shared with it would be on the host, too; a peer group of the container's own
// (systemd as its init makes one) is no hindrance.
func TestSharedWithTheHost(t *testing.T) {
	dir := files(t)
	hosts := t.TempDir()
	if err := errors.Join(unix.Mount("sysfs", hosts, "sysfs", 0, ""), unix.Mount("", hosts, "", unix.MS_SHARED, "")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(hosts, unix.MNT_DETACH); err != nil { // with what may be on it
			t.Error(err)
		}
	})
	// Here the container's root stays shared with the host's.
	pid := container(t, 0, "mount --make-rshared /")
	keeps := exec.Command("unshare", "-m", "--propagation", "unchanged", "sh", "-c", "echo ready; exec sleep infinity")
	out, err := keeps.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := keeps.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		keeps.Process.Kill() //nolint:errcheck // it is ours, and is waited for
		keeps.Wait()         //nolint:errcheck // ended by a signal
	})
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		pid    int
		target string
		want   int
	}{{keeps.Process.Pid, hosts + "/kernel/uevent_seqnum", 0}, {pid, "/proc/uptime", 1}, {pid, "/sys/kernel/uevent_seqnum", 1}} {
		made, err := Ensure(c.pid, "tmpfs", []Mount{{Source: dir + "/uptime", Target: c.target}})
		if err != nil || made != c.want {
			t.Errorf("%s: %d mounts, %v, want %d", c.target, made, err, c.want)
		}
	}
	if mounted := inside(t, os.Getpid(), "/proc/self/mountinfo"); strings.Contains(mounted, "uevent_seqnum") {
		t.Errorf("it is on the host, too:\n%s", mounted)
	}
}
