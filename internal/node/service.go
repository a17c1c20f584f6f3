package node

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
)

// service is how the node runs lxcfs-nri: systemd, or supervise where there is
// none. Its methods are to be called on the node.
type service interface {
	// apply has it run, with what was installed.
	apply(ctx context.Context, changed bool) error
	// keep starts it where it has ended, unless somebody else sees to that.
	keep(ctx context.Context) error
	// stop ends it for good.
	stop(ctx context.Context) error
	// forget is called when the files are gone.
	forget(ctx context.Context) error
	String() string
}

func newService(log *slog.Logger) service {
	// sd_booted(3).
	if st, err := os.Lstat("/run/systemd/system"); err == nil && st.IsDir() {
		return systemd{}
	}
	return supervisor{log}
}

const unit = "lxcfs-nri.service"

type systemd struct{}

func (systemd) String() string { return "systemd" }

func (systemd) apply(ctx context.Context, changed bool) error {
	steps := [][]string{{"daemon-reload"}, {"enable", unit}, {"start", unit}}
	if changed {
		// It may have failed for good with what was there before.
		systemctl(ctx, "reset-failed", unit) //nolint:errcheck // it is not known, usually
		steps[2] = []string{"restart", unit}
	}
	for _, step := range steps {
		if err := systemctl(ctx, step...); err != nil {
			return err
		}
	}
	return nil
}

// keep leaves it to systemd, and to who stops it by hand.
func (systemd) keep(context.Context) error { return nil }

func (systemd) stop(ctx context.Context) error {
	if systemctl(ctx, "cat", unit) != nil {
		return nil // there is none
	}
	return systemctl(ctx, "disable", "--now", unit)
}

func (systemd) forget(ctx context.Context) error { return systemctl(ctx, "daemon-reload") }

func systemctl(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "systemctl", args...)
	cmd.Env = environment()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// environment is that of programs on the node: the pod's is of no use there.
func environment() []string { return []string{"PATH=" + Path, "LC_ALL=C"} }

// Path is where the node has its programs.
const Path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
