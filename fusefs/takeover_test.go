package fusefs_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
	"github.com/lxcfs-nri/lxcfs-nri/fusefs"
	"github.com/lxcfs-nri/lxcfs-nri/internal/fdstore"
	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// Names of what a server hands over.
const keptDevice, keptMemory = "device", "memory"

// serverOf makes the test binary a server that can be killed: of the machine in
// that folder. container is the one that it serves, as JSON.
const (
	serverOf  = "LXCFS_NRI_TEST_SERVER_OF"
	container = "LXCFS_NRI_TEST_CONTAINER"
)

func TestMain(m *testing.M) {
	if root := os.Getenv(serverOf); root != "" {
		fmt.Fprintln(os.Stderr, beServer(root, os.Args[1]))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func beServer(root, mountpoint string) error {
	groups, err := cgroup.Open(root)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	registry := view.NewRegistry(view.NewHost(root), groups, log, view.Options{})
	c1 := view.Container{ID: "c1", CgroupsPath: "/ctr", PID: 77}
	if said := os.Getenv(container); said != "" {
		if err := json.Unmarshal([]byte(said), &c1); err != nil {
			return err
		}
	}
	if _, err := registry.Add(c1); err != nil {
		return err
	}
	fds, err := fdstore.Received()
	if err != nil {
		return err
	}
	files := fusefs.New(registry, log, everything)
	var conn *fusefs.Conn
	if device, ok := fds[keptDevice]; ok {
		shared, err := fusefs.OpenShared(fds[keptMemory])
		if err != nil {
			return err
		}
		conn, err = files.TakeOver(mountpoint, device, shared)
		if err != nil {
			return err
		}
	} else {
		shared, err := fusefs.NewShared()
		if err != nil {
			return err
		}
		if conn, err = files.Mount(mountpoint, shared); err != nil {
			return err
		}
		if err := fdstore.Store(keptMemory, shared.FD()); err != nil {
			return err
		}
		if err := fdstore.Store(keptDevice, conn.Device()); err != nil {
			return err
		}
	}
	if err := fdstore.Notify("READY=1"); err != nil {
		return err
	}
	return conn.Serve()
}

// servers are processes that serve the same machine, one after the other.
type servers struct {
	*mounted
	keeper *fdstore.Keeper
	ready  chan string
	now    *exec.Cmd
}

func newServers(t *testing.T) *servers {
	t.Helper()
	m, _ := machine(t)
	s := &servers{mounted: m, ready: make(chan string, 10)}
	dir, err := os.MkdirTemp("", "lxn") // a socket's path is to be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) }) //nolint:errcheck // a temporary folder
	if s.keeper, err = fdstore.NewKeeper(filepath.Join(dir, "notify"), func(state string) { s.ready <- state }); err != nil {
		t.Fatal(err)
	}
	go s.keeper.Serve() //nolint:errcheck // what it can't do fails the test
	t.Cleanup(func() {
		s.kill(t)
		if err := unix.Unmount(m.dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
		if err := s.keeper.Close(); err != nil {
			t.Error(err)
		}
		m.registry.Close()
	})
	return s
}

func (s *servers) start(t *testing.T) {
	t.Helper()
	files, env, err := s.keeper.Next()
	if err != nil {
		t.Fatal(err)
	}
	defer fdstore.Close(files)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s.now = exec.Command(exe, s.dir)
	s.now.Env = append(append(os.Environ(), serverOf+"="+s.root), env...)
	s.now.ExtraFiles, s.now.Stderr = files, os.Stderr
	if err := s.now.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.ready:
	case <-time.After(30 * time.Second):
		t.Fatal("the server does not come up")
	}
}

func (s *servers) kill(t *testing.T) {
	t.Helper()
	if err := s.now.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	s.now.Wait() //nolint:errcheck // killed
}

// kept opens what is kept under a name.
func (s *servers) kept(t *testing.T, name string) int {
	t.Helper()
	files, env, err := s.keeper.Next()
	if err != nil {
		t.Fatal(err)
	}
	defer fdstore.Close(files)
	for _, e := range env {
		if list, ok := strings.CutPrefix(e, "LISTEN_FDNAMES="); ok {
			for i, n := range strings.Split(list, ":") {
				if n == name {
					fd, err := unix.FcntlInt(files[i].Fd(), unix.F_DUPFD_CLOEXEC, 3)
					if err != nil {
						t.Fatal(err)
					}
					return fd
				}
			}
		}
	}
	t.Fatalf("no %s is kept", name)
	return -1
}

// TestTakeOver has a server killed in the middle of a text, and in the middle
// of a request: the next one goes on with both.
func TestTakeOver(t *testing.T) {
	s := newServers(t)
	s.start(t)
	whole := read(t, s.path("proc/meminfo"))
	fd, err := unix.Open(s.path("proc/meminfo"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd) //nolint:errcheck // only read
	b := make([]byte, 4096)
	if n, err := unix.Pread(fd, b[:20], 0); err != nil || string(b[:n]) != whole[:20] {
		t.Fatalf("%q, %v", b[:n], err)
	}
	s.kill(t)
	s.set(t, "memory.current", "1048576\n") // a text made now is another one

	answer := make(chan string, 1)
	go func() {
		n, err := unix.Pread(fd, b, 20)
		if err != nil {
			t.Error(err)
		}
		answer <- string(b[:max(0, n)])
	}()
	// What a server does before it is killed: the request is in its slot, and
	// the kernel will not tell it again.
	shared, err := fusefs.OpenShared(s.kept(t, keptMemory))
	if err != nil {
		t.Fatal(err)
	}
	device := s.kept(t, keptDevice)
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(device), Events: unix.POLLIN}}, 10_000); n != 1 {
		t.Fatalf("no request comes: %v", err)
	}
	n, err := unix.Read(device, shared.Slot(3))
	if err != nil || n < 40 {
		t.Fatalf("%d, %v", n, err)
	}
	unix.Close(device) //nolint:errcheck // a copy
	if err := shared.Close(); err != nil {
		t.Error(err)
	}
	s.start(t)
	select {
	case got := <-answer:
		if got != whole[20:] {
			t.Errorf("the text goes on with %q, want %q", got, whole[20:])
		}
	case <-time.After(20 * time.Second):
		t.Fatal("a request that was taken and not answered is lost")
	}
	if n, err := unix.Pread(fd, b, int64(len(whole))); err != nil || n != 0 {
		t.Errorf("at the end of the text: %q, %v", b[:max(0, n)], err)
	}
	if n, err := unix.Pread(fd, b, 0); err != nil || !strings.Contains(string(b[:n]), "MemFree:          261120 kB") {
		t.Errorf("read from the start: %q, %v", b[:max(0, n)], err)
	}
	for range 3 { // an open file of two servers ago
		s.kill(t)
		s.start(t)
	}
	if n, err := unix.Pread(fd, b, 20); err != nil || !strings.HasPrefix(string(b[:n]), "2144 kB\nMemFree:          261120 kB") {
		t.Errorf("two servers later: %q, %v", b[:max(0, n)], err)
	}
}

// Parts of shared memory: head, workers' slots, those of the queue, snapshots.
const (
	slotsEnd       = 4096 + 64*8192
	queueEnd       = slotsEnd + 4096*128
	sizeOfVersion1 = queueEnd + 1024*4096
)

// idle waits until no request is in shared memory: one that was answered is there
// still for a moment, and a server that is killed in it leaves it to the next one.
func (s *servers) idle(t *testing.T) {
	t.Helper()
	fd := s.kept(t, keptMemory)
	defer unix.Close(fd) //nolint:errcheck // a copy
	mem := make([]byte, queueEnd)
	pending := func() (n int) {
		if _, err := unix.Pread(fd, mem, 0); err != nil {
			t.Fatal(err)
		}
		for at, size := 4096, 8192; at < queueEnd; at += size {
			if at == slotsEnd {
				size = 128
			}
			if binary.NativeEndian.Uint32(mem[at:]) != 0 {
				n++
			}
		}
		return n
	}
	for deadline := time.Now().Add(20 * time.Second); pending() > 0; {
		if time.Now().After(deadline) {
			t.Fatalf("%d requests stay", pending())
		}
	}
}

// asVersion1 makes memory that is kept what a program would have left that knew no
// sizes of texts.
func (s *servers) asVersion1(t *testing.T) {
	t.Helper()
	fd := s.kept(t, keptMemory)
	defer unix.Close(fd) //nolint:errcheck // a copy
	if err := unix.Ftruncate(fd, sizeOfVersion1); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Pwrite(fd, binary.NativeEndian.AppendUint32(nil, 1), 8); err != nil {
		t.Fatal(err)
	}
}

// TestTakeOverOfVersion1 has a server go on in the memory of a program that knew
// less: a text that is read in pieces stays one, and what a later server needs to
// know is there for it.
func TestTakeOverOfVersion1(t *testing.T) {
	s := newServers(t)
	s.start(t)
	whole := read(t, s.path("proc/meminfo"))
	fd, b := s.open(t, "proc/meminfo"), make([]byte, 4096)
	if n, err := unix.Pread(fd, b[:20], 0); err != nil || string(b[:n]) != whole[:20] {
		t.Fatalf("%q, %v", b[:max(0, n)], err)
	}
	s.idle(t)
	s.kill(t)
	s.asVersion1(t)
	s.set(t, "memory.current", "1048576\n")
	s.start(t)
	if n, err := unix.Pread(fd, b, 20); err != nil || string(b[:n]) != whole[20:] {
		t.Errorf("the text goes on with %q, %v", b[:max(0, n)], err)
	}
	// That program has not answered polls: the kernel may forward none any more.
	if _, err := unix.Open(s.path(pressureCPU), unix.O_RDWR|unix.O_CLOEXEC, 0); !errors.Is(err, unix.EACCES) {
		t.Errorf("open a file for PSI triggers: %v", err)
	}
	s.manyEnds(t)
}

// TestCPUFilesAfterTakeOver: who reads open files of the CPU directory gets them from
// the next server, however many come to it at once, before it knows their names.
func TestCPUFilesAfterTakeOver(t *testing.T) {
	s := newServers(t)
	cpuHost(t, s.mounted)
	s.set(t, "cpu.max", "max 100000\n")
	s.start(t)
	fds := map[string]int{}
	for _, cpu := range []string{"cpu0/", "cpu1/", "cpu2/", "cpu3/"} {
		for _, file := range []string{"which", "hotplug/state", "topology/core_id", "topology/die_id", "topology/core_cpus", "cache/index0/size"} {
			fds[cpu+file] = s.open(t, filepath.Join(view.CPUDir, cpu+file))
		}
	}
	s.idle(t)
	s.kill(t)
	var readers sync.WaitGroup
	for file, fd := range fds {
		readers.Go(func() {
			b := make([]byte, 100)
			if n, err := unix.Pread(fd, b, 0); err != nil || n < 2 {
				t.Errorf("%s: %q, %v", file, b[:max(0, n)], err)
			}
		})
	}
	s.start(t)
	readers.Wait()
}

// TestTextsReadLastAreKept: files that stay open do not take from the others what
// has a text go on in the next server.
func TestTextsReadLastAreKept(t *testing.T) {
	s := newServers(t)
	s.start(t)
	whole := read(t, s.path("proc/meminfo"))
	b := make([]byte, 4096)
	begin := func(fd, size int) {
		t.Helper()
		if n, err := unix.Pread(fd, b[:size], 0); err != nil || string(b[:n]) != whole[:min(size, len(whole))] {
			t.Fatalf("%q, %v", b[:max(0, n)], err)
		}
	}
	old := s.open(t, "proc/meminfo")
	begin(old, 20)
	for range 100 {
		begin(s.open(t, "proc/meminfo"), 10)
	}
	begin(old, 20)
	last := s.open(t, "proc/meminfo")
	begin(last, 20)
	for range 100 { // who has a text whole needs no more of it
		begin(s.open(t, "proc/meminfo"), len(b))
	}
	s.idle(t)
	s.kill(t)
	s.set(t, "memory.current", "1048576\n") // a text made now is another one
	s.start(t)
	for name, fd := range map[string]int{"opened last": last, "begun again": old} {
		if n, err := unix.Pread(fd, b, 20); err != nil || string(b[:n]) != whole[20:] {
			t.Errorf("the text of the file %s goes on with %q, %v", name, b[:max(0, n)], err)
		}
	}
}

// TestEndOfATextThatIsNotKeptAnyMore: who has read all of one of very many open
// files is told that it ends there also by a server that comes later.
func TestEndOfATextThatIsNotKeptAnyMore(t *testing.T) {
	s := newServers(t)
	s.start(t)
	s.manyEnds(t)
}

// manyEnds has a server killed under more open files than it keeps texts of, which
// have been read to their ends; the texts that would be made after it are longer.
func (s *servers) manyEnds(t *testing.T) {
	t.Helper()
	s.twoCPUs(t)
	s.set(t, "cpu.max", "100000 100000\n")
	b := make([]byte, 4096)
	var fds [400]int
	first := 0
	for i := range fds {
		fds[i] = s.open(t, "proc/cpuinfo")
		var err error
		if first, err = unix.Pread(fds[i], b, 0); err != nil || strings.Count(string(b[:first]), "processor") != 1 {
			t.Fatalf("%q, %v", b[:max(0, first)], err)
		}
	}
	s.kill(t)
	s.set(t, "cpu.max", "max 100000\n")
	s.start(t)
	for i, fd := range fds {
		if n, err := unix.Pread(fd, b, int64(first)); err != nil || n != 0 {
			t.Fatalf("after the end of file %d: %q, %v", i, b[:max(0, n)], err)
		}
	}
	if n, err := unix.Pread(fds[0], b, 0); err != nil || n <= first {
		t.Errorf("read from the start: %q, %v", b[:max(0, n)], err)
	}
}

// open opens a file of the container until the test ends.
func (s *servers) open(t *testing.T, file string) int {
	t.Helper()
	fd, err := unix.Open(s.path(file), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) }) //nolint:errcheck // only read
	return fd
}

// TestWhatCannotBeTakenOver is refused, and says why.
func TestWhatCannotBeTakenOver(t *testing.T) {
	open := func(change func(head []byte)) error {
		s, err := fusefs.NewShared()
		if err != nil {
			t.Fatal(err)
		}
		head := make([]byte, 64)
		if _, err := unix.Pread(s.FD(), head, 0); err != nil {
			t.Fatal(err)
		}
		change(head)
		if _, err := unix.Pwrite(s.FD(), head, 0); err != nil {
			t.Fatal(err)
		}
		fd, err := unix.FcntlInt(uintptr(s.FD()), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		next, err := fusefs.OpenShared(fd)
		if err == nil {
			err = next.Close()
		} else {
			unix.Close(fd) //nolint:errcheck // refused
		}
		return err
	}
	if err := open(func([]byte) {}); err != nil {
		t.Errorf("unchanged: %v", err)
	}
	if err := open(func(h []byte) { h[8] = 1 }); err != nil {
		t.Errorf("version 1 that has been made longer: %v", err)
	}
	for says, change := range map[string]func(head []byte){
		"is version 0, this program knows": func(h []byte) { h[8] = 0 },
		"is version 7, this program knows": func(h []byte) { h[8] = 7 },
		"not such memory":                  func(h []byte) { h[0] = 'x' },
		"not what its version says":        func(h []byte) { h[12]++ },
	} {
		if err := open(change); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want %q", err, says)
		}
	}
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(null) //nolint:errcheck // nothing
	if _, err := fusefs.OpenShared(null); err == nil {
		t.Error("/dev/null is taken for memory")
	}
	m, log := machine(t)
	defer m.registry.Close()
	if _, err := fusefs.New(m.registry, log, everything).TakeOver(m.dir, null, nil); err == nil || !strings.Contains(err.Error(), "not mounted there") {
		t.Errorf("nothing is mounted: %v", err)
	}
}
