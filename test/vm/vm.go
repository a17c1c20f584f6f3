// Package vm runs shell scripts on a machine of its own: a Debian kernel in
// QEMU, with pure cgroup v2, PSI and swap, whose root is the host's root seen
// read-only with a tmpfs above. Programs that were built or installed on the
// host before the machine started are there at the same paths; what a script
// writes is gone with the machine. With a Release it has a Debian of its own, and
// systemd as PID 1; the host's files are in HostDir then. The processors are
// emulated, so no /dev/kvm is needed: system calls take some four times as long
// as on the host, Go's garbage collector twenty.
package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Options choose the machine.
type Options struct {
	Kernel string // "6.12" or "6.1"; empty: 6.12
	Memory int    // in MiB; 0: 2048
	CPUs   int    // 0: 2
	// Release of Debian that the machine has for its root, with systemd as PID 1:
	// "bookworm" (252) or "trixie" (257). Empty: the host's root, without systemd.
	Release string
	// SELinux has the policy of the release loaded, and its files labelled. What it
	// denies is only logged until a script says otherwise.
	SELinux bool
	// Append is added to the kernel's command line.
	Append string
	// Log gets one line per step, for a human; nil discards them.
	Log io.Writer
}

func (o Options) withDefaults() Options {
	if o.Kernel == "" {
		o.Kernel = "6.12"
	}
	if o.Memory == 0 {
		o.Memory = 2048
	}
	if o.CPUs == 0 {
		o.CPUs = 2
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	return o
}

// Run starts a machine, runs one script there and copies what it writes to out.
func Run(ctx context.Context, o Options, script string, out io.Writer) error {
	m, err := Start(ctx, o)
	if err != nil {
		return err
	}
	return errors.Join(m.Run(ctx, script, out), m.Close())
}

// share serves the host's root to the machine, on a socket.
func share(ctx context.Context, socket string) (stop func() error, err error) {
	var daemon string
	// QEMU's own of Debian 12, and the one that has replaced it; both know these flags.
	for _, p := range []string{"/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd"} {
		if _, err := os.Stat(p); err == nil {
			daemon = p
			break
		}
	}
	if daemon == "" {
		return nil, errors.New("no virtiofsd: install the package virtiofsd, on Debian 12 qemu-system-common")
	}
	var log strings.Builder
	cmd := exec.CommandContext(ctx, daemon, "--socket-path="+socket, "-o", "source=/", "-o", "sandbox=chroot", "-o", "cache=always")
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start virtiofsd: %w", err)
	}
	stop = func() error {
		// It ends by itself with the machine, or not at all if that never started.
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stop virtiofsd: %w", err)
		}
		cmd.Wait() //nolint:errcheck // ended by a signal
		return nil
	}
	for range 100 {
		if _, err := os.Stat(socket); err == nil {
			return stop, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return nil, errors.Join(fmt.Errorf("virtiofsd does not listen on %s", socket), stop(), errors.New(log.String()))
}
