package attach

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/internal/mounttable"
)

// ErrGone says that the process has ended.
var ErrGone = errors.New("process is gone")

var errStuck = errors.New("a file system in its mount namespace has not answered")

// process is one whose mount namespace is looked at and changed. Its
// descriptors stand for the same process whatever becomes of its number.
type process struct {
	pid    int
	root   int // O_PATH, its root directory
	ns     int // its mount namespace
	mounts []*mountinfo.Info
	stuck  bool // something of it is being waited for still
}

// open reads a process's mounts. It refuses one that has the caller's own
// mount namespace: what is changed there is changed for the whole host.
func open(pid int) (*process, error) {
	return opened(&process{pid: pid, root: -1, ns: -1}, strconv.Itoa(pid))
}

// opened reads the process's mounts, by its name in /proc.
func opened(p *process, name string) (*process, error) {
	pid := p.pid
	if err := p.open(name); err != nil {
		p.close()
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			return nil, fmt.Errorf("process %d: %w", pid, ErrGone)
		}
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	return p, nil
}

func (p *process) open(name string) error {
	dir, err := unix.Open("/proc/"+name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dir) //nolint:errcheck // an O_PATH descriptor has nothing to lose
	if p.ns, err = unix.Openat(dir, "ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return err
	}
	var theirs, own unix.Stat_t
	if err := errors.Join(unix.Fstat(p.ns, &theirs), unix.Stat("/proc/self/ns/mnt", &own)); err != nil {
		return err
	}
	if name != self && theirs.Dev == own.Dev && theirs.Ino == own.Ino {
		return errors.New("it has the daemon's own mount namespace: nothing is attached to it")
	}
	lock(p.ns)
	if p.root, err = unix.Openat(dir, "root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return err
	}
	fd, err := unix.Openat(dir, "mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), "mountinfo")
	defer f.Close()
	p.mounts, err = mounttable.Read(f, nil)
	return err
}

// lock has a mount namespace to itself until the descriptor is closed: what was
// read of the mounts must hold until they are changed, also where a process goes
// on that was started by a daemon killed since. It waits for a while only: the
// container can take the lock, too.
func lock(ns int) {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if err := unix.Flock(ns, unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
			return
		}
	}
}

func (p *process) close() {
	if p.stuck {
		return // who is waited for uses the descriptors; their numbers must not become others'
	}
	for _, fd := range []int{p.root, p.ns} {
		if fd >= 0 {
			unix.Close(fd) //nolint:errcheck // nothing was written
		}
	}
}

// at lists the mounts on exactly a target, the topmost last.
func (p *process) at(target string) []*mountinfo.Info {
	var all []*mountinfo.Info
	for _, m := range p.mounts {
		if m.Mountpoint == target {
			all = append(all, m)
		}
	}
	return all
}

// resolve opens a target with what is mounted on it. A container decides what
// its paths lead to, so nothing that leads elsewhere is followed.
func (p *process) resolve(target string) (int, error) {
	return unix.Openat2(p.root, strings.TrimPrefix(target, "/"), &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// change makes the changes in the process's namespace. The error is of the way
// there; those of single changes are in them.
func (p *process) change(todo []change) error {
	work := slices.Clone(todo) // should the thread get stuck, it is left behind with it
	trees := make([]int, len(work))
	for i := range work {
		if trees[i] = -1; work[i].mount != nil {
			trees[i], work[i].err = copyTree(work[i].mount)
		}
	}
	err := p.inside(func() {
		for i := range work {
			if c := &work[i]; c.err == nil {
				c.err = p.apply(c, trees[i])
			}
		}
	}, func() {
		for _, fd := range trees {
			if fd >= 0 {
				unix.Close(fd) //nolint:errcheck // what was moved stays, what was not goes
			}
		}
	})
	if !errors.Is(err, errStuck) {
		copy(todo, work)
	}
	return err
}

// copyTree makes a detached mount of a source.
func copyTree(m *Mount) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, m.Source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return -1, fmt.Errorf("copy the mount of %s: %w", m.Source, err)
	}
	attr := unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC,
		// Else what happens to the copy would happen to the source.
		Propagation: unix.MS_PRIVATE,
	}
	if !m.Writable {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		unix.Close(fd) //nolint:errcheck // never used
		return -1, fmt.Errorf("set the mount options of %s: %w (Linux 5.12 is needed)", m.Source, err)
	}
	return fd, nil
}

// apply makes one change, inside.
func (p *process) apply(c *change, tree int) error {
	for range c.remove {
		// Relative to the root that was entered. What is mounted here can't be
		// a symbolic link, and /proc and /sys, above it, are mounted on.
		if err := unix.Unmount(c.target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("take away the mount on %s of process %d: %w", c.target, p.pid, err)
		}
	}
	if c.mount == nil {
		return nil
	}
	fd, err := p.resolve(c.target)
	if err != nil {
		return fmt.Errorf("look for %s of process %d: %w", c.target, p.pid, err)
	}
	defer unix.Close(fd) //nolint:errcheck // an O_PATH descriptor has nothing to lose
	if err := unix.MoveMount(tree, "", fd, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount on %s of process %d: %w", c.target, p.pid, err)
	}
	return nil
}

// inside runs a function on a thread that has entered the process's mount
// namespace and root, and another once that is done or can't be. The thread ends
// with it: it can't be led back. One that does not come back is left behind.
func (p *process) inside(do, after func()) error {
	result := make(chan error, 1)
	go func() {
		defer after()
		OnThread(func() { result <- p.enter(do) })
	}()
	select {
	case err := <-result:
		return err
	case <-time.After(patienceIn):
		p.stuck = true
		return fmt.Errorf("change the mounts of process %d: %w for %v", p.pid, errStuck, patienceIn)
	}
}

func (p *process) enter(do func()) error {
	// Threads share their working directory and root until told otherwise.
	err := unix.Unshare(unix.CLONE_FS)
	if err == nil {
		err = unix.Setns(p.ns, unix.CLONE_NEWNS)
	}
	if err == nil {
		err = errors.Join(unix.Fchdir(p.root), unix.Chroot("."))
	}
	if err != nil {
		return fmt.Errorf("enter the mount namespace of process %d: %w: the service needs CAP_SYS_ADMIN and CAP_SYS_CHROOT", p.pid, err)
	}
	do()
	return nil
}
