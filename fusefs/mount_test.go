package fusefs_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
	"github.com/lxcfs-nri/lxcfs-nri/fusefs"
	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// mounted is a file system of a test's own, over a made-up cgroup2 machine
// whose container "c1" may use 256 MiB.
type mounted struct {
	dir      string // the mount point
	root     string // of the machine
	registry *view.Registry
}

func (m *mounted) path(file string) string {
	return filepath.Join(m.dir, view.ContainerPath("c1", file))
}

// set changes a file of the container's group.
func (m *mounted) set(t *testing.T, name, content string) {
	t.Helper()
	write(t, filepath.Join(m.root, "sys/fs/cgroup/ctr", name), content)
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func machine(t *testing.T) (*mounted, *slog.Logger) {
	t.Helper()
	m := &mounted{dir: filepath.Join(t.TempDir(), "mnt"), root: t.TempDir()}
	for name, content := range map[string]string{
		"proc/self/mountinfo":              "31 23 0:28 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n",
		"sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n",
		"proc/77/cgroup":                   "0::/ctr\n",
		"proc/77/stat":                     "77 (a b) c) S 1 77 77 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 100 1 1 1\n",
		"proc/sys/vm/overcommit_ratio":     "50\n",
		"proc/sys/vm/overcommit_kbytes":    "0\n",
	} {
		write(t, filepath.Join(m.root, name), content)
	}
	for _, name := range []string{
		"proc/meminfo", "proc/swaps", "proc/cpuinfo", "proc/stat", "proc/uptime", "proc/diskstats",
		"proc/loadavg", "proc/slabinfo", "proc/pressure/cpu", "proc/pressure/memory", "proc/pressure/io",
		"sys/devices/system/cpu/online", "sys/devices/system/cpu/possible", "sys/devices/system/cpu/present",
	} {
		b, err := os.ReadFile("/" + name)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(m.root, name), string(b))
	}
	m.set(t, "memory.max", fmt.Sprintln(256<<20))
	m.set(t, "memory.current", fmt.Sprintln(64<<20))
	m.set(t, "memory.stat", "anon 1048576\nactive_file 4096\n")
	m.set(t, "cpu.max", "50000 100000\n")
	m.set(t, "memory.pressure", "some avg10=1.00 avg60=0.00 avg300=0.00 total=7\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n")
	m.set(t, "cpu.stat", "usage_usec 3\nuser_usec 1\nsystem_usec 2\n")

	groups, err := cgroup.Open(m.root)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	m.registry = view.NewRegistry(view.NewHost(m.root), groups, log, view.Options{})
	if _, err := m.registry.Add(view.Container{ID: "c1", CgroupsPath: "/ctr", PID: 77}); err != nil {
		t.Fatal(err)
	}
	return m, log
}

func mount(t *testing.T) *mounted {
	t.Helper()
	m, log := machine(t)
	serve(t, m, log)
	return m
}

// serve mounts, and checks at the end that nothing is left: no mount, and as
// many descriptors as before.
func serve(t *testing.T, m *mounted, log *slog.Logger) {
	t.Helper()
	before := descriptors(t)
	shared, err := fusefs.NewShared()
	if err != nil {
		t.Fatal(err)
	}
	shared.NoPolls() // see noPoll
	conn, err := fusefs.New(m.registry, log, everything).Mount(m.dir, shared)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- conn.Serve() }()
	noPoll(t, m.dir)
	t.Cleanup(func() {
		if err := conn.Unmount(); err != nil {
			t.Error(err)
		}
		select {
		case err := <-served:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("Serve did not end after Unmount")
		}
		m.registry.Close()
		if err := shared.Close(); err != nil {
			t.Error(err)
		}
		if after := descriptors(t); len(after) > len(before) {
			t.Errorf("descriptors before: %v, after: %v", before, after)
		}
	})
}

func everything(string) bool { return true }

// noPoll lets the kernel learn that there is no poll here. Go's runtime asks
// epoll about each file that it opens, in a system call that keeps hold of a
// processor: where reader and file system are one process, it would wait for
// itself.
func noPoll(t *testing.T, dir string) {
	t.Helper()
	fd, err := unix.Open(filepath.Join(dir, "proc/uptime"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd) //nolint:errcheck // read-only
	if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0); err != nil {
		t.Fatal(err)
	}
}

func descriptors(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			all = append(all, to)
		}
	}
	return all
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestFilesAreThere(t *testing.T) {
	m := mount(t)
	for _, f := range view.Files {
		st, err := os.Stat(m.path(f.Path))
		if f.Path == "proc/pressure/irq" { // this machine has none
			if !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s: %v", f.Path, err)
			}
			continue
		}
		if err != nil {
			t.Error(err)
			continue
		}
		if st.Mode().Perm() != os.FileMode(f.Mode) || st.IsDir() != (f.Append == nil) {
			t.Errorf("%s has mode %v, want %v", f.Path, st.Mode(), os.FileMode(f.Mode))
		}
		if st.IsDir() {
			continue
		}
		content := read(t, m.path(f.Path))
		if content == "" || !strings.HasSuffix(content, "\n") {
			t.Errorf("%s is %q", f.Path, content)
		}
	}
	if got := read(t, m.path("proc/meminfo")); !strings.HasPrefix(got, "MemTotal:         262144 kB\nMemFree:          196608 kB\n") {
		t.Errorf("meminfo is %q", got)
	}
}

func TestTree(t *testing.T) {
	m := mount(t)
	list := func(dir string) string {
		entries, err := os.ReadDir(filepath.Join(m.dir, dir))
		if err != nil {
			t.Error(err)
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return strings.Join(names, " ")
	}
	for dir, want := range map[string]string{
		".":                                "containers proc sys",
		"proc":                             "cpuinfo diskstats loadavg meminfo pressure slabinfo stat swaps uptime",
		"containers":                       "c1",
		"containers/c1":                    "proc sys",
		"containers/c1/sys/devices/system": "cpu",
	} {
		if got := list(dir); got != want {
			t.Errorf("%s holds %q, want %q", dir, got, want)
		}
	}
	for _, missing := range []string{"x", "containers/c2", "containers/c1/containers", "proc/x", "containers/c1/proc/x"} {
		if _, err := os.Stat(filepath.Join(m.dir, missing)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v, want that it does not exist", missing, err)
		}
	}
	st, err := os.Stat(filepath.Join(m.dir, "containers"))
	if err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("containers has mode %v (%v), want 0700", st.Mode(), err)
	}
}

func TestOthersCannotEnterContainers(t *testing.T) {
	m := mount(t)
	// Root's look-up is in the kernel's cache now; the mode must still hold.
	read(t, m.path("proc/meminfo"))
	for dir := m.dir; dir != "/"; dir = filepath.Dir(dir) {
		if strings.HasPrefix(dir, os.TempDir()+"/") {
			os.Chmod(dir, 0o755) //nolint:errcheck // the mount point itself refuses
		}
	}
	cat := func(path string) (string, error) {
		c := exec.Command("cat", path)
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := c.CombinedOutput()
		return string(out), err
	}
	if out, err := cat(filepath.Join(m.dir, "proc/uptime")); err != nil && !strings.Contains(out, "No such process") {
		t.Errorf("nobody can't read the caller-resolved files: %v %s", err, out)
	}
	if out, err := cat(m.path("proc/meminfo")); err == nil || !strings.Contains(out, "Permission denied") {
		t.Errorf("nobody reads a container's file: %v %s", err, out)
	}
}

func TestReads(t *testing.T) {
	m := mount(t)
	f, err := os.Open(m.path("proc/meminfo"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	whole := read(t, m.path("proc/meminfo"))

	var small strings.Builder
	for buf := make([]byte, 7); ; {
		n, err := f.Read(buf)
		small.Write(buf[:n])
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if small.String() != whole {
		t.Errorf("read by 7 bytes:\n%q\nwhole:\n%q", small.String(), whole)
	}
	buf := make([]byte, 64)
	for _, past := range []int64{int64(len(whole)), int64(len(whole)) + 1, 1 << 40} {
		if n, err := unix.Pread(int(f.Fd()), buf, past); n != 0 || err != nil {
			t.Errorf("pread at %d gave %d bytes, %v; want 0, nil", past, n, err)
		}
	}
	if n, err := unix.Pread(int(f.Fd()), buf, 10); string(buf[:n]) != whole[10:74] || err != nil {
		t.Errorf("pread at 10 gave %q (%v)", buf[:n], err)
	}
	if end, err := f.Seek(0, io.SeekEnd); end != int64(len(whole)) || err != nil {
		t.Errorf("SEEK_END is %d (%v), want %d", end, err, len(whole))
	}
	if st, err := f.Stat(); err != nil || st.Size() != int64(len(whole)) {
		t.Errorf("size is %d (%v), want %d", st.Size(), err, len(whole))
	}
}

func TestOneSnapshotPerOpenUntilReadAnew(t *testing.T) {
	m := mount(t)
	f, err := os.Open(m.path("proc/meminfo"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	first := make([]byte, 60)
	if _, err := io.ReadFull(f, first); err != nil {
		t.Fatal(err)
	}
	m.set(t, "memory.max", fmt.Sprintln(512<<20))
	m.set(t, "memory.current", fmt.Sprintln(500<<20))
	rest, err := io.ReadAll(f)
	if err != nil || !strings.Contains(string(first)+string(rest), "MemTotal:         262144 kB\nMemFree:          196608 kB\nMemAvailable:     196612 kB\n") {
		t.Errorf("a resize between two reads shows (%v):\n%s%s", err, first, rest)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	again, err := io.ReadAll(f)
	if err != nil || !strings.HasPrefix(string(again), "MemTotal:         524288 kB\nMemFree:           12288 kB\n") {
		t.Errorf("after a seek to 0 (%v):\n%.120s", err, again)
	}
	if got := read(t, m.path("proc/meminfo")); got != string(again) {
		t.Errorf("a new open shows %.120q", got)
	}
}

func TestNothingCanBeWritten(t *testing.T) {
	m := mount(t)
	path := m.path("proc/meminfo")
	for _, flags := range []int{os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC} {
		if f, err := os.OpenFile(path, flags, 0); err == nil {
			f.Close()
			t.Errorf("open with flags %#x succeeded", flags)
		} else if !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EPERM) {
			t.Errorf("open with flags %#x: %v", flags, err)
		}
	}
	if err := os.Truncate(path, 0); !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) {
		t.Errorf("truncate: %v", err)
	}
	if err := os.Chmod(path, 0o777); !errors.Is(err, unix.EPERM) {
		t.Errorf("chmod: %v", err)
	}
	for what, err := range map[string]error{
		"remove": os.Remove(path), "mkdir": os.Mkdir(filepath.Join(m.dir, "x"), 0o755),
		"create": os.WriteFile(filepath.Join(m.dir, "proc/x"), nil, 0o644),
		"rename": os.Rename(path, path+"2"),
	} {
		if err == nil {
			t.Errorf("%s succeeded", what)
		}
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := unix.IoctlGetInt(int(f.Fd()), unix.TCGETS); !errors.Is(err, unix.ENOTTY) {
		t.Errorf("ioctl: %v, want ENOTTY", err)
	}
}

func TestMmapIsRefused(t *testing.T) {
	m := mount(t)
	f, err := os.Open(m.path("proc/meminfo"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if b, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ, unix.MAP_SHARED); err == nil {
		unix.Munmap(b) //nolint:errcheck // the test has failed
		t.Error("a shared mapping was made: it would show one moment for ever")
	}
}

// TestPrograms reads the way programs do: sendfile (busybox cat), copy_file_range
// (cp), seeks from the end (tail), single bytes (dd).
func TestPrograms(t *testing.T) {
	m := mount(t)
	path := m.path("proc/cpuinfo")
	want := read(t, path)
	for _, c := range []string{
		"busybox cat %s", "cat %s", "cat <%s", "cp %s /dev/stdout", "tail -n 100000 %s", "tail -c +1 %s",
		"head -n 100000 %s", "dd if=%s bs=1 status=none", "busybox tail -n 100000 %s", "busybox dd if=%s bs=4k 2>/dev/null",
	} {
		out, err := exec.Command("sh", "-c", fmt.Sprintf(c, path)).Output()
		if err != nil || string(out) != want {
			t.Errorf("%s gave %d bytes (%v), want %d", c, len(out), err, len(want))
		}
	}
}

func TestManyReaders(t *testing.T) {
	m := mount(t)
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			file := view.Files[i%9].Path
			for range 20 {
				b, err := os.ReadFile(m.path(file))
				if err != nil || len(b) == 0 || b[len(b)-1] != '\n' {
					t.Errorf("%s: %q, %v", file, b, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestContainerThatEnded(t *testing.T) {
	m := mount(t)
	f, err := os.Open(m.path("proc/meminfo"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	kept, err := os.Open(m.path("proc/meminfo"))
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	buf := make([]byte, 4096)
	n, err := kept.ReadAt(buf, 0)
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	last := string(buf[:n])
	if err := os.RemoveAll(filepath.Join(m.root, "sys/fs/cgroup/ctr")); err != nil {
		t.Fatal(err)
	}
	if n, err := kept.ReadAt(buf, 0); err != io.EOF || string(buf[:n]) != last {
		t.Errorf("the last good snapshot is gone: %q, %v", buf[:n], err)
	}
	// The made-up machine's files stay readable by descriptor: end it for good.
	m.registry.Remove("c1")
	if _, err := f.ReadAt(buf, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("first read after the end: %v, want ESRCH", err)
	}
	if n, err := kept.ReadAt(buf, 0); err != io.EOF || string(buf[:n]) != last {
		t.Errorf("the last good snapshot is gone: %q, %v", buf[:n], err)
	}
	if _, err := os.Stat(m.path("proc/meminfo")); err == nil {
		t.Error("the container's files are still there")
	}
}

func TestAnIDThatIsUsedAgainIsAnotherContainer(t *testing.T) {
	m := mount(t)
	old, err := os.Open(m.path("proc/meminfo"))
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	m.registry.Remove("c1")
	if _, err := m.registry.Add(view.Container{ID: "c1", CgroupsPath: "/ctr", PID: 77}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, m.path("proc/meminfo")); !strings.HasPrefix(got, "MemTotal:         262144 kB\n") {
		t.Errorf("the new run shows %.40q", got)
	}
	if _, err := old.ReadAt(make([]byte, 100), 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("the old run's descriptor: %v, want ESRCH", err)
	}
}
