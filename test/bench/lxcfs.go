package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

// lxcfs is Debian's, run from its unpacked package: nothing is installed.
type lxcfs struct {
	dir string
	cmd *exec.Cmd
}

func startLxcfs(ctx context.Context, work string) (*lxcfs, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	root := filepath.Join(cache, "lxcfs-nri", "lxcfs")
	if _, err := os.Stat(filepath.Join(root, "usr/bin/lxcfs")); err != nil {
		fmt.Println("  fetching Debian's lxcfs and libfuse3")
		if err := os.MkdirAll(root, 0o755); err != nil {
			return nil, err
		}
		fetch := exec.CommandContext(ctx, "sh", "-ec", "apt-get -qq download lxcfs libfuse3-3 || { apt-get -qq update; apt-get -qq download lxcfs libfuse3-3; }; for d in *.deb; do dpkg-deb -x $d .; done")
		fetch.Dir = root
		if out, err := fetch.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("fetch Debian's lxcfs: %w\n%s", err, out)
		}
	}
	libs, err := filepath.Glob(filepath.Join(root, "*/*-linux-gnu*"))
	if err != nil {
		return nil, err
	}
	deeper, err := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu*/lxcfs"))
	if err != nil {
		return nil, err
	}
	below, err := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu*"))
	if err != nil {
		return nil, err
	}
	l := &lxcfs{dir: filepath.Join(work, "lxcfs")}
	if err := os.Mkdir(l.dir, 0o755); err != nil {
		return nil, err
	}
	l.cmd = exec.Command(filepath.Join(root, "usr/bin/lxcfs"), "-p", filepath.Join(work, "lxcfs.pid"), l.dir)
	l.cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+strings.Join(append(append(libs, deeper...), below...), ":"))
	if err := l.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start lxcfs: %w", err)
	}
	err = rig.Poll(ctx, 10*time.Second, func() error {
		_, err := os.Stat(filepath.Join(l.dir, "proc/meminfo"))
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lxcfs does not serve %s: %w", l.dir, err), l.stop())
	}
	return l, nil
}

func (l *lxcfs) stop() error {
	if err := l.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	l.cmd.Wait() //nolint:errcheck // ended by a signal
	if err := unix.Unmount(l.dir, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unmount %s: %w", l.dir, err)
	}
	return nil
}
