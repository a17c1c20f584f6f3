package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// tick is how often a condition is looked at that has no event to wait for.
const tick = 20 * time.Millisecond

// process is a program running in the background with its output in a file.
type process struct {
	cmd  *exec.Cmd
	log  string
	from int64         // where this process's own output begins
	done chan struct{} // closed once it ended and err is set
	err  error
}

// spawn starts a program in a process group of its own, lest a Ctrl-C meant
// for us ends it before we have cleaned up with its help.
func spawn(log string, cmd *exec.Cmd) (*process, error) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open a log: %w", err)
	}
	defer f.Close() // the process has its own descriptor
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("stat a log: %w", err)
	}
	cmd.Stdout, cmd.Stderr = f, f
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p := &process{cmd: cmd, log: log, from: st.Size(), done: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// name is what errors call the process.
func (p *process) name() string { return filepath.Base(p.cmd.Path) }

// alive tells whether the process has not ended yet.
func (p *process) alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// state says how a process that is no longer alive has ended.
func (p *process) state() string { return p.cmd.ProcessState.String() }

// output is what the process has written so far.
func (p *process) output() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(b[min(p.from, int64(len(b))):])
}

// end sends a signal and waits. A process that does not end within the Limit is
// killed, and that is an error.
func (p *process) end(sig syscall.Signal, wait time.Duration) error {
	wait = Limit(wait)
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s: %w", p.name(), err)
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(wait):
	}
	if err := p.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill %s: %w", p.name(), err)
	}
	<-p.done
	return fmt.Errorf("%s did not end within %s of %v and was killed:\n%s", p.name(), wait, sig, lastLines([]byte(p.output()), 20))
}

// SlowVar says how many times as long as elsewhere a time limit is on this
// machine, as one with emulated processors needs it.
const SlowVar = "LXCFS_NRI_SLOW"

// Limit is a time limit as it is on this machine.
func Limit(d time.Duration) time.Duration {
	if n, err := strconv.Atoi(os.Getenv(SlowVar)); err == nil {
		return time.Duration(n) * d
	}
	return d
}

// Poll calls f until it returns nil, and gives its last error if that has not
// happened within the Limit.
func Poll(ctx context.Context, within time.Duration, f func() error) error {
	within = Limit(within)
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w, after waiting up to %s: %w", context.Cause(ctx), within, err)
		case <-t.C:
		}
	}
}

// programs are the ones a rig starts outside of containers.
var programs = []string{"containerd", "containerd-shim-runc-v2", "lxcfs-nri", "runc"}

// processes finds the processes of a rig outside of containers: those of
// programs, with a path in the rig's folder among their arguments, perhaps as --flag=path.
func processes(dir string) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		// A process that ends meanwhile has no arguments.
		cmdline, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		args := strings.Split(string(bytes.TrimRight(cmdline, "\x00")), "\x00")
		if !slices.Contains(programs, filepath.Base(args[0])) {
			continue
		}
		if slices.ContainsFunc(args[1:], func(a string) bool { return below(dir, a[strings.IndexByte(a, '=')+1:]) }) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// below tells whether a path is dir or in it.
func below(dir, path string) bool {
	return path == dir || strings.HasPrefix(path, dir+"/")
}

// killAll kills processes, by number, and waits until list finds none.
func killAll(list func() ([]int, error)) error {
	return Poll(context.Background(), 10*time.Second, func() error {
		pids, err := list()
		if err != nil {
			return err
		}
		for _, pid := range pids {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("kill %d: %w", pid, err)
			}
		}
		if len(pids) > 0 {
			return fmt.Errorf("processes %v are still there", pids)
		}
		return nil
	})
}
