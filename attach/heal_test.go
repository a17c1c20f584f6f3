package attach

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
	"github.com/lxcfs-nri/lxcfs-nri/fusefs"
	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// beDaemon makes the test binary serve files on a directory.
const beDaemon = "LXCFS_NRI_TEST_BE_DAEMON"

func TestMain(m *testing.M) {
	if dir := os.Getenv(beDaemon); dir != "" {
		if err := serveFiles(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// serveFiles serves the caller-resolved files, and those of a container c1.
func serveFiles(dir string) error {
	groups, err := cgroup.Open("/")
	if err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	registry := view.NewRegistry(view.NewHost("/"), groups, log, view.Options{})
	if _, err := registry.Add(view.Container{ID: "c1", PID: os.Getpid()}); err != nil {
		return err
	}
	shared, err := fusefs.NewShared()
	if err != nil {
		return err
	}
	conn, err := fusefs.New(registry, log, func(string) bool { return true }).Mount(dir, shared)
	if err != nil {
		return err
	}
	if _, err := os.Stdout.WriteString("ready\n"); err != nil {
		return err
	}
	return conn.Serve()
}

// daemon is a process that serves a directory, until it is killed.
func daemon(t *testing.T, dir string) *os.Process {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), beDaemon+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() //nolint:errcheck // it may have been killed
		cmd.Wait()         //nolint:errcheck // killed
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			t.Error(err)
		}
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("a daemon on %s: %q, %v", dir, line, err)
	}
	return cmd.Process
}

// kill ends a daemon, and returns when its files answer ENOTCONN.
func kill(t *testing.T, d *os.Process) {
	t.Helper()
	if err := d.Kill(); err != nil {
		t.Fatal(err)
	}
	// The kernel closes descriptors before a parent can wait; who waits is Cleanup.
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_PID, d.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
}

// given are the files that the containers of these tests have.
var given = map[string]string{
	"/proc/meminfo":           "/containers/c1/proc/meminfo",
	"/proc/stat":              "/containers/c1/proc/stat",
	"/proc/uptime":            "/proc/uptime",
	"/sys/devices/system/cpu": "/containers/c1/sys/devices/system/cpu",
}

// writable is the one of them that is mounted for writing.
const writable = "/proc/uptime"

func give(t *testing.T, pid int, dir string) {
	t.Helper()
	var mounts []Mount
	for target, file := range given {
		mounts = append(mounts, Mount{Source: dir + file, Target: target, Writable: target == writable})
	}
	if made, err := Ensure(pid, fusefs.Type, mounts); err != nil || made != len(given) {
		t.Fatalf("%d mounts, %v", made, err)
	}
}

// fuseMounts counts the files that a process has of the daemons on a directory.
func fuseMounts(t *testing.T, pid int, dir string) (n int) {
	t.Helper()
	for line := range strings.Lines(readFile(t, procPath(pid, "mountinfo"))) {
		// A namespace that was copied from the host's has the whole, too.
		if strings.Contains(line, " "+fusefs.Source(dir)+" ") && strings.Fields(line)[3] != "/" {
			n++
		}
	}
	return n
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

// TestHeal kills a daemon below containers, and heals them with the files of
// the next one. Those of another daemon, also dead, stay as they are.
func TestHeal(t *testing.T) {
	dir, otherDir := filepath.Join(t.TempDir(), "mnt"), filepath.Join(t.TempDir(), "mnt")
	first, other := daemon(t, dir), daemon(t, otherDir)
	ctrs := map[string]int{
		"plain":            container(t, 0, "mount -o remount,bind,ro /"),
		"user namespace":   container(t, syscall.CLONE_NEWUSER, "mount -o remount,bind,ro /"),
		"of another":       container(t, 0, ":"),
		"with a file upon": container(t, 0, ":"),
	}
	for name, pid := range ctrs {
		if name == "of another" {
			give(t, pid, otherDir)
		} else {
			give(t, pid, dir)
		}
	}
	// Another's mount covers a dead one: it is not looked below.
	if out, err := exec.Command("nsenter", "-m", "-t", fmt.Sprint(ctrs["with a file upon"]), "mount", "--bind", "/etc/hostname", "/proc/stat").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	kill(t, first)
	kill(t, other)
	daemon(t, dir)
	heal := func(takeAway bool, wantHealed, wantGone int) {
		t.Helper()
		healed, gone, err := Heal(Ours{FSType: fusefs.Type, Source: fusefs.Source(dir)}, func(pid int, root string) (string, bool) {
			if root == "/containers/c1/proc/stat" || pid == ctrs["of another"] {
				return "", takeAway // there is none any more
			}
			return dir + root, true
		})
		if err != nil || healed != wantHealed || gone != wantGone {
			t.Errorf("%d healed, %d taken away, %v, want %d and %d", healed, gone, err, wantHealed, wantGone)
		}
	}
	heal(false, 9, 0)
	for name, pid := range ctrs {
		_, err := os.ReadFile(procPath(pid, "root/proc/uptime"))
		if name == "of another" {
			if !errors.Is(err, unix.ENOTCONN) {
				t.Errorf("another daemon's dead file: %v, want ENOTCONN", err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for file, options := range map[string]string{writable: " rw,", "/proc/meminfo": " ro,"} {
			if mounts := readFile(t, procPath(pid, "mountinfo")); !strings.Contains(mounts, " "+file+options) {
				t.Errorf("%s of %s is not mounted%s as before it was healed: %s", file, name, options, mounts)
			}
		}
		for _, file := range []string{"/proc/meminfo", "/sys/devices/system/cpu/online"} {
			if b, err := os.ReadFile(procPath(pid, "root"+file)); err != nil || len(b) == 0 {
				t.Errorf("%s of %s after it was healed: %q, %v", file, name, b, err)
			}
		}
	}
	if _, err := os.ReadFile(procPath(ctrs["plain"], "root/proc/stat")); !errors.Is(err, unix.ENOTCONN) {
		t.Errorf("what nothing can replace: %v, want ENOTCONN until it is to be taken away", err)
	}
	heal(true, 0, 2)
	if got := inside(t, ctrs["plain"], "/proc/stat"); !strings.HasPrefix(got, "cpu ") {
		t.Errorf("the kernel's own stat is not back: %q", got)
	}
	if got, want := inside(t, ctrs["with a file upon"], "/proc/stat"), readFile(t, "/etc/hostname"); got != want {
		t.Errorf("a mount of somebody else's: got %q, want %q", got, want)
	}
	heal(true, 0, 0)
}

// TestDetachAll takes away what is alive, what hangs and what is dead.
func TestDetachAll(t *testing.T) {
	dir, stoppedDir := filepath.Join(t.TempDir(), "mnt"), filepath.Join(t.TempDir(), "mnt")
	d, stopped := daemon(t, dir), daemon(t, stoppedDir)
	pids := []int{container(t, 0, ":"), container(t, syscall.CLONE_NEWUSER, "mount -o remount,bind,ro /")}
	hanging := container(t, 0, ":")
	for _, pid := range pids {
		give(t, pid, dir)
	}
	give(t, hanging, stoppedDir)
	if err := stopped.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	nothing := func(pid int, _ string) (string, bool) { t.Errorf("asked for process %d", pid); return "", true }
	if healed, gone, err := Heal(Ours{FSType: fusefs.Type, Source: fusefs.Source(stoppedDir)}, nothing); healed != 0 || gone != 0 || err != nil {
		t.Errorf("a daemon that does not answer is taken for dead: %d, %d, %v", healed, gone, err)
	}
	detach := func(dir string, pids ...int) {
		t.Helper()
		gone, err := DetachAll(Ours{FSType: fusefs.Type, Source: fusefs.Source(dir)})
		if err != nil || gone != len(given)*len(pids) {
			t.Errorf("%d mounts, %v, want %d", gone, err, len(given)*len(pids))
		}
		for _, pid := range pids {
			if n := fuseMounts(t, pid, dir); n != 0 {
				t.Errorf("process %d has %d mounts still", pid, n)
			}
			if got, want := inside(t, pid, "/sys/devices/system/cpu/online"), readFile(t, "/sys/devices/system/cpu/online"); got != want {
				t.Errorf("got %q, want the kernel's %q", got, want)
			}
		}
	}
	detach(stoppedDir, hanging)
	detach(dir, pids...)
	detach(dir) // there is none
	for _, pid := range pids {
		give(t, pid, dir)
	}
	kill(t, d)
	detach(dir, pids...)
	if mounted := readFile(t, "/proc/self/mountinfo"); !strings.Contains(mounted, " "+fusefs.Source(dir)+" ") {
		t.Error("the daemon's own mount went too")
	}
}

// TestANamespaceThatHangs has a container put a file of ours below a directory
// whose daemon does not answer: the others are detached all the same.
func TestANamespaceThatHangs(t *testing.T) {
	t.Parallel() // it waits for patience to end
	dir, hangDir := filepath.Join(t.TempDir(), "mnt"), filepath.Join(t.TempDir(), "mnt")
	daemon(t, dir)
	hangs := daemon(t, hangDir)
	bad, good := container(t, 0, ":"), container(t, 0, ":")
	give(t, good, dir)
	script := "mount --bind " + hangDir + "/sys/devices/system /mnt; mount --bind " + dir + "/proc/uptime /mnt/cpu/cpu0/topology/core_id"
	if out, err := exec.Command("nsenter", "-m", "-t", strconv.Itoa(bad), "sh", "-euc", script).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := hangs.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second) // what the kernel has cached is no longer valid
	gone, err := DetachAll(Ours{FSType: fusefs.Type, Source: fusefs.Source(dir)})
	if gone != len(given) || !errors.Is(err, errStuck) {
		t.Errorf("%d mounts, %v, want %d, and a complaint of one", gone, err, len(given))
	}
	if n := fuseMounts(t, good, dir); n != 0 {
		t.Errorf("the one that answers has %d mounts still", n)
	}
	// Its lock is free, and who hangs comes to an end with the daemon.
	if err := hangs.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := DetachAll(Ours{FSType: fusefs.Type, Source: fusefs.Source(dir)}); errors.Is(err, errStuck) {
		t.Errorf("it hangs still: %v", err)
	}
}

// TestWhatIsMeant: a scan for any daemon's files, as it is done without one.
func TestWhatIsMeant(t *testing.T) {
	const line = "36 35 %s %s %s ro - %s %s rw\n"
	mounts := fmt.Sprintf(line, "0:50", "/proc/stat", "/proc/stat", "fuse.x", "x:/a") +
		fmt.Sprintf(line, "0:50", "/proc/stat", "/proc/stat", "fuse.x", "x:/b") +
		fmt.Sprintf(line, "0:50", "/", "/mnt", "fuse.x", "x:/a") +
		fmt.Sprintf(line, "0:50", "/proc/stat", "/proc/stat", "fuse.y", "x:/a") +
		fmt.Sprintf(line, "0:30", "/g/cpu.pressure", "/proc/pressure/cpu", "cgroup2", "cgroup2") +
		fmt.Sprintf(line, "0:30", "/g/cpu.pressure", "/elsewhere", "cgroup2", "cgroup2")
	all, err := mountinfo.GetMountsFromReader(strings.NewReader(mounts), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		o                          Ours
		wantHas, wantTakes, wantIn string
	}{
		{Ours{FSType: "fuse.x", Source: "x:/a"}, "0", "04", "0"},
		{Ours{FSType: "fuse.x"}, "01", "014", "014"},
		{Ours{FSType: "fuse.z"}, "", "4", "4"},
		{Ours{FSType: "fuse.z", Source: "x:/a"}, "", "4", ""},
	} {
		var has, takes, in string
		for i, m := range all {
			if c.o.has(m) {
				has += fmt.Sprint(i)
			}
			if c.o.takes(m) {
				takes += fmt.Sprint(i)
			}
			if c.o.concerns(m) {
				in += fmt.Sprint(i)
			}
		}
		if has != c.wantHas || takes != c.wantTakes || in != c.wantIn {
			t.Errorf("%+v: has %s, takes %s, concerns %s, want %s, %s, %s", c.o, has, takes, in, c.wantHas, c.wantTakes, c.wantIn)
		}
	}
}
