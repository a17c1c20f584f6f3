package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fdstore"
)

// How long the next process is waited with: longer and longer, where one after
// the other ends before it serves. One that was killed is not at fault, and reads
// wait.
const (
	firstWait     = 10 * time.Millisecond
	maxWait       = 5 * time.Second
	maxWaitKilled = 100 * time.Millisecond
	// ending is how long serve may take to take everything away.
	ending = 30 * time.Second
)

func superviseCommand() *cobra.Command {
	var f serveFlags
	c := &cobra.Command{
		Use:   "supervise",
		Short: "Run serve, keep its FUSE connection, and start it again when it dies",
		Long: `supervise does what systemd does where there is no systemd: it runs
"lxcfs-nri serve" with the same flags, keeps what the next process needs to go on
where this one was killed, and starts it again. No read in a container fails for
it. The process serving now is in <run-dir>/serve.pid. SIGTERM and SIGINT end
both for good; SIGHUP has serve ended and the program, perhaps a newer one,
started again.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := f.load(c.Flags())
			if err != nil {
				return err
			}
			exe, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find this program: %w", err)
			}
			return supervise(c.Context(), cfg.RunDir, exe, f.given(c.Flags()), newLogger(cfg.Log))
		},
	}
	f.register(c.Flags())
	return c
}

// supervisor keeps one serve running. It reads nothing that a container can
// have a hand in.
type supervisor struct {
	exe    string
	args   []string
	pid    string // file of the child's pid
	keeper *fdstore.Keeper
	log    *slog.Logger
	ready  chan struct{} // serve has said so
}

func supervise(ctx context.Context, runDir, exe string, args []string, log *slog.Logger) error {
	ready := make(chan struct{}, 1)
	keeper, err := fdstore.NewKeeper(filepath.Join(runDir, "notify.sock"), func(state string) {
		if strings.Contains(state, "READY=1") {
			select {
			case ready <- struct{}{}:
			default:
			}
		}
		if err := fdstore.Notify(state); err != nil {
			log.Warn("not passed on", "error", err)
		}
	})
	if err != nil {
		return err
	}
	defer keeper.Close() //nolint:errcheck // the process ends
	go func() {
		if err := keeper.Serve(); err != nil {
			log.Error("what serve hands over is not kept any more", "error", err)
		}
	}()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	s := &supervisor{
		exe: exe, args: append([]string{"serve"}, args...), pid: filepath.Join(runDir, "serve.pid"),
		keeper: keeper, log: log, ready: ready,
	}
	defer os.Remove(s.pid) //nolint:errcheck // it tells of nobody then
	wait := firstWait
	for {
		end, err := s.run(ctx, signals)
		if end {
			return err
		}
		log.Warn("serve ended, it is started again", "reason", err)
		if s.served() {
			wait = firstWait
		}
		if killed(err) {
			wait = min(wait, maxWaitKilled)
		}
		select {
		case sig := <-signals:
			if sig != syscall.SIGHUP {
				return s.takeAway(ctx)
			}
		case <-time.After(wait):
		}
		wait = min(2*wait, maxWait)
	}
}

// killed says that the process did not end by its own doing.
func killed(err error) bool {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signal() == syscall.SIGKILL
}

// served says whether the process has come to be ready, and forgets it.
func (s *supervisor) served() bool {
	select {
	case <-s.ready:
		return true
	default:
		return false
	}
}

// start starts serve.
func (s *supervisor) start(ctx context.Context) (*exec.Cmd, error) {
	files, env, err := s.keeper.Next()
	if err != nil {
		return nil, err
	}
	defer fdstore.Close(files)
	cmd := exec.CommandContext(ctx, s.exe, s.args...)
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = os.Stdout, os.Stderr, files
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	tmp := s.pid + ".new"
	err = os.WriteFile(tmp, []byte(strconv.Itoa(cmd.Process.Pid)+"\n"), 0o644)
	if err == nil {
		err = os.Rename(tmp, s.pid)
	}
	if err != nil {
		s.log.Warn("serve.pid can't be written", "error", err)
	}
	return cmd, nil
}

// run runs serve until it ends. end says that this was asked for.
func (s *supervisor) run(ctx context.Context, signals <-chan os.Signal) (end bool, err error) {
	s.served() // what the process before said
	cmd, err := s.start(ctx)
	if err != nil {
		return false, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			if err == nil {
				err = errors.New("it exited")
			}
			return false, fmt.Errorf("pid %d: %w", cmd.Process.Pid, err)
		case sig := <-signals:
			if sig != syscall.SIGHUP {
				return true, s.end(cmd, ended)
			}
			s.log.Info("serve is ended, to be started again", "pid", cmd.Process.Pid)
			cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it may have ended
		}
	}
}

// end has serve take everything away and end.
func (s *supervisor) end(cmd *exec.Cmd, ended <-chan error) error {
	patience := time.After(ending)
	asked := false
	ready := s.ready
	for {
		select {
		case <-ready:
			ready, asked = nil, true
			cmd.Process.Signal(syscall.SIGINT) //nolint:errcheck // it may have ended
		case err := <-ended:
			if !asked {
				return fmt.Errorf("serve ended before it could take the file system away: %w", err)
			}
			return err
		case <-patience:
			cmd.Process.Kill() //nolint:errcheck // it may have ended
			return errors.Join(fmt.Errorf("serve did not end within %v and was killed", ending), <-ended)
		}
	}
}

// takeAway starts serve once more where it does not run, to have it take the
// file system away.
func (s *supervisor) takeAway(ctx context.Context) error {
	end := make(chan os.Signal, 1)
	end <- syscall.SIGINT
	_, err := s.run(ctx, end)
	return err
}
