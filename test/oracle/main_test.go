// Package oracle makes the kernel do something and looks whether the files tell
// exactly that. It runs on whatever machine it is on, cgroup v1 or v2.
package oracle

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/test/box"
	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

const mib = 1 << 20

// daemon and its folder are shared by all tests, which may start it anew.
var (
	daemon *rig.Daemon
	folder string
	binary string
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == workArgument {
		work(os.Args[2:])
	}
	if len(os.Args) > 2 && os.Args[1] == startedArgument {
		started(os.Args[2])
	}
	os.Exit(run(m))
}

func run(m *testing.M) (code int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, "oracle:", err)
		return 1
	}
	var err error
	if folder, err = os.MkdirTemp("", "lxn-oracle-"); err != nil {
		return fail(err)
	}
	defer os.RemoveAll(folder) //nolint:errcheck // nothing to lose
	if binary, err = rig.BuildProduct(ctx, folder, os.Stderr); err != nil {
		return fail(err)
	}
	if daemon, err = rig.Serve(ctx, folder, binary, "", rig.NoRuntime); err != nil {
		return fail(err)
	}
	defer func() {
		if err := daemon.Stop(); err != nil {
			code = fail(err)
		}
	}()
	return m.Run()
}

// figures maps the lines of /proc/meminfo to bytes.
type figures map[string]int64

func parseMeminfo(t testing.TB, text string) figures {
	t.Helper()
	m := figures{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		n, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		if len(f) == 3 {
			n <<= 10
		}
		m[strings.TrimSuffix(f[0], ":")] = n
	}
	return m
}

// meminfo reads it in a container.
func meminfo(t testing.TB, b *box.Box) figures {
	t.Helper()
	return parseMeminfo(t, b.Output(t, "cat", "/proc/meminfo"))
}

// settling is how long figures may take: the kernel brings its counters per
// group up to date each 2 s.
const settling = 6 * time.Second

// within waits until what f returns is at most tolerance from want.
func within(t testing.TB, what string, want, tolerance float64, f func() float64) {
	t.Helper()
	err := rig.Poll(t.Context(), settling, func() error {
		if got := f(); got < want-tolerance || got > want+tolerance {
			return fmt.Errorf("%s: got %.2f, want %.2f ± %.2f", what, got, want, tolerance)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// keyed reads a number of a cgroup file of lines of keys and numbers.
func keyed(t testing.TB, file, key string) float64 {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == key {
			return number(t, f[1])
		}
	}
	t.Fatalf("%s has no %s", file, key)
	return 0
}

func number(t testing.TB, s string) float64 {
	t.Helper()
	n, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func readFile(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// mounted is a file of the daemon's mount point.
func mounted(file string) string { return filepath.Join(daemon.Mountpoint, file) }
