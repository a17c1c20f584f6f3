package fusefs

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/internal/mounttable"
	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// fsName is the file system's name, of which the mount table has more.
const fsName = "lxcfs-nri"

// Source is what the mount table names as the source of the file system on a
// directory. Mounts in containers keep it, so that it tells whose they are when
// their daemon is dead.
func Source(dir string) string { return fsName + ":" + dir }

// Type is the file system's type in the mount table.
const Type = "fuse." + fsName

// Conn is a mounted file system.
type Conn struct {
	dir      string
	loop     *loop
	fd       int
	triggers *triggers // nil if the kernel forwards no polls
}

// TakeOver goes on where another process was killed or ended: with its
// descriptor of /dev/fuse, which becomes the connection's own, and what it had
// in shared memory. Neither the mount nor those who read notice. The error says
// why that can't be.
func (fs *FileSystem) TakeOver(dir string, device int, shared *Shared) (*Conn, error) {
	p := []unix.PollFd{{Fd: int32(device), Events: unix.POLLIN}}
	if _, err := unix.Poll(p, 0); err != nil || p[0].Revents&(unix.POLLERR|unix.POLLNVAL) != 0 {
		return nil, fmt.Errorf("take over %s: its FUSE connection has ended", dir)
	}
	if fstype, err := mountedOn(dir); err != nil || fstype != Type {
		return nil, errors.Join(fmt.Errorf("take over %s: what was kept is not mounted there any more", dir), err)
	}
	return fs.connect(dir, device, shared), nil
}

// Mount mounts the file system on a directory, which it makes where it is
// missing. Errors name the remedy. A mount that a dead daemon left there is
// cleared away. The connection can be taken over from shared memory.
func (fs *FileSystem) Mount(dir string, shared *Shared) (*Conn, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("mounting on %s needs root: run it with sudo, or as a system service", dir)
	}
	if err := clearMountpoint(dir, fs.log); err != nil {
		return nil, err
	}
	sweep(dir, fs.log)
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV):
		return nil, fmt.Errorf("/dev/fuse: %w: load the kernel module (modprobe fuse); in a container, give it the device (--device /dev/fuse)", err)
	case err != nil:
		return nil, fmt.Errorf("/dev/fuse: %w: the service needs read and write access to the device", err)
	}
	err = unix.Mount(Source(dir), dir, Type, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, fs.mountOptions(fd))
	if err != nil {
		unix.Close(fd) //nolint:errcheck // never used
		switch {
		case fs.SELinuxContext != "" && errors.Is(err, unix.EINVAL):
			return nil, fmt.Errorf("mounting on %s: %w: the policy does not know the context %s, set another (selinuxContext)", dir, err, fs.SELinuxContext)
		case fs.SELinuxContext != "" && errors.Is(err, unix.EACCES):
			return nil, fmt.Errorf("mounting on %s: %w: the policy does not let the service mount with the context %s, set another (selinuxContext)", dir, err, fs.SELinuxContext)
		}
		return nil, fmt.Errorf("mounting on %s: %w: the service needs CAP_SYS_ADMIN", dir, err)
	}
	return fs.connect(dir, fd, shared), nil
}

// mountOptions are those of fuse(4) and SELinux, for a descriptor of /dev/fuse.
func (fs *FileSystem) mountOptions(fd int) string {
	// The kernel checks modes (default_permissions): containers/ is for root only.
	opts := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions,max_read=%d", fd, maxReadPages*unix.Getpagesize())
	if fs.SELinuxContext != "" {
		// In quotes, since levels have commas.
		opts += fmt.Sprintf(",context=%q", fs.SELinuxContext)
	}
	return opts
}

func (fs *FileSystem) connect(dir string, device int, shared *Shared) *Conn {
	fs.open = newSnapshots(shared)
	fs.handle.Store(uint64(shared.head().generation) << 40) // no handle means two open files
	server := fuse.NewProtocolServer(fs, &fuse.MountOptions{
		MaxWrite:           maxWrite,
		DisableReadDirPlus: true,
		// With it the size of reads follows MaxWrite, and so would the slots.
		DisabledCapabilities: fuse.CAP_MAX_PAGES,
		Logger:               log.New(slogWriter{fs.log}, "", 0),
		PanicHandler: func(p any) fuse.Status {
			fs.log.Error("BUG: a request was not answered", "panic", p)
			return fuse.EIO
		},
	})
	c := &Conn{dir: dir, loop: newLoop(device, server, shared, &fs.callers), fd: device}
	if shared.head().polls != 0 {
		t, err := newTriggers(shared, fs.log, notifier(device))
		if err != nil {
			fs.log.Error("the files take no PSI triggers", "error", err)
		}
		fs.triggers, c.triggers, c.loop.poll = t, t, fs.poll
	}
	return c
}

// TakesTriggers reports whether PSI triggers can be written to the files of pressure.
func (c *Conn) TakesTriggers() bool { return c.triggers != nil }

// Device is the descriptor of /dev/fuse: who keeps a copy keeps the connection.
func (c *Conn) Device() int { return c.fd }

// slogWriter takes what go-fuse logs of requests it does not know.
type slogWriter struct{ log *slog.Logger }

var _ io.Writer = slogWriter{}

func (w slogWriter) Write(p []byte) (int, error) {
	w.log.Debug("fuse: " + strings.TrimSpace(string(p)))
	return len(p), nil
}

// Serve answers requests until the file system is unmounted everywhere, also
// from the containers that have it.
func (c *Conn) Serve() error {
	if c.triggers != nil {
		c.triggers.start()
	}
	err := c.loop.run()
	if c.triggers != nil {
		c.triggers.end() // it writes to the device
	}
	unix.Close(c.fd) //nolint:errcheck // the connection has ended
	if errors.Is(err, errUnmounted) {
		return nil
	}
	return err
}

// Unmount takes the file system from its directory, and waits for Serve to see its
// end, which comes once nobody has a file open any more: who reads just then reads on.
// What is kept open without being read is not waited for.
func (c *Conn) Unmount() error {
	if err := unix.Unmount(c.dir, unix.UMOUNT_NOFOLLOW); err != nil {
		if err := unix.Unmount(c.dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("unmounting %s: %w", c.dir, err)
		}
	}
	select {
	case <-c.loop.done:
	case <-time.After(2 * time.Second):
	}
	return nil
}

// clearMountpoint sees that dir is a directory on which nothing is mounted.
func clearMountpoint(dir string, log *slog.Logger) error {
	for range 16 {
		fstype, err := mountedOn(dir)
		if err != nil {
			return err
		}
		var st unix.Statx_t
		// Without the flag a dead daemon's attributes are still told from the cache.
		switch err := unix.Statx(unix.AT_FDCWD, dir, unix.AT_STATX_FORCE_SYNC, unix.STATX_TYPE, &st); {
		case fstype != "" && !errors.Is(err, unix.ENOTCONN):
			if fstype == Type {
				return fmt.Errorf("%s is served by another lxcfs-nri already: stop that one, or choose another --mountpoint (and --run-dir)", dir)
			}
			return fmt.Errorf("%s has a file system of type %s mounted: choose another --mountpoint, or umount it", dir, fstype)
		case fstype == Type:
			log.Warn("clearing away the mount of a daemon that died", "mountpoint", dir)
			if err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
				return fmt.Errorf("%s is a stale mount (its daemon died) that can't be cleared away: %w: umount -l %s", dir, err, dir)
			}
		case errors.Is(err, unix.ENOTCONN):
			return fmt.Errorf("%s is a stale mount of type %s (its daemon died): umount -l %s", dir, fstype, dir)
		case errors.Is(err, unix.ENOENT):
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("making the mount point: %w", err)
			}
			return nil
		case err != nil:
			return fmt.Errorf("looking at mount point %s: %w", dir, err)
		case st.Mode&unix.S_IFMT != unix.S_IFDIR:
			return fmt.Errorf("mount point %s is not a directory: remove it, or choose another --mountpoint", dir)
		default:
			return nil
		}
	}
	return fmt.Errorf("%s has many stale mounts: umount -l %s until none is left", dir, dir)
}

// sweep removes what container runtimes have made at a mount point where nothing
// was mounted, as after a reboot: for a mount whose source is missing Docker makes
// an empty directory, which would be in the way of a file of that name whenever
// nothing is mounted. What holds anything stays.
func sweep(dir string, log *slog.Logger) {
	for _, top := range []string{"proc", "sys", view.ContainersDir} {
		var left []string
		filepath.WalkDir(filepath.Join(dir, top), func(name string, e iofs.DirEntry, err error) error { //nolint:errcheck // what can't be read stays
			if err != nil {
				return iofs.SkipDir
			}
			if info, err := e.Info(); err == nil && (e.IsDir() || info.Mode().IsRegular() && info.Size() == 0) {
				left = append(left, name)
			}
			return nil
		})
		removed := 0
		for _, name := range slices.Backward(left) {
			if os.Remove(name) == nil {
				removed++
			}
		}
		if removed > 0 {
			log.Warn("removed what was left at the mount point, by who looked for files while nothing was mounted", "below", filepath.Join(dir, top), "entries", removed)
		}
	}
}

// mountedOn gives the type of the file system mounted on exactly dir, "" for none.
func mountedOn(dir string) (string, error) {
	if parent, err := filepath.EvalSymlinks(filepath.Dir(dir)); err == nil {
		dir = filepath.Join(parent, filepath.Base(dir))
	}
	mounts, err := mounttable.Own(func(m *mountinfo.Info) (skip, stop bool) { return m.Mountpoint != dir, false })
	if err != nil {
		return "", fmt.Errorf("looking for mounts: %w", err)
	}
	if len(mounts) == 0 {
		return "", nil
	}
	return mounts[len(mounts)-1].FSType, nil // the topmost
}
