// Package e2e tests lxcfs-nri with a real containerd, a real runc and real
// mounts. What a test needs and the machine lacks is a failure, never a skip.
package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

// perTest is far more than any test needs, so that one that hangs fails and is
// cleaned up after, rather than the whole run being ended by go test.
const perTest = 5 * time.Minute

// setup is what the package's tests share; it is set before the first of them.
var setup struct {
	ctx    context.Context // ends with a Ctrl-C
	rig    *rig.Rig
	binary string
	daemon *rig.Daemon
}

func TestMain(m *testing.M) {
	if beProbe(os.Args) {
		return
	}
	os.Exit(run(m))
}

func run(m *testing.M) (code int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	setup.ctx = ctx
	r, err := rig.Up(ctx, rig.Options{Log: os.Stderr, Userns: true, Busybox: true})
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	setup.rig = r
	defer func() {
		err := r.Close()
		what, leftErr := r.Leftovers()
		if err := errors.Join(err, leftErr); err != nil || len(what) > 0 {
			fmt.Fprintf(os.Stderr, "e2e: not all could be removed: %v\n%s\n", err, strings.Join(what, "\n"))
			code = 1
		}
	}()
	if setup.binary, err = rig.BuildProduct(ctx, filepath.Join(r.Dir, "bin"), os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	return m.Run()
}

// begin gives a test its context, with the daemon running and connected, and
// has the logs shown if the test fails.
func begin(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(setup.ctx, perTest)
	t.Cleanup(cancel)
	t.Cleanup(func() {
		if t.Failed() {
			if setup.daemon != nil {
				t.Logf("lxcfs-nri serve:\n%s", tail(setup.daemon.Log(), 40))
			}
			b, _ := os.ReadFile(setup.rig.ContainerdLog())
			t.Logf("containerd:\n%s", tail(string(b), 20))
		}
	})
	serve(ctx, t)
	return ctx
}

// serve has the daemon running and connected, starting it if need be.
func serve(ctx context.Context, t *testing.T) {
	t.Helper()
	if setup.daemon == nil || !setup.daemon.Alive() {
		d, err := setup.rig.Serve(ctx, setup.binary, "")
		if err != nil {
			t.Fatal(err)
		}
		setup.daemon = d
	}
	if err := setup.daemon.WaitConnected(ctx); err != nil {
		t.Fatal(err)
	}
}

func tail(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
