package fusefs_test

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestEndOfATextThatIsNotKept: with more open files than texts are kept of, a
// program that has read all and asks for more is told of the end, not given what
// a text made by then has more.
func TestEndOfATextThatIsNotKept(t *testing.T) {
	m, log := machine(t)
	write(t, m.root+"/proc/cpuinfo", "processor\t: 0\nflags\t\t: a b\n\nprocessor\t: 1\nflags\t\t: a b\n\n")
	for _, list := range []string{"online", "possible", "present"} {
		write(t, m.root+"/sys/devices/system/cpu/"+list, "0-1\n")
	}
	serve(t, m, log)
	b := make([]byte, 4096)
	var fds []int
	first := 0
	for range 400 {
		fd, err := unix.Open(m.path("proc/cpuinfo"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd) //nolint:errcheck // only read
		fds = append(fds, fd)
		if first, err = unix.Pread(fd, b, 0); err != nil || strings.Count(string(b[:first]), "processor") != 1 {
			t.Fatalf("%q, %v", b[:max(0, first)], err)
		}
	}
	m.set(t, "cpu.max", "max 100000\n")
	for i, fd := range fds {
		if n, err := unix.Pread(fd, b, int64(first)); err != nil || n != 0 {
			t.Fatalf("after the end of file %d: %q, %v", i, b[:max(0, n)], err)
		}
	}
	if n, err := unix.Pread(fds[0], b, 0); err != nil || n <= first {
		t.Errorf("read from the start: %q, %v", b[:max(0, n)], err)
	}
}
