package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/control"
)

// beMain makes the test binary be the program.
const beMain = "LXCFS_NRI_TEST_BE_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(beMain) != "" || os.Args[0] == "lxcfs-nri-attach" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func command(args ...string) *exec.Cmd {
	c := exec.Command("/proc/self/exe", args...)
	if exe, err := os.Executable(); err == nil {
		c.Path = exe
	}
	c.Env = append(os.Environ(), beMain+"=1")
	return c
}

// fails runs a command that must end by itself, and checks what it says.
func fails(t *testing.T, c *exec.Cmd, code int, says ...string) {
	t.Helper()
	timer := time.AfterFunc(20*time.Second, func() { c.Process.Kill() }) //nolint:errcheck // it ended
	out, err := c.CombinedOutput()
	timer.Stop()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != code {
		t.Errorf("%v ended with %v, want exit status %d; it said %s", c.Args[1:], err, code, out)
	}
	for _, s := range says {
		if !strings.Contains(string(out), s) {
			t.Errorf("%v does not say %q but %s", c.Args[1:], s, out)
		}
	}
}

// startServe starts serve and waits until it is ready. It is killed at the end of
// the test where it still runs, and its mount removed.
func startServe(t *testing.T, mountpoint, runDir string) *exec.Cmd {
	t.Helper()
	c := command(serveArgs(mountpoint, runDir)...)
	startCommand(t, c, mountpoint)
	return c
}

// startCommand starts a command that serves, and returns what it logged until it was
// ready.
func startCommand(t *testing.T, c *exec.Cmd, mountpoint string) (log string) {
	t.Helper()
	stderr, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()                          //nolint:errcheck // it ended
		c.Wait()                                  //nolint:errcheck // killed
		unix.Unmount(mountpoint, unix.MNT_DETACH) //nolint:errcheck // not mounted any more
	})
	lines := bufio.NewScanner(stderr)
	var said []string
	for lines.Scan() {
		if said = append(said, lines.Text()); strings.Contains(lines.Text(), "msg=ready") {
			go io.Copy(io.Discard, stderr) //nolint:errcheck // until it ends
			return strings.Join(said, "\n")
		}
	}
	t.Fatalf("serve ended before it was ready: %s", strings.Join(said, "\n"))
	return ""
}

func serveArgs(mountpoint, runDir string) []string {
	return []string{"serve", "--mountpoint", mountpoint, "--run-dir", runDir, "--nri-socket", "none"}
}

func dirs(t *testing.T) (mountpoint, runDir string) {
	t.Helper()
	dir := t.TempDir()
	return filepath.Join(dir, "mnt"), filepath.Join(dir, "run")
}

func TestServe(t *testing.T) {
	mountpoint, runDir := dirs(t)
	c := startServe(t, mountpoint, runDir)
	if b, err := os.ReadFile(filepath.Join(mountpoint, "proc/uptime")); err != nil || len(b) == 0 {
		t.Errorf("uptime is %q, %v", b, err)
	}
	out, err := command("status", "--run-dir", runDir).CombinedOutput()
	if err != nil || !strings.Contains(string(out), mountpoint) || !strings.Contains(string(out), "NRI is off") {
		t.Errorf("status: %v %s", err, out)
	}
	out, err = command("status", "--json", "--run-dir", runDir).Output()
	var s control.Status
	if err != nil || json.Unmarshal(out, &s) != nil || s.PID != c.Process.Pid || s.Mountpoint != mountpoint {
		t.Errorf("status --json: %v %s", err, out)
	}

	other, otherRun := dirs(t)
	fails(t, command(serveArgs(mountpoint, otherRun)...), exitFailed, "served by another lxcfs-nri", "--mountpoint")
	fails(t, command(serveArgs(other, runDir)...), exitFailed, "another lxcfs-nri runs", "--run-dir")

	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	if to, err := os.Readlink(filepath.Join(mountpoint, "proc/uptime")); to != "/proc/uptime" {
		t.Errorf("after the end the file at the mount point leads to %q (%v)", to, err)
	}
	fails(t, command("status", "--run-dir", runDir), exitFailed, "no daemon answers", "lxcfs-nri serve")
}

func TestServeAfterAKill(t *testing.T) {
	mountpoint, runDir := dirs(t)
	c := startServe(t, mountpoint, runDir)
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	c.Wait() //nolint:errcheck // killed
	if _, err := os.ReadDir(mountpoint); !errors.Is(err, unix.ENOTCONN) {
		t.Errorf("the killed daemon's mount: %v, want ENOTCONN", err)
	}
	startServe(t, mountpoint, runDir)
	if _, err := os.ReadFile(filepath.Join(mountpoint, "proc/uptime")); err != nil {
		t.Error(err)
	}
}

func TestServeSaysWhatIsMissing(t *testing.T) {
	mountpoint, runDir := dirs(t)

	nobody := command(serveArgs(mountpoint, runDir)...)
	nobody.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	binary := filepath.Join(t.TempDir(), "lxcfs-nri")
	if err := copyFile(nobody.Path, binary); err != nil {
		t.Fatal(err)
	}
	nobody.Path = binary
	for dir := filepath.Dir(binary); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	fails(t, nobody, exitFailed, "needs root", "sudo")

	// A /dev without fuse, in a mount namespace of its own.
	noFuse := command()
	exe := noFuse.Path
	noFuse = exec.Command("unshare", append([]string{"-m", "sh", "-c", `mount -t tmpfs none /dev && exec "$@"`, "sh", exe}, serveArgs(mountpoint, runDir)...)...)
	noFuse.Env = append(os.Environ(), beMain+"=1")
	fails(t, noFuse, exitFailed, "/dev/fuse", "modprobe fuse")

	if err := os.MkdirAll(mountpoint, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", mountpoint, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mountpoint, 0); err != nil {
			t.Error(err)
		}
	})
	fails(t, command(serveArgs(mountpoint, runDir)...), exitFailed, "tmpfs mounted", "--mountpoint")
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o755)
}

func TestBadUse(t *testing.T) {
	config := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(config, []byte("swap: true\nmountpiont: /x\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	fails(t, command("serve", "--config", config), exitFailed, config+":2", "mountpiont", "mountpoint")
	fails(t, command("serve", "--config", config+".missing"), exitFailed, config+".missing")
	fails(t, command("serve", "--mountpoint", "relative"), exitFailed, "mountpoint", "relative")
	fails(t, command("serve", "--no-such-flag"), exitUsage, "no-such-flag", "--help")
	fails(t, command("serve", "surplus"), exitFailed, "surplus")
	fails(t, command("no-such-command"), exitFailed, "no-such-command")
	if out, err := command("version").Output(); err != nil || !strings.HasPrefix(string(out), "lxcfs-nri ") {
		t.Errorf("version: %s, %v", out, err)
	}
}
