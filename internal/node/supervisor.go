package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// logFile takes what the service says where there is no journal.
const logFile = "/var/log/lxcfs-nri.log"

// stopping is how long supervise may take to give every container its files back.
const stopping = 45 * time.Second

// supervisor is "lxcfs-nri supervise" as a process of the node, which outlives the pod.
type supervisor struct{ log *slog.Logger }

func (supervisor) String() string { return "lxcfs-nri supervise" }

func (s supervisor) apply(ctx context.Context, changed bool) error {
	pid, err := find()
	if err != nil {
		return err
	}
	if pid == 0 {
		return s.start(ctx)
	}
	if !changed {
		return nil
	}
	s.log.Info("handing over to what was installed", "pid", pid)
	return os.NewSyscallError("kill", unix.Kill(pid, unix.SIGHUP))
}

func (s supervisor) keep(ctx context.Context) error { return s.apply(ctx, false) }

// start starts it outside of the pod: it has the node's namespaces from this
// thread, and takes the node's cgroups itself (Become).
func (s supervisor) start(context.Context) error {
	out, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	defer out.Close()
	cmd := exec.Command(program, "host", "supervise") // it is not to end with a context
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = "/", environment(), out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the service: %w", err)
	}
	go cmd.Wait() //nolint:errcheck // find tells whether it runs
	s.log.Info("started", "pid", cmd.Process.Pid, "log", logFile)
	return nil
}

func (s supervisor) stop(ctx context.Context) error {
	pid, err := find()
	if err != nil || pid == 0 {
		return err
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written
	if err := unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return os.NewSyscallError("pidfd_send_signal", err)
	}
	ctx, cancel := context.WithTimeout(ctx, stopping)
	defer cancel()
	for ctx.Err() == nil {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 200)
		if n > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("poll", err)
		}
	}
	return fmt.Errorf("lxcfs-nri supervise (pid %d) does not end: see %s", pid, logFile)
}

func (supervisor) forget(context.Context) error { return gone(os.Remove(logFile)) }

// find finds the process: the program as start calls it, in the node's mount
// namespace. 0: there is none.
func find() (int, error) {
	const (
		before = program + "\x00host\x00supervise\x00"
		after  = program + "\x00supervise\x00"
	)
	node, err := os.Readlink("/proc/1/ns/mnt")
	if err != nil {
		return 0, fmt.Errorf("look for the service: %w", err)
	}
	entries, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, fmt.Errorf("look for the service: %w", err)
	}
	for _, dir := range entries {
		// A process that ends meanwhile has neither.
		cmdline, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		ns, _ := os.Readlink(filepath.Join(dir, "ns/mnt"))
		if ns == node && (bytes.Equal(cmdline, []byte(before)) || bytes.Equal(cmdline, []byte(after))) {
			return strconv.Atoi(filepath.Base(dir))
		}
	}
	return 0, nil
}

// Become leaves the pod's cgroups for those of process 1, and becomes "lxcfs-nri
// supervise". What is in a pod's cgroups ends with the pod.
func Become() error {
	if err := leaveCgroups(); err != nil {
		return fmt.Errorf("leave the pod's cgroups: %w", err)
	}
	return os.NewSyscallError("execve", syscall.Exec(program, []string{program, "supervise"}, os.Environ()))
}
