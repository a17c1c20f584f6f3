package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/fusefs"
)

// watched is how often Keep looks whether the service still runs.
const watched = 10 * time.Second

// Keep installs the service, has it run what was installed, and keeps it running
// until ctx is done. Then it is left as it is. A service that runs already goes on
// where nothing has changed, and else hands over to what was installed: no read
// fails.
func (n *Node) Keep(ctx context.Context) error {
	image, err := os.OpenRoot(n.Image)
	if err != nil {
		return fmt.Errorf("open the image: %w", err)
	}
	defer image.Close() //nolint:errcheck // only read from
	var held *os.File
	var run service
	err = enter(func() (err error) {
		if held, err = n.lock(ctx); err != nil {
			return err
		}
		if owner := packageOwner(ctx); owner != "" {
			n.Log.Warn("the package lxcfs-nri is installed on this node: its files, its configuration and its service are left as they are", "by", owner)
			return nil
		}
		changed, err := install(image)
		if err != nil {
			return err
		}
		run = newService(n.Log)
		if err := run.apply(ctx, changed); err != nil {
			return err
		}
		n.Log.Info("installed", "changed", changed, "service", run.String())
		return nil
	})
	if held != nil {
		defer held.Close()
	}
	if err != nil {
		return err
	}
	for run != nil {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watched):
		}
		if err := enter(func() error { return run.keep(ctx) }); err != nil {
			n.Log.Error("the service does not run", "error", err)
		}
	}
	<-ctx.Done()
	return nil
}

// Uninstall stops the service, which gives containers the kernel's own files, and
// removes what was installed.
func (n *Node) Uninstall(ctx context.Context, mountpoint, runDir string) error {
	return enter(func() error {
		held, err := n.lock(ctx)
		if err != nil {
			return err
		}
		defer held.Close()
		if owner := packageOwner(ctx); owner != "" {
			n.Log.Warn("the package lxcfs-nri is installed on this node, and stays", "by", owner)
			return nil
		}
		run := newService(n.Log)
		if err := run.stop(ctx); err != nil {
			return err
		}
		if _, err := os.Stat(program); err == nil {
			// What a service that had died has left.
			if out, err := exec.CommandContext(ctx, program, "detach", "--all").CombinedOutput(); err != nil {
				return fmt.Errorf("give containers the kernel's own files: %w: %s", err, out)
			}
		}
		if err := unix.Unmount(mountpoint, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err == nil {
			n.Log.Info("a mount that was left behind is gone", "mountpoint", mountpoint)
		}
		if err := gone(removeMountpoint(mountpoint)); errors.Is(err, unix.ENOTEMPTY) {
			n.Log.Warn("the mount point stays: containers of Docker are started with what is in it", "mountpoint", mountpoint)
		} else if err != nil {
			return fmt.Errorf("remove the mount point: %w", err)
		}
		err = errors.Join(remove(), os.RemoveAll(runDir), run.forget(ctx), gone(os.Remove(lockFile)))
		if err != nil {
			return fmt.Errorf("remove what was installed: %w", err)
		}
		n.Log.Info("uninstalled")
		return nil
	})
}

func removeMountpoint(dir string) error {
	below, err := fusefs.OpenFallback(dir, nil)
	if err != nil {
		return err
	}
	if err := errors.Join(below.Clear(), below.Close()); err != nil {
		return err
	}
	return os.Remove(dir)
}

// packageOwner says which package manager has installed the files, or nothing.
func packageOwner(ctx context.Context) string {
	if out, err := exec.CommandContext(ctx, "dpkg-query", "-W", "-f", "${db:Status-Status}", "lxcfs-nri").Output(); err == nil && strings.TrimSpace(string(out)) == "installed" {
		return "dpkg"
	}
	if exec.CommandContext(ctx, "rpm", "-q", "lxcfs-nri").Run() == nil {
		return "rpm"
	}
	return ""
}
