// Package lxcfs runs Debian's lxcfs, to compare with.
package lxcfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

// Server is an lxcfs that runs from its unpacked package: nothing is installed.
type Server struct {
	// Dir is its mount point.
	Dir string

	cmd *exec.Cmd
}

// PID is the number of its process.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Fetch fetches lxcfs into the cache folder, unless it is there, and gives its root.
func Fetch(ctx context.Context, log io.Writer) (root string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	root = filepath.Join(cache, "lxcfs-nri", "lxcfs")
	if _, err := os.Stat(filepath.Join(root, "usr/bin/lxcfs")); err == nil {
		return root, nil
	}
	fmt.Fprintln(log, "  fetching Debian's lxcfs and libfuse3")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", err
	}
	fetch := exec.CommandContext(ctx, "sh", "-ec", "apt-get -qq download lxcfs libfuse3-3 || { apt-get -qq update; apt-get -qq download lxcfs libfuse3-3; }; for d in *.deb; do dpkg-deb -x $d .; done")
	fetch.Dir = root
	if out, err := fetch.CombinedOutput(); err != nil {
		return "", fmt.Errorf("fetch Debian's lxcfs: %w\n%s", err, out)
	}
	return root, nil
}

// Start fetches lxcfs where need be, and mounts it below a directory.
func Start(ctx context.Context, work string, log io.Writer) (*Server, error) {
	root, err := Fetch(ctx, log)
	if err != nil {
		return nil, err
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
	s := &Server{Dir: filepath.Join(work, "lxcfs")}
	if err := os.Mkdir(s.Dir, 0o755); err != nil {
		return nil, err
	}
	s.cmd = exec.Command(filepath.Join(root, "usr/bin/lxcfs"), "-p", filepath.Join(work, "lxcfs.pid"), s.Dir)
	s.cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+strings.Join(append(append(libs, deeper...), below...), ":"))
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start lxcfs: %w", err)
	}
	err = rig.Poll(ctx, 10*time.Second, func() error {
		_, err := os.Stat(filepath.Join(s.Dir, "proc/meminfo"))
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lxcfs does not serve %s: %w", s.Dir, err), s.Stop())
	}
	return s, nil
}

// Stop ends it and takes its mount away.
func (s *Server) Stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	s.cmd.Wait() //nolint:errcheck // ended by a signal
	if err := unix.Unmount(s.Dir, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unmount %s: %w", s.Dir, err)
	}
	return nil
}
