package vm

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestExitStatus(t *testing.T) {
	var out bytes.Buffer
	err := Run(t.Context(), Options{Log: t.Output()}, "stat -fc %t /sys/fs/cgroup; head -n 1 /proc/pressure/cpu; exit 3", &out)
	if status, ok := errors.AsType[ExitError](err); !ok || status != 3 {
		t.Errorf("got %v, want exit status 3", err)
	}
	if got := out.String(); !strings.HasPrefix(got, "63677270\nsome ") {
		t.Errorf("no cgroup2 or no PSI: %q", got)
	}
}

// TestProduct runs the product's own tests on pure cgroup v2.
func TestProduct(t *testing.T) {
	packages := []string{"cgroup", "view", "fusefs", "plugin", "control", "cmd/lxcfs-nri"}
	dir := t.TempDir()
	args := []string{"test", "-c", "-o", dir + "/"}
	for _, p := range packages {
		args = append(args, "./"+p)
	}
	build := exec.CommandContext(t.Context(), "go", args...)
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the tests: %v\n%s", err, out)
	}
	var script strings.Builder
	script.WriteString("rc=0\n")
	for _, p := range packages {
		fmt.Fprintf(&script, "echo '== %s'; (cd ../../%[1]s && %s) || rc=1\n", p, Quote(filepath.Join(dir, filepath.Base(p)+".test")))
	}
	script.WriteString("exit $rc\n")
	var out bytes.Buffer
	if err := Run(t.Context(), Options{Log: t.Output()}, script.String(), &out); err != nil {
		t.Errorf("%v\n%s", err, &out)
	}
	if n := strings.Count(out.String(), "PASS"); n != len(packages) {
		t.Errorf("%d of %d packages ended with PASS:\n%s", n, len(packages), &out)
	}
}
