// Package node puts the service onto the node whose pod this process is in. The
// pod shares the node's PID namespace, so that process 1 stands for the node.
package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/attach"
)

// Node is the node, seen from a pod.
type Node struct {
	// Image is where the files to be installed are, below their paths on the node.
	Image string
	Log   *slog.Logger
}

// enter runs a function on a thread that is in all namespaces of process 1, and
// ends with it. Whatever that thread starts is there, too.
func enter(do func() error) (err error) {
	attach.OnThread(func() {
		if err = join(); err != nil {
			err = fmt.Errorf("enter the node's namespaces: %w (the pod needs hostPID and privileged)", err)
			return
		}
		err = do()
	})
	return err
}

func join() error {
	root, err := unix.Open("/proc/1/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(root) //nolint:errcheck // an O_PATH descriptor has nothing to lose
	kinds := []string{"net", "uts", "ipc", "cgroup", "mnt"}
	namespaces := make([]*os.File, len(kinds))
	for i, kind := range kinds {
		if namespaces[i], err = os.Open("/proc/1/ns/" + kind); err != nil {
			return err
		}
		defer namespaces[i].Close()
	}
	// setns(2) wants a root and a working directory of the thread's own.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	for i, f := range namespaces {
		if err := unix.Setns(int(f.Fd()), 0); err != nil {
			return fmt.Errorf("%s: %w", kinds[i], os.NewSyscallError("setns", err))
		}
	}
	if err := unix.Fchdir(root); err != nil {
		return os.NewSyscallError("fchdir", err)
	}
	if err := unix.Chroot("."); err != nil {
		return os.NewSyscallError("chroot", err)
	}
	return os.NewSyscallError("chdir", unix.Chdir("/"))
}

// lockFile is held as long as somebody installs, keeps or removes the service on
// the node: the pod of an uninstall waits until the one before it has ended.
const lockFile = "/run/lxcfs-nri.lock"

// lock waits for the lock, which ends with the file; it is to be called on the node.
func (n *Node) lock(ctx context.Context) (*os.File, error) {
	f, err := os.OpenFile(lockFile, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the service: %w", err)
	}
	for told := false; ; told = true {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("lock the service: %w", err), f.Close())
		}
		if !told {
			n.Log.Info("waiting for the pod that keeps the service on this node", "lock", lockFile)
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// gone is the error of a removal, unless nothing was there.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
