package fusefs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/fusefs"
	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
)

// forWriting finds O_RDWR in the octal flags that /proc/<pid>/fdinfo lists.
var forWriting = regexp.MustCompile(`(?m)^flags:\s+[0-7]*2$`)

// triggersOf counts the pressure files that the server has open.
func (s *servers) triggersOf(t *testing.T) (n int) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", s.now.Process.Pid)
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range all {
		if to, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil && strings.HasSuffix(to, ".pressure") {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%s", s.now.Process.Pid, fd.Name()))
			if err == nil && forWriting.Match(b) {
				n++
			}
		}
	}
	return n
}

// TestTriggersTakenOver has servers killed: who polls meanwhile, and an event that was
// not reported, are not lost; triggers are written again, and go with their files.
func TestTriggersTakenOver(t *testing.T) {
	g := fixture.NewGroup(t)
	s := liveServers(t, g)
	answer := make(chan int16, 2)
	waits, later, closed := watch(t, s.path(pressureCPU)), watch(t, s.path(pressureCPU)), watch(t, s.path(pressureCPU))
	own := watch(t, g.File("cpu.pressure"))
	read := make([]byte, 10)
	if n, err := unix.Read(closed, read); n != 10 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	poll(t, later, unix.POLLPRI, 0) // the kernel has told its number
	go func() { answer <- poll(t, waits, unix.POLLPRI, 40*time.Second) }()
	time.Sleep(200 * time.Millisecond)
	s.idle(t)
	for range 2 {
		s.kill(t)
		s.start(t)
	}
	stop := load(t, g)
	if got := <-answer; got != unix.POLLPRI {
		t.Errorf("a poll that was under way reports %x", got)
	}
	for poll(t, own, unix.POLLPRI, 10*time.Second) == 0 {
		t.Fatal("no pressure on the group")
	}
	stop()
	// The event is known to the server, and nobody has asked.
	time.Sleep(500 * time.Millisecond)
	s.idle(t)
	s.kill(t)
	s.start(t)
	if got := poll(t, later, unix.POLLPRI, 0); got != unix.POLLPRI {
		t.Errorf("an event that was not reported: %x", got)
	}
	if got := poll(t, later, unix.POLLPRI, 0); got != 0 {
		t.Errorf("it is reported twice: %x", got)
	}
	if _, err := unix.Write(later, []byte(trigger)); err != unix.EBUSY {
		t.Errorf("a second trigger: %v", err)
	}
	if n, err := unix.Read(closed, read); n != 10 || err != nil || strings.HasPrefix(string(read), "some") {
		t.Errorf("the text goes on with %q, %v", read, err)
	}
	s.has(t, 3)
	unix.Close(closed) //nolint:errcheck // the trigger goes with it
	s.has(t, 2)
	s.idle(t)
	s.kill(t)
	s.start(t)
	s.has(t, 2)
}

// has waits until the server has so many triggers.
func (s *servers) has(t *testing.T, want int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); s.triggersOf(t) != want; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the server has %d triggers, want %d", s.triggersOf(t), want)
		}
	}
}

// TestWriteInAKill has a server killed when it has taken a trigger from the kernel: the
// next one writes it. One that was written, but not answered, is not written twice.
func TestWriteInAKill(t *testing.T) {
	s := liveServers(t, fixture.NewGroup(t))
	fd := openRW(t, s.path(pressureCPU))
	s.idle(t)
	s.kill(t)
	result := make(chan error, 1)
	go func() {
		_, err := unix.Write(fd, []byte(trigger))
		result <- err
	}()
	shared, err := fusefs.OpenShared(s.kept(t, keptMemory))
	if err != nil {
		t.Fatal(err)
	}
	device := s.kept(t, keptDevice)
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(device), Events: unix.POLLIN}}, 10_000); n != 1 {
		t.Fatalf("no request comes: %v", err)
	}
	slot := shared.Slot(5)
	n, err := unix.Read(device, slot)
	if err != nil {
		t.Fatal(err)
	}
	request := append([]byte(nil), slot[:n]...)
	s.start(t)
	if err := <-result; err != nil {
		t.Errorf("the write: %v", err)
	}
	s.has(t, 1)
	s.idle(t)
	s.kill(t)
	copy(slot, request)
	s.start(t)
	s.idle(t)
	s.has(t, 1)
	if got := poll(t, fd, everyEvent, 0); got&unix.POLLERR != 0 {
		t.Errorf("the trigger is gone: %x", got)
	}
	unix.Close(device) //nolint:errcheck // a copy
	if err := shared.Close(); err != nil {
		t.Error(err)
	}
}

// TestTriggersAreBounded: a container that writes as many as it can is refused more, and
// others are not.
func TestTriggersAreBounded(t *testing.T) {
	g := fixture.NewGroup(t)
	s := liveServers(t, g)
	var fds []int
	for range 64 {
		fds = append(fds, watch(t, s.path(pressureCPU)))
	}
	full := openRW(t, s.path("proc/pressure/memory"))
	for range 3 {
		if _, err := unix.Write(full, []byte(trigger)); err != unix.ENOMEM {
			t.Fatalf("one trigger more: %v", err)
		}
	}
	if got := poll(t, full, everyEvent, 0); got&unix.POLLERR == 0 {
		t.Errorf("poll without a trigger: %x", got)
	}
	watch(t, filepath.Join(s.dir, pressureCPU)) // of a reader
	s.idle(t)
	s.kill(t)
	s.start(t)
	s.has(t, 64)
	if _, err := unix.Write(full, []byte(trigger)); err != unix.ENOMEM {
		t.Errorf("one trigger more, of the next server: %v", err)
	}
	for _, fd := range fds {
		unix.Close(fd) //nolint:errcheck // the trigger goes with it
	}
	s.has(t, 0)
	if _, err := unix.Write(full, []byte(trigger)); err != nil {
		t.Errorf("after all were closed: %v", err)
	}
}
