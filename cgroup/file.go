package cgroup

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// file is one file of a group, opened at the first read and kept: a read is
// then one pread(2), with no path lookup. kernfs renders anew for each read at
// offset 0, and answers ENODEV once the group is removed.
type file struct {
	fs   *FS
	path string
	refs int // guarded by fs.mu

	mu   sync.RWMutex // held for reading across a pread, so that no descriptor is closed under it
	fd   int          // -1: not open
	dead bool         // released: keeps no descriptor any more
}

// defaultMaxKept leaves half of the descriptors for everything else.
func defaultMaxKept() int64 {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 512
	}
	return int64(min(l.Cur/2, 1<<20))
}

// file returns the shared file of that path; release gives it back.
func (fs *FS) file(path string) *file {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f := fs.files[path]
	if f == nil {
		f = newFile(fs, path)
		fs.files[path] = f
		return f
	}
	f.refs++
	return f
}

// newFile returns a file that one user has.
func newFile(fs *FS, path string) *file { return &file{fs: fs, path: path, refs: 1, fd: -1} }

func (f *file) release() {
	f.fs.mu.Lock()
	f.refs--
	last := f.refs == 0
	if last && f.fs.files[f.path] == f {
		delete(f.fs.files, f.path)
	}
	f.fs.mu.Unlock()
	if !last {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead = true
	f.closeLocked()
}

func (f *file) closeLocked() {
	if f.fd >= 0 {
		unix.Close(f.fd) //nolint:errcheck // read-only, nothing to lose
		f.fd = -1
		f.fs.kept.Add(-1)
	}
}

// read appends the whole file to b. A descriptor whose group was removed is
// dropped and the path tried once more, since a pod's or slice's directory may
// have been made anew.
func (f *file) read(b []byte) ([]byte, error) {
	f.mu.RLock()
	if f.fd >= 0 {
		out, err := readAll(f.fd, b)
		f.mu.RUnlock()
		if !errors.Is(err, unix.ENODEV) {
			return out, f.wrap(err)
		}
	} else {
		f.mu.RUnlock()
	}
	return f.readAnew(b)
}

// readAnew opens the file, reads it, and keeps the descriptor while the budget lasts.
func (f *file) readAnew(b []byte) ([]byte, error) {
	fd, err := unix.Open(f.path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return b, f.wrap(err)
	}
	out, err := readAll(fd, b)

	f.mu.Lock()
	defer f.mu.Unlock()
	f.closeLocked()
	if err != nil || f.dead || f.fs.kept.Load() >= f.fs.maxKept {
		unix.Close(fd) //nolint:errcheck // read-only, nothing to lose
	} else {
		f.fd = fd
		f.fs.kept.Add(1)
	}
	return out, f.wrap(err)
}

func (f *file) wrap(err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: "read", Path: f.path, Err: err}
}

// readAll reads from offset 0 to the end. A read that leaves room is the last
// one: all files kept here are single records, which seq_file gives whole.
func readAll(fd int, b []byte) ([]byte, error) {
	start := len(b)
	for {
		if cap(b)-len(b) < 512 {
			b = append(b, make([]byte, 4096)...)[:len(b)]
		}
		room := b[len(b):cap(b)]
		n, err := unix.Pread(fd, room, int64(len(b)-start))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return b[:start], err
		}
		b = b[:len(b)+n]
		if n < len(room) {
			return b, nil
		}
	}
}

// isGone tells errors of a removed group or an ended process from others.
func isGone(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ESRCH)
}

// bufs lends scratch space for file contents, so that a read allocates nothing.
var bufs = sync.Pool{New: func() any { b := make([]byte, 0, 16<<10); return &b }}

// with reads f into scratch space and hands the bytes to use, which must not keep them.
func (f *file) with(use func(b []byte) error) error {
	p := bufs.Get().(*[]byte)
	defer bufs.Put(p)
	b, err := f.read((*p)[:0])
	*p = b[:0]
	if err != nil {
		return err
	}
	if err := use(b); err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	return nil
}
