package hook

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/attach"
	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// fsType is fusefs.Type, whose package brings a FUSE server.
const fsType = "fuse.lxcfs-nri"

// served says that a daemon answers for the files at a mount point, at the
// latest at the deadline. One that is being started anew is waited for.
func served(mountpoint string, mounts []*mountinfo.Info, deadline time.Time) error {
	// Mount tables have paths without links. The mount point itself is not
	// looked at: whose daemon hangs does not answer.
	at := mountpoint
	if parent, err := filepath.EvalSymlinks(filepath.Dir(at)); err == nil {
		at = filepath.Join(parent, filepath.Base(at))
	}
	top := ""
	for _, m := range mounts {
		if m.Mountpoint == at {
			top = m.FSType
		}
	}
	if top != fsType {
		return fmt.Errorf("nothing of ours is mounted on %s", mountpoint)
	}
	return until(deadline, func() error {
		var st unix.Statx_t
		// Without the flag a dead daemon's attributes are told from the cache.
		err := unix.Statx(unix.AT_FDCWD, filepath.Join(mountpoint, "proc"), unix.AT_STATX_FORCE_SYNC, unix.STATX_TYPE, &st)
		if err != nil {
			return fmt.Errorf("the file system on %s does not answer: %w", mountpoint, err)
		}
		return nil
	})
}

// mountTree mounts the files that are resolved by who reads them: those which
// are there, and are in the container.
func mountTree(mountpoint string, pid int, at place, deadline time.Time) (made int, err error) {
	result := 0
	err = until(deadline, func() (err error) {
		theirs := at.rootfs
		if pid != 0 {
			theirs = fmt.Sprintf("/proc/%d/root%s", pid, at.rootfs)
		}
		var all []attach.Mount
		for i := range view.Files {
			f := &view.Files[i]
			m := attach.Mount{Source: filepath.Join(mountpoint, f.Path), Target: "/" + f.Path, Writable: f.Triggers()}
			if f.Reach != view.Inside && exists(m.Source) && exists(theirs+m.Target) {
				all = append(all, m)
			}
		}
		result, err = attach.EnsureIn(pid, at.rootfs, fsType, all)
		return err
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, err
	}
	return result, err
}

func exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}

// until does what may last for ever, for as long as there is time: a file
// system whose daemon hangs does not answer. It goes on, up to the process's end.
func until(deadline time.Time, do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return err
	case <-time.After(time.Until(deadline)):
		return os.ErrDeadlineExceeded
	}
}
