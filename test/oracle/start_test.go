package oracle

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
	"github.com/lxcfs-nri/lxcfs-nri/test/box"
	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

// sinceBoot is now, as the kernel counts when processes start.
func sinceBoot(t testing.TB) float64 {
	t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		t.Fatal(err)
	}
	return float64(ts.Nano()) / 1e9
}

// TestStart compares uptime with when the container's init was started, and btime
// with the machine's, also after the daemon was killed and started again.
func TestStart(t *testing.T) {
	dir := t.TempDir()
	d, err := rig.Serve(t.Context(), dir, binary, "", rig.NoRuntime)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
	}()
	g := fixture.NewGroup(t)
	g.Set(t, "memory.max", "memory.limit_in_bytes", strconv.Itoa(64*mib))
	before := sinceBoot(t)
	b := box.New(t, g, d.Mountpoint)
	after := sinceBoot(t)
	for i := range 2 {
		from := sinceBoot(t)
		up := number(t, strings.Fields(readAs(t, g, b.PID, d.Mountpoint+"/proc/uptime"))[0])
		to := sinceBoot(t)
		if up < from-after-0.02 || up > to-before+0.02 {
			t.Errorf("uptime %.2f s, started %.2f to %.2f s ago", up, from-after, to-before)
		}
		got, want := btime(t, readAs(t, g, b.PID, d.Mountpoint+"/proc/stat")), btime(t, readFile(t, "/proc/stat"))
		if math.Abs(got-want) > 1 { // it moves with the clock
			t.Errorf("btime %.0f, the machine's is %.0f", got, want)
		}
		if i > 0 {
			break
		}
		if err := d.Kill(); err != nil {
			t.Fatal(err)
		}
		if d, err = rig.Serve(t.Context(), dir, binary, "", rig.NoRuntime); err != nil {
			t.Fatal(err)
		}
	}
}

// readAs reads a file in the group, and in the PID and time namespaces of a process
// but with the host's mounts: those of a container end with the daemon.
func readAs(t testing.TB, g *fixture.Group, pid int, file string) string {
	t.Helper()
	out, err := box.Run(g.Command("nsenter", "-t", strconv.Itoa(pid), "-p", "-T", "--", "cat", file))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func btime(t testing.TB, stat string) float64 {
	t.Helper()
	_, rest, _ := strings.Cut(stat, "\nbtime ")
	word, _, _ := strings.Cut(rest, "\n")
	return number(t, word)
}

// startJudges report when a process started, in seconds since the epoch. They add
// field 22 of its /proc/<pid>/stat to btime.
var startJudges = map[string]struct {
	cmd   []string // a process number is appended
	parse func(testing.TB, string) float64
}{
	"ps -o lstart": {[]string{"env", "LC_ALL=C", "TZ=UTC", "ps", "-o", "lstart=", "-p"}, func(t testing.TB, out string) float64 {
		at, err := time.Parse(time.ANSIC, strings.TrimSpace(out))
		if err != nil {
			t.Error(err)
		}
		return float64(at.Unix())
	}},
	"psutil":            {[]string{"/usr/bin/python3", "-c", "import psutil, sys; print(psutil.Process(int(sys.argv[1])).create_time())"}, number},
	"prometheus/procfs": {[]string{"/proc/self/exe", startedArgument}, number},
}

// startedArgument makes the test binary report when a process started, as
// prometheus/procfs finds it.
const startedArgument = "lxcfs-nri-started"

func started(pid string) {
	err := func() error {
		n, err := strconv.Atoi(pid)
		if err != nil {
			return err
		}
		p, err := procfs.NewProc(n)
		if err != nil {
			return err
		}
		stat, err := p.Stat()
		if err != nil {
			return err
		}
		at, err := stat.StartTime()
		fmt.Fprintln(os.Stdout, at)
		return err
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// TestProcessStart: programs find out when a container's process started, as they
// do on bare Linux. Tolerance: btime is cut to seconds, and by ps the time since
// then, too.
func TestProcessStart(t *testing.T) {
	g := fixture.NewGroup(t)
	g.Set(t, "memory.max", "memory.limit_in_bytes", strconv.Itoa(64*mib))
	b := box.New(t, g, daemon.Mountpoint)
	time.Sleep(4 * time.Second) // init and the process shall not be mixed up
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const script = `sleep 60 & "$@" $!; rc=$?; kill $!; exit $rc`
	for where, command := range map[string]func(string, ...string) *exec.Cmd{"bare Linux": g.Command, "container": b.Command} {
		for name, judge := range startJudges {
			args := append([]string{"-c", script, "sh"}, judge.cmd...)
			args[3] = strings.Replace(args[3], "/proc/self/exe", exe, 1)
			from := float64(time.Now().UnixMilli()) / 1000
			out, err := box.Run(command("sh", args...))
			if err != nil {
				t.Errorf("%s on %s: %v", name, where, err)
				continue
			}
			to := float64(time.Now().UnixMilli()) / 1000
			if got := judge.parse(t, out); got < from-2.1 || got > to+0.1 {
				t.Errorf("%s on %s: the process started at %.2f, want %.2f to %.2f", name, where, got, from, to)
			}
		}
	}
}

// TestTimeNamespace: in a time namespace of its own a container is shown what the
// kernel's own files show there.
func TestTimeNamespace(t *testing.T) {
	for _, offset := range []string{"0", "864000", "-1"} {
		g := fixture.NewGroup(t)
		g.Set(t, "memory.max", "memory.limit_in_bytes", strconv.Itoa(64*mib))
		cmd := g.Command("unshare", "--time", "--boottime", offset, "--pid", "--fork", "--kill-child", "sh", "-c", "echo ready; exec sleep 300")
		fixture.Start(t, cmd)
		children := readFile(t, fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
		pid := int(number(t, children))
		up := func(file string) float64 { return number(t, strings.Fields(readAs(t, g, pid, file))[0]) }
		from := up("/proc/uptime")
		got := up(mounted("proc/uptime"))
		to := up("/proc/uptime")
		if got < from-0.02 || got > to+0.02 {
			t.Errorf("offset %s: uptime %.2f, the kernel has %.2f to %.2f", offset, got, from, to)
		}
		if got, want := btime(t, readAs(t, g, pid, mounted("proc/stat"))), btime(t, readAs(t, g, pid, "/proc/stat")); math.Abs(got-want) > 1 {
			t.Errorf("offset %s: btime %.0f, the kernel has %.0f", offset, got, want)
		}
	}
}

// TestLastPID: the number is that of the container's own PID namespace.
func TestLastPID(t *testing.T) {
	b := box.New(t, fixture.NewGroup(t), daemon.Mountpoint)
	b.Group.Set(t, "memory.max", "memory.limit_in_bytes", strconv.Itoa(64*mib))
	time.Sleep(1100 * time.Millisecond) // tasks are counted once a second
	out := b.Output(t, "sh", "-c", "cat /proc/loadavg; echo $$")
	var a [3]float64
	var running, all, last, shell int
	if _, err := fmt.Sscanf(out, "%f %f %f %d/%d %d\n%d", &a[0], &a[1], &a[2], &running, &all, &last, &shell); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	if last < shell || last > shell+2 {
		t.Errorf("last pid %d, but the reader is number %d", last, shell+1)
	}
	// init, shell and cat.
	if all < 2 || all > 4 || running > all {
		t.Errorf("%d of %d tasks run", running, all)
	}
}
