package vm

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/test/percpu"
	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

var kernel = flag.String("kernel", "6.12", "`version` of the machine's kernel, 6.12 or 6.1")

// packages are the product's whose tests run on the machine.
var packages = []string{"cgroup", "attach", "view", "fusefs", "plugin", "control", "hook", "cmd/lxcfs-nri"}

// slow is how many times as long as on the host a test may wait there.
const slow = 4

// suites are those of this module.
var suites = []string{"oracle", "conform", "runtimes", "e2e", "podman", "soak"}

// bin is a folder with all that is built here for the machine: the product and
// tests. There it would take ten times as long.
var bin string

// interrupted ends with a Ctrl-C.
var interrupted context.Context

// machine is shared by the tests, which run one after the other. One that was
// ended with a test is started anew.
var machine *Machine

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) (code int) {
	var stop func()
	interrupted, stop = signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	var err error
	if bin, err = os.MkdirTemp("", "lxn-bin-"); err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		return 1
	}
	defer os.RemoveAll(bin) //nolint:errcheck // nothing to lose
	defer func() {
		if machine != nil && machine.Close() != nil {
			code = 1
		}
	}()
	if err := build(interrupted); err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		return 1
	}
	return m.Run()
}

func build(ctx context.Context) error {
	if _, err := rig.BuildTools(ctx, rig.Options{Log: os.Stderr, Userns: true}); err != nil {
		return err
	}
	if _, err := rig.BuildProduct(ctx, bin, os.Stderr); err != nil {
		return err
	}
	if _, err := rig.BuildOther(ctx, filepath.Join(bin, "other"), os.Stderr); err != nil {
		return err
	}
	if _, err := percpu.Build(ctx, filepath.Join(bin, "percpu")); err != nil {
		return err
	}
	for dir, names := range map[string][]string{"../..": packages, "..": suites} {
		args := []string{"test", "-c", "-o", bin + "/"}
		for _, name := range names {
			args = append(args, "./"+name)
		}
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build the tests of %v: %w\n%s", names, err, out)
		}
	}
	return nil
}

// onMachine runs a script and gives what it wrote. It fails the test if the
// script fails, and ends the machine if that takes too long.
func onMachine(t *testing.T, limit time.Duration, script string) (string, error) {
	t.Helper()
	if machine == nil {
		// Of four CPUs two are off-line until a test brings them on-line: more busy ones
		// than the host has would be too slow.
		m, err := Start(interrupted, Options{Kernel: *kernel, CPUs: 4, Append: "maxcpus=2", Log: os.Stderr})
		if err != nil {
			t.Fatal(err)
		}
		machine = m
	}
	ctx, cancel := context.WithTimeoutCause(interrupted, limit, fmt.Errorf("more than %s have passed", limit))
	defer cancel()
	var out bytes.Buffer
	settings := fmt.Sprintf("export %s=%s %s=%s %s=%s %s=%d\n",
		rig.BinaryVar, Quote(filepath.Join(bin, "lxcfs-nri")), rig.OtherVar, Quote(filepath.Join(bin, "other", "lxcfs-nri")),
		percpu.Var, Quote(filepath.Join(bin, "percpu")), rig.SlowVar, slow)
	err := machine.Run(ctx, settings+script, io.MultiWriter(&out, progress{}))
	if machine.Dead() {
		if err := machine.Close(); err != nil {
			t.Error(err)
		}
		machine = nil
	}
	return out.String(), err
}

// progress shows which tests there are and how they end.
type progress struct{}

func (progress) Write(line []byte) (int, error) {
	if s := string(line); strings.HasPrefix(strings.TrimSpace(s), "--- ") || strings.HasPrefix(s, "== ") {
		if _, err := fmt.Fprint(os.Stderr, "  ", s); err != nil {
			return 0, err
		}
	}
	return len(line), nil
}

// suite runs one of the suites, as it would run in its folder, and gives what it wrote.
func suite(t *testing.T, name, args string, limit time.Duration) string {
	t.Helper()
	out, err := onMachine(t, limit, fmt.Sprintf("cd ../%s && exec %s -test.v %s", name, Quote(filepath.Join(bin, name+".test")), args))
	if err != nil || !strings.Contains(out, "\nPASS\n") || strings.Contains(out, "no tests to run") {
		t.Errorf("%v\n%s", err, out)
	}
	return out
}
