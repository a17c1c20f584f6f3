package e2e

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What the test binary does in a container, where it is not a test.
const (
	probeWrites = "probe-writes" // write to the file of pressure in all ways
	probeEvents = "probe-events" // wait for events, for so many milliseconds
	probeLoad   = "probe-load"   // have threads wait for processors for so long
)

// beProbe does what a test has asked for in a container, and reports whether it has.
func beProbe(args []string) bool {
	switch {
	case len(args) == 2 && args[1] == probeWrites:
		for _, uid := range []int{0, 1000} {
			asUser(uid, func() { writes(uid) })
		}
	case len(args) == 3 && (args[1] == probeEvents || args[1] == probeLoad):
		ms, err := strconv.Atoi(args[2])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		limit := time.Duration(ms) * time.Millisecond
		if args[1] == probeEvents {
			waitForEvents(limit)
			break
		}
		runtime.GOMAXPROCS(4)
		for range 3 {
			go func() {
				for { //nolint:staticcheck // that it is busy is all
				}
			}()
		}
		time.Sleep(limit)
	default:
		return false
	}
	return true
}

const cpuPressure = "/proc/pressure/cpu"

// asUser runs a function on a thread of another user.
func asUser(uid int, do func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and the thread ends with it
		if _, _, errno := unix.RawSyscall(unix.SYS_SETUID, uintptr(uid), 0, 0); errno != 0 {
			fmt.Fprintln(os.Stdout, "setuid:", errno)
			return
		}
		do()
	}()
	<-done
}

// writes prints what becomes of writes: of all that a program can see.
func writes(uid int) {
	const trigger = "some 50000 2000000\x00"
	for _, flags := range []int{unix.O_RDWR, unix.O_RDWR | unix.O_TRUNC | unix.O_NONBLOCK, unix.O_WRONLY, unix.O_RDONLY} {
		for _, texts := range [][]string{
			{},
			{trigger},
			{trigger, trigger},
			{"x", trigger, "x"},
			{"some 50000 1000000\x00"},
			{"some 50000 3000000\x00"},
			{"full 50000 10000000\x00"},
			{"some 50000 12000000\x00"},
			{"some 2000001 2000000\x00"},
			{"some 50000 2000000\n"},
			{"some 50000 2000000"},
			{"some 50000 2000000" + strings.Repeat(" ", 40)},
			{"\n"},
			{strings.Repeat("\x00", 100)},
		} {
			fmt.Fprintf(os.Stdout, "user %d, flags %x, %.60q: %s\n", uid, flags, texts, write(flags, texts))
		}
	}
}

func write(flags int, texts []string) string {
	fd, err := unix.Open(cpuPressure, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Sprint("open: ", err)
	}
	defer unix.Close(fd) //nolint:errcheck // the trigger goes with it
	said := ""
	for _, text := range texts {
		n, err := unix.Write(fd, []byte(text))
		p := []unix.PollFd{{Fd: int32(fd), Events: -1}}
		unix.Poll(p, 0) //nolint:errcheck // seen by its result
		said += fmt.Sprintf("%d %v %x; ", n, err, p[0].Revents)
	}
	b := make([]byte, 10)
	n, err := unix.Read(fd, b)
	return said + fmt.Sprintf("reads %q %v", b[:max(0, n)], err)
}

// waitForEvents writes a trigger that everybody may, and prints when it reports what.
func waitForEvents(limit time.Duration) {
	fd, err := unix.Open(cpuPressure, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.Write(fd, []byte("some 50000 2000000\x00"))
	}
	if err != nil {
		fmt.Fprintln(os.Stdout, err)
		return
	}
	begin := time.Now()
	for left := limit; left > 0; left = limit - time.Since(begin) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLPRI}}
		n, err := unix.Poll(p, int(left.Milliseconds()))
		if err != nil && err != unix.EINTR {
			fmt.Fprintln(os.Stdout, err)
			return
		}
		if n > 0 {
			fmt.Fprintf(os.Stdout, "%d:%x ", time.Since(begin).Milliseconds(), p[0].Revents)
		}
	}
	fmt.Fprintln(os.Stdout)
}
