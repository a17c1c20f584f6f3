package fusefs_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
	"github.com/lxcfs-nri/lxcfs-nri/view"
)

const pressureCPU = "proc/pressure/cpu"

// liveServers are servers of this machine, whose container c1 is a group.
func liveServers(t *testing.T, g *fixture.Group) *servers {
	t.Helper()
	b, err := json.Marshal(view.Container{ID: "c1", CgroupsPath: g.Name})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(container, string(b))
	s := newServers(t)
	s.root = "/"
	s.start(t)
	return s
}

// load has tasks of a group wait for processors until it is stopped.
func load(t *testing.T, g *fixture.Group) (stop func()) {
	t.Helper()
	cmd := g.Command("sh", "-c", "for i in 1 2 3 4; do while :; do :; done & done; wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		unix.Kill(-cmd.Process.Pid, unix.SIGKILL) //nolint:errcheck // it is ours, and is waited for
		cmd.Wait()                                //nolint:errcheck // ended by a signal
	})
	t.Cleanup(stop)
	return stop
}

// openRW opens a file until the test ends.
func openRW(t *testing.T, file string) int {
	t.Helper()
	fd, err := unix.Open(file, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) }) //nolint:errcheck // the trigger goes with it
	return fd
}

// trigger is what an unprivileged process may write, too.
const trigger = "some 1000 2000000\x00"

// watch opens a file and writes a trigger.
func watch(t *testing.T, file string) int {
	t.Helper()
	fd := openRW(t, file)
	if n, err := unix.Write(fd, []byte(trigger)); n != len(trigger) || err != nil {
		t.Fatalf("write a trigger to %s: %d, %v", file, n, err)
	}
	return fd
}

// poll returns the events of a descriptor, 0 after a time without any that were asked for.
func poll(t *testing.T, fd int, events int16, limit time.Duration) int16 {
	t.Helper()
	for {
		p := []unix.PollFd{{Fd: int32(fd), Events: events}}
		if _, err := unix.Poll(p, int(limit.Milliseconds())); err == unix.EINTR {
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		return p[0].Revents
	}
}

// everyEvent asks for all that there is.
const everyEvent = unix.POLLPRI | unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDNORM | unix.EPOLLWRNORM | unix.EPOLLRDHUP

// withoutResource runs a function on a thread without CAP_SYS_RESOURCE.
func withoutResource(t *testing.T, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and the thread ends with it
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var caps [2]unix.CapUserData
		if err := unix.Capget(&header, &caps[0]); err != nil {
			t.Error(err)
			return
		}
		caps[0].Effective &^= 1 << unix.CAP_SYS_RESOURCE
		if err := unix.Capset(&header, &caps[0]); err != nil {
			t.Error(err)
			return
		}
		do()
	}()
	<-done
}

// behaves tells what becomes of writes to a file: of all that a program can see.
func behaves(file string, flags int, writes ...string) string {
	var said strings.Builder
	fd, err := unix.Open(file, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Sprint("open: ", err)
	}
	defer unix.Close(fd) //nolint:errcheck // the trigger goes with it
	for _, w := range writes {
		n, err := unix.Write(fd, []byte(w))
		p := []unix.PollFd{{Fd: int32(fd), Events: everyEvent}}
		unix.Poll(p, 0) //nolint:errcheck // seen by its result
		fmt.Fprintf(&said, "%d %v %x; ", n, err, p[0].Revents)
	}
	if flags&unix.O_ACCMODE == unix.O_WRONLY {
		return said.String()
	}
	for range 2 { // as a program that writes, then reads, then rewinds
		b := make([]byte, 4096)
		n, err := unix.Read(fd, b)
		rest, errRest := unix.Read(fd, b[max(0, n):])
		fmt.Fprintf(&said, "reads %.10q %v, then %d %v; ", b[:max(0, n)], err, rest, errRest)
		if _, err := unix.Seek(fd, 0, 0); err != nil {
			fmt.Fprint(&said, err)
		}
	}
	return said.String()
}

// TestTriggersAsTheKernels: what programs write to a file of a container, and to one of
// the readers', has the result that it has on the kernel's own file.
func TestTriggersAsTheKernels(t *testing.T) {
	g := fixture.NewGroup(t)
	s := liveServers(t, g)
	for _, file := range []string{s.path(pressureCPU), filepath.Join(s.dir, pressureCPU)} {
		for _, writes := range [][]string{
			{},
			{trigger},
			{trigger, trigger},
			{"x", trigger, "x"},
			{"some 1000 1000000\x00"},
			{"some 1000 2000001\x00"},
			{"some 1000 4000000\x00"},
			{"full 1000 2000000\x00"},
			{"some 1000 2000000"},
			{"some 1000 2000000\n"},
			{"  some 1000\t2000000 \x00"},
			{"some 1000 2000000\x00 and more"},
			{"some 1000 2000000" + strings.Repeat(" ", 400)},
			{strings.Repeat(" ", 20) + "some 1000 2000000\x00"},
			{"some 0 2000000\x00"},
			{"some 2000001 2000000\x00"},
			{"some 1000 12000000\x00"},
			{"some 1000\x00"},
			{"\x00"},
			{"\n"},
			{"some -1 2000000\x00"},
			{"SOME 1000 2000000\x00"},
			{"some 1000 0x1e8480\x00"},
		} {
			for _, flags := range []int{unix.O_RDWR, unix.O_RDWR | unix.O_NONBLOCK, unix.O_WRONLY | unix.O_TRUNC, unix.O_RDWR | unix.O_APPEND, unix.O_RDONLY} {
				check := func(who string) {
					if got, want := behaves(file, flags, writes...), behaves("/"+pressureCPU, flags, writes...); got != want {
						t.Errorf("%s of %q to %s, flags %x:\n got %s\nwant %s", who, writes, file, flags, got, want)
					}
				}
				check("writes")
				withoutResource(t, func() { check("unprivileged writes") })
			}
		}
	}
	if n, err := unix.Write(openRW(t, s.path(pressureCPU)), nil); n != 0 || err != nil {
		t.Errorf("a write of nothing, which is not forwarded: %d, %v", n, err)
	}
}

// TestAttributesOfTriggerFiles: mode and truncation are those of the host's file, and
// nothing else is changed.
func TestAttributesOfTriggerFiles(t *testing.T) {
	s := liveServers(t, fixture.NewGroup(t))
	host, err := os.Stat("/" + pressureCPU)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{s.path(pressureCPU), filepath.Join(s.dir, pressureCPU)} {
		st, err := os.Stat(file)
		if err != nil || st.Mode() != host.Mode() {
			t.Errorf("%s: mode %v, %v, the host's is %v", file, st.Mode(), err, host.Mode())
		}
		if err := os.Truncate(file, 0); err != nil {
			t.Errorf("truncate %s: %v", file, err)
		}
		if err := os.Chmod(file, 0o600); err == nil {
			t.Errorf("the mode of %s can be changed", file)
		}
	}
	for _, file := range []string{"proc/meminfo", "sys/devices/system/cpu/online"} {
		if _, err := unix.Open(s.path(file), unix.O_RDWR, 0); err != unix.EACCES {
			t.Errorf("open %s for writing: %v", file, err)
		}
		if err := os.Truncate(s.path(file), 0); err == nil {
			t.Errorf("%s can be truncated", file)
		}
		fd := s.open(t, file)
		if got := poll(t, fd, everyEvent, 0); got != poll(t, openRO(t, "/proc/meminfo"), everyEvent, 0) {
			t.Errorf("poll of %s: %x", file, got)
		}
	}
}

func openRO(t *testing.T, file string) int {
	t.Helper()
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) }) //nolint:errcheck // only read
	return fd
}

// TestTriggerEvents: pressure of the group, and none of others, is reported as the
// kernel reports it on the group's own file, by poll, select and epoll.
func TestTriggerEvents(t *testing.T) {
	g, idle := fixture.NewGroup(t), fixture.NewGroup(t)
	s := liveServers(t, g)
	own := g.File("cpu.pressure")
	if own == "" {
		t.Fatal("the group has no cpu.pressure: this machine needs cgroup2 with PSI")
	}
	kernels, ours, byEpoll, bySelect := watch(t, own), watch(t, s.path(pressureCPU)), watch(t, s.path(pressureCPU)), watch(t, s.path(pressureCPU))
	other := watch(t, idle.File("cpu.pressure"))
	if got := poll(t, ours, unix.POLLPRI, 100*time.Millisecond); got != 0 {
		t.Errorf("%x without pressure", got)
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(epoll) //nolint:errcheck // nothing to lose
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, byEpoll, &unix.EpollEvent{Events: unix.EPOLLPRI | unix.EPOLLET, Fd: 1}); err != nil {
		t.Fatal(err)
	}
	stop := load(t, g)
	for round := range 2 {
		if got := poll(t, kernels, unix.POLLPRI, 20*time.Second); got != unix.POLLPRI {
			t.Fatalf("the kernel's own file reports %x", got)
		}
		at := time.Now()
		if got := poll(t, ours, unix.POLLPRI, 10*time.Second); got != unix.POLLPRI {
			t.Fatalf("round %d: got %x", round, got)
		}
		t.Logf("round %d: %v after the kernel's own file", round, time.Since(at))
		if got := poll(t, ours, unix.POLLPRI, 0); got != 0 {
			t.Errorf("an event is reported twice: %x", got)
		}
	}
	events := make([]unix.EpollEvent, 1)
	if n, err := unix.EpollWait(epoll, events, 10_000); n != 1 || events[0].Events != unix.EPOLLPRI {
		t.Errorf("epoll: %d, %v, %x", n, err, events[0].Events)
	}
	var set unix.FdSet
	set.Set(bySelect)
	if n, err := unix.Select(bySelect+1, nil, nil, &set, &unix.Timeval{Sec: 10}); n != 1 {
		t.Errorf("select: %d, %v", n, err)
	}
	if got := poll(t, other, unix.POLLPRI, 0); got != 0 {
		t.Errorf("another group's trigger reports %x", got)
	}
	stop()
}

// TestTriggersOfAnEndedGroup: who polls is told that the source of events is gone.
func TestTriggersOfAnEndedGroup(t *testing.T) {
	g := fixture.NewGroup(t)
	s := liveServers(t, g)
	kernels, ours := watch(t, g.File("cpu.pressure")), watch(t, s.path(pressureCPU))
	answer := make(chan int16, 1)
	go func() { answer <- poll(t, ours, unix.POLLPRI, 20*time.Second) }()
	time.Sleep(100 * time.Millisecond)
	for _, dir := range g.Dirs() {
		if err := unix.Rmdir(dir); err != nil {
			t.Fatal(err)
		}
	}
	want := poll(t, kernels, unix.POLLPRI, time.Second)
	if got := <-answer; got != want || got&unix.POLLERR == 0 {
		t.Errorf("got %x, the kernel's own file reports %x", got, want)
	}
	s.kill(t)
	s.start(t)
	if got := poll(t, ours, unix.POLLPRI, 10*time.Second); got != want {
		t.Errorf("after a take-over: %x, want %x", got, want)
	}
}

// TestNoPollsNoTriggers: on a connection whose kernel forwards no polls any more files
// are as before there were triggers.
func TestNoPollsNoTriggers(t *testing.T) {
	m := mount(t)
	st, err := os.Stat(m.path(pressureCPU))
	if err != nil || st.Mode() != 0o444 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if _, err := unix.Open(m.path(pressureCPU), unix.O_RDWR, 0); err != unix.EACCES {
		t.Errorf("open for writing: %v", err)
	}
	fd := openRO(t, m.path(pressureCPU))
	if got, want := poll(t, fd, everyEvent, 0), int16(0x145); got != want {
		t.Errorf("poll: %x, want %x", got, want)
	}
}
