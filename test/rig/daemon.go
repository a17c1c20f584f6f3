package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// waitShort is how long anything may take that takes milliseconds where the
// processors are not emulated, and are not shared with others.
const waitShort = time.Minute

// Daemon is a running lxcfs-nri serve.
type Daemon struct {
	// Mountpoint is where its file system is.
	Mountpoint string

	binary string
	runDir string
	ending bool // by our will
	*process
}

// ready is what the daemon says once its file system is mounted.
var ready = regexp.MustCompile(`(?i)\bready\b`)

// Serve starts the daemon with a configuration, perhaps an empty one, and waits
// until it says that it is ready. A second daemon of the same rig takes the
// place of the first, which must have ended.
func (r *Rig) Serve(ctx context.Context, binary, config string) (*Daemon, error) {
	if r.daemon != nil && r.daemon.alive() {
		return nil, errors.New("the daemon runs already")
	}
	r.daemon = nil
	d, err := Serve(ctx, r.Dir, binary, config, r.NRISocket)
	if err != nil {
		return nil, err
	}
	r.daemon = d
	return d, nil
}

// NoRuntime is the NRI socket of a daemon that only serves files.
const NoRuntime = "none"

// Supervise is Serve of a daemon that is started again whenever it dies: by
// lxcfs-nri supervise, which Alive, Kill and Stop are about then.
func (r *Rig) Supervise(ctx context.Context, binary, config string) (*Daemon, error) {
	if r.daemon != nil && r.daemon.alive() {
		return nil, errors.New("the daemon runs already")
	}
	r.daemon = nil
	d, err := Supervise(ctx, r.Dir, binary, config, r.NRISocket)
	if err != nil {
		return nil, err
	}
	r.daemon = d
	return d, nil
}

// Serve starts a daemon whose files are all below dir.
func Serve(ctx context.Context, dir, binary, config, nriSocket string) (*Daemon, error) {
	return startDaemon(ctx, "serve", dir, binary, config, nriSocket)
}

// Supervise starts one that is started again whenever it dies.
func Supervise(ctx context.Context, dir, binary, config, nriSocket string) (*Daemon, error) {
	return startDaemon(ctx, "supervise", dir, binary, config, nriSocket)
}

// RunDir is where a daemon of that folder keeps its state.
func RunDir(dir string) string { return filepath.Join(dir, "daemon") }

func startDaemon(ctx context.Context, command, dir, binary, config, nriSocket string) (*Daemon, error) {
	d := &Daemon{Mountpoint: filepath.Join(dir, "fuse"), binary: binary, runDir: RunDir(dir)}
	// Without a file of its own it would read this machine's.
	file := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, fmt.Errorf("write the daemon's configuration: %w", err)
	}
	cmd := exec.Command(binary, command, "--config", file, "--mountpoint", d.Mountpoint, "--run-dir", d.runDir, "--nri-socket", nriSocket)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET=")
	p, err := spawn(filepath.Join(dir, "lxcfs-nri.log"), cmd)
	if err != nil {
		return nil, err
	}
	d.process = p
	err = Poll(ctx, waitShort, func() error {
		if !ready.MatchString(p.output()) && p.alive() {
			return errors.New("no line with the word ready")
		}
		return nil
	})
	if err == nil && !p.alive() {
		err = errors.New("it ended: " + p.state())
	}
	if err != nil {
		err = fmt.Errorf("start lxcfs-nri %s: %w\n%s", command, err, lastLines([]byte(p.output()), 20))
		if p.alive() {
			err = errors.Join(err, d.Kill())
		}
		return nil, err
	}
	return d, nil
}

// Stop ends the daemon as an administrator would. That it does not exit with
// 0, or leaves its mount, or had ended by itself, is an error.
func (d *Daemon) Stop() error {
	if d.ending {
		return nil
	}
	d.ending = true
	if !d.alive() {
		return fmt.Errorf("lxcfs-nri had ended by itself: %s\n%s", d.state(), lastLines([]byte(d.output()), 20))
	}
	if err := d.end(syscall.SIGTERM, waitShort); err != nil {
		return err
	}
	if d.err != nil {
		return fmt.Errorf("lxcfs-nri, asked to end: %w\n%s", d.err, lastLines([]byte(d.output()), 20))
	}
	mounted, err := Mounted(d.Mountpoint)
	if err == nil && mounted {
		err = fmt.Errorf("%s is still mounted after lxcfs-nri ended", d.Mountpoint)
	}
	return err
}

// Kill ends the daemon without giving it time for anything. Its mount stays.
func (d *Daemon) Kill() error {
	d.ending = true
	return d.end(syscall.SIGKILL, waitShort)
}

// PID is the number of its process.
func (d *Daemon) PID() int { return d.cmd.Process.Pid }

// Alive tells whether the daemon runs.
func (d *Daemon) Alive() bool { return d.alive() }

// Log is what the daemon has written so far.
func (d *Daemon) Log() string { return d.output() }

// Run runs another of lxcfs-nri's commands, such as status, on this daemon.
func (d *Daemon) Run(ctx context.Context, command string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, d.binary, append([]string{command, "--run-dir", d.runDir}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("lxcfs-nri %s: %w\n%s", command, err, stderr.String())
	}
	return string(out), nil
}
