package main

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// whole reads a file from its start by one large read after the other.
func (r *report) whole(h *os.File) (string, bool) {
	b, err := readAt(h, 1<<20)
	if err != nil {
		r.fail("read: %v", err)
		return "", false
	}
	return string(b), true
}

// readAt reads all of a file by reads of that size.
func readAt(h *os.File, size int) ([]byte, error) {
	var all []byte
	buf := make([]byte, size)
	for {
		n, err := h.ReadAt(buf, int64(len(all)))
		all = append(all, buf[:n]...)
		if errors.Is(err, io.EOF) || n == 0 && err == nil {
			return all, nil
		}
		if err != nil {
			return all, err
		}
	}
}

// ways reads a file in the ways of the programs that are around, each of which
// has to give a whole text.
func (r *report) ways(f file, h *os.File, text string) {
	path := filepath.Join(r.root, f.path)
	for name, read := range map[string]func(string) ([]byte, error){
		"byte by byte":             func(p string) ([]byte, error) { return sequentially(p, 1) },
		"in reads of 61 bytes":     func(p string) ([]byte, error) { return sequentially(p, 61) },
		"in reads of 4096 bytes":   func(p string) ([]byte, error) { return sequentially(p, 4096) },
		"by sendfile, else read":   sendfile,
		"by readv into small bits": readv,
	} {
		b, err := read(path)
		if err != nil {
			r.fail("read %s: %v", name, err)
			continue
		}
		before := len(r.findings)
		r.text(f, string(b))
		if len(r.findings) > before {
			r.fail("the above is of what was read %s", name)
		}
		lines, want := bytes.Count(b, []byte("\n")), bytes.Count([]byte(text), []byte("\n"))
		r.expect(lines == want, "read %s: %d lines of %d", name, lines, want)
	}
	n, err := h.ReadAt(make([]byte, 16), int64(len(text))+1<<16)
	r.expect(n == 0 && errors.Is(err, io.EOF), "a read far behind the end gives %d bytes, %v", n, err)

	st, err := os.Stat(path)
	if err != nil {
		r.fail("stat: %v", err)
		return
	}
	r.expect(st.Mode().IsRegular(), "is a %v", st.Mode().Type())
	r.expect(st.Mode().Perm() == f.mode || f.mode == 0o666, "its mode is %v, procfs has %v", st.Mode().Perm(), f.mode)
	if f.mode != 0o666 {
		if w, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil {
			_, err = w.Write([]byte("x"))
			r.expect(err != nil, "can be written")
			w.Close()
		}
	}
	r.size(path)
}

// size checks that a size, where one is told, is that of the text: programs
// that trust it (tail, sendfile) would cut it. Texts change: it is tried again.
func (r *report) size(path string) {
	var told, got int
	for range 5 {
		st, err := os.Stat(path)
		if err != nil || st.Size() == 0 || st.Size() == 4096 {
			return // procfs tells 0, sysfs a page
		}
		b, err := os.ReadFile(path)
		if err != nil {
			r.fail("read after stat: %v", err)
			return
		}
		if told, got = int(st.Size()), len(b); told == got {
			return
		}
	}
	r.fail("its size is told as %d, its text has %d bytes", told, got)
}

func sequentially(path string, size int) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd) //nolint:errcheck // only read
	return drain(fd, size)
}

func drain(fd, size int) ([]byte, error) {
	var all []byte
	buf := make([]byte, size)
	for {
		n, err := unix.Read(fd, buf)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return all, err
		case n == 0:
			return all, nil
		}
		all = append(all, buf[:max(0, n)]...)
	}
}

// sendfile copies like busybox cat: where the kernel refuses, it falls back.
func sendfile(path string) ([]byte, error) {
	in, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(in) //nolint:errcheck // only read
	out, err := os.CreateTemp("", "conform")
	if err != nil {
		return nil, err
	}
	defer os.Remove(out.Name()) //nolint:errcheck // of no use any more
	defer out.Close()
	for {
		n, err := unix.Sendfile(int(out.Fd()), in, nil, 1<<24)
		if err != nil {
			var rest []byte
			if rest, err = drain(in, 4096); err == nil {
				_, err = out.Write(rest)
			}
			if err != nil {
				return nil, err
			}
			break
		}
		if n == 0 {
			break
		}
	}
	return os.ReadFile(out.Name())
}

func readv(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd) //nolint:errcheck // only read
	var all []byte
	for {
		bits := [][]byte{make([]byte, 7), make([]byte, 100), make([]byte, 1000)}
		n, err := unix.Readv(fd, bits)
		if err != nil || n == 0 {
			return all, err
		}
		all = append(all, bytes.Join(bits, nil)[:n]...)
	}
}

// dirNames lists a directory, nil where there is none.
func (r *report) dirNames(path string) []string {
	entries, err := os.ReadDir(filepath.Join(r.root, path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.fail("list %s: %v", path, err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
