package fusefs_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/fusefs"
)

// twoCPUs are what the machine has from now on.
func (m *mounted) twoCPUs(t *testing.T) {
	t.Helper()
	write(t, m.root+"/proc/cpuinfo", "processor\t: 0\nflags\t\t: a b\n\nprocessor\t: 1\nflags\t\t: a b\n\n")
	for _, list := range []string{"online", "possible", "present"} {
		write(t, m.root+"/sys/devices/system/cpu/"+list, "0-1\n")
	}
}

// TestEndOfATextThatIsNotKept: with more open files than texts are kept of, a
// program that has read all and asks for more is told of the end, not given what
// a text made by then has more.
func TestEndOfATextThatIsNotKept(t *testing.T) {
	m, log := machine(t)
	m.twoCPUs(t)
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

// TestAnsweredTwice: a request that a process has answered and the next one finds
// in memory still is given the same answer, and the text that the reader has begun
// goes on; a request that is new gets a new text.
func TestAnsweredTwice(t *testing.T) {
	m, log := machine(t)
	t.Cleanup(m.registry.Close)
	shared, err := fusefs.NewShared()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shared.Close() }) //nolint:errcheck // memory of a test
	order := binary.NativeEndian
	const piece = 500
	// process gives what answers requests in a process of its own: a read of a piece of meminfo.
	process := func() func(unique, offset uint64) []byte {
		send := protocol(fusefs.New(m.registry, log, everything), shared)
		return func(unique, offset uint64) []byte {
			const opRead, meminfo, handle, byWhom = 15, 1<<40 | 1<<8, 1<<40 | 9, 1 << 1
			in := requestOf(opRead, 0)
			order.PutUint64(in[8:], unique)
			order.PutUint64(in[16:], meminfo)
			in = order.AppendUint64(order.AppendUint64(in, handle), offset)
			in = order.AppendUint64(order.AppendUint32(order.AppendUint32(in, piece), byWhom), 0)
			return send(append(in, make([]byte, 8)...))
		}
	}
	read := process()
	first, next := read(100, 0), read(102, piece)
	if len(first) != outHeaderSize+piece || len(next) != len(first) || bytes.Equal(first[outHeaderSize:], next[outHeaderSize:]) {
		t.Fatalf("%q, %q", first, next)
	}
	read(104, 0)
	m.set(t, "memory.current", "1048576\n")
	m.set(t, "memory.stat", "anon 8192\nactive_file 4096\n")
	read = process()
	if got := read(104, 0); string(got[outHeaderSize:]) != string(first[outHeaderSize:]) {
		t.Errorf("answered again: %q, want %q", got, first)
	}
	if got := read(106, piece); string(got[outHeaderSize:]) != string(next[outHeaderSize:]) {
		t.Errorf("the text goes on with %q, want %q", got, next)
	}
	if got := read(108, 0); len(got) != len(first) || string(got[outHeaderSize:]) == string(first[outHeaderSize:]) {
		t.Errorf("a new request is given an old text: %q", got)
	}
}

// protocol has a file system answer requests without a device, once it was told
// what it is to speak.
func protocol(fs *fusefs.FileSystem, shared *fusefs.Shared) (send func(in []byte) []byte) {
	reply := fs.Protocol(shared)
	send = func(in []byte) []byte {
		binary.NativeEndian.PutUint32(in, uint32(len(in)))
		out := make([]byte, 1<<16)
		return out[:reply(in, out)]
	}
	init := requestOf(opInit, 0, make([]byte, 64)...)
	binary.NativeEndian.PutUint32(init[inHeaderSize:], 7)
	binary.NativeEndian.PutUint32(init[inHeaderSize+4:], 38)
	send(init)
	return send
}
