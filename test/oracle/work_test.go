package oracle

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/test/box"
)

// workArgument makes the test binary a worker. It says that it is up, is told
// to begin, does something and says so, and undoes it when its standard input ends.
const workArgument = "lxcfs-nri-work"

type worker struct {
	t     testing.TB
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	ended bool
}

// newWorker starts one in a container. It does nothing yet.
func newWorker(t testing.TB, b *box.Box, args ...string) *worker {
	t.Helper()
	return start(t, b.Command, args...)
}

func start(t testing.TB, command func(string, ...string) *exec.Cmd, args ...string) *worker {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w := &worker{t: t, cmd: command(exe, append([]string{workArgument}, args...)...)}
	if w.in, err = w.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	w.out = bufio.NewReader(out)
	w.cmd.Stderr = os.Stderr
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.end)
	w.hear("up")
	return w
}

func (w *worker) hear(want string) {
	w.t.Helper()
	if line, err := w.out.ReadString('\n'); err != nil || line != want+"\n" {
		w.t.Fatalf("worker %v: %q, %v, want %s", w.cmd.Args[4:], line, err, want)
	}
}

// do has the work done.
func (w *worker) do() {
	w.t.Helper()
	if _, err := io.WriteString(w.in, "do\n"); err != nil {
		w.t.Fatal(err)
	}
	w.hear("done")
}

// end has the work undone.
func (w *worker) end() {
	if w.ended {
		return
	}
	w.ended = true
	w.in.Close()
	if err := w.cmd.Wait(); err != nil {
		w.t.Errorf("worker %v: %v", w.cmd.Args[4:], err)
	}
}

func work(args []string) {
	in := bufio.NewReader(os.Stdin)
	fmt.Fprintln(os.Stdout, "up")
	if _, err := in.ReadString('\n'); err != nil {
		os.Exit(0) // nothing is wanted
	}
	undo, err := begin(args[0], args[1:])
	if err == nil {
		fmt.Fprintln(os.Stdout, "done")
		io.Copy(io.Discard, in) //nolint:errcheck // its end is all that counts
		if undo != nil {
			err = undo()
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func begin(what string, args []string) (undo func() error, err error) {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return nil, err
	}
	switch what {
	case "anon":
		return nil, touch(n*mib, unix.MAP_ANONYMOUS|unix.MAP_PRIVATE, -1)
	case "mlock":
		return nil, touch(n*mib, unix.MAP_ANONYMOUS|unix.MAP_PRIVATE|unix.MAP_LOCKED, -1)
	case "hugetlb":
		return nil, touch(n*mib, unix.MAP_ANONYMOUS|unix.MAP_PRIVATE|unix.MAP_HUGETLB, -1)
	case "shmem":
		fd, err := unix.MemfdCreate("oracle", 0)
		if err == nil {
			err = unix.Ftruncate(fd, int64(n*mib))
		}
		if err != nil {
			return nil, err
		}
		return nil, touch(n*mib, unix.MAP_SHARED, fd)
	case "cache":
		file := args[1]
		f, err := os.Create(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		piece := make([]byte, 64<<10)
		for range n * mib / len(piece) {
			if _, err := f.Write(piece); err != nil {
				return nil, err
			}
		}
		if err := f.Sync(); err != nil {
			return nil, err
		}
		return func() error { return os.Remove(file) }, nil
	case "files":
		dir := args[1]
		for i := range n {
			f, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
			if err != nil {
				return nil, err
			}
			f.Close()
		}
		return func() error { return os.RemoveAll(dir) }, nil
	case "burn":
		runtime.GOMAXPROCS(n + 1)
		for range n {
			go func() {
				for n := 0; ; n++ {
				}
			}()
		}
		return nil, nil
	case "write", "read":
		return nil, direct(what, args[1], n)
	}
	return nil, fmt.Errorf("no such work: %s", what)
}

// touch maps memory and writes to each page of it, nothing that would compress well.
func touch(size, flags, fd int) error {
	b, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil {
		return err
	}
	x := uint32(1)
	for i := 0; i+4 <= len(b); i += 64 {
		x = x*1664525 + 1013904223
		b[i], b[i+1], b[i+2], b[i+3] = byte(x>>24), byte(x>>16), byte(x>>8), 1
	}
	return nil
}

// direct reads or writes n MiB past the page cache, in pieces of 64 KiB.
func direct(what, file string, n int) error {
	flags := unix.O_DIRECT | unix.O_RDONLY
	if what == "write" {
		flags = unix.O_DIRECT | unix.O_WRONLY | unix.O_CREAT
	}
	fd, err := unix.Open(file, flags, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // all is on the disk
	const piece = 64 << 10
	// Mapped memory is aligned as O_DIRECT wants it.
	b, err := unix.Mmap(-1, 0, piece, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANONYMOUS|unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	for at := int64(0); at < int64(n)*mib; at += piece {
		if what == "write" {
			_, err = unix.Pwrite(fd, b, at)
		} else {
			_, err = unix.Pread(fd, b, at)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
