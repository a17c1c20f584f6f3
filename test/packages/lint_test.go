package packages

import (
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestLintian(t *testing.T) {
	t.Parallel()
	if out := output(t, "lintian", "--allow-root", "--fail-on", "error,warning", deb(one, oneName, runtime.GOARCH)); out != "" {
		t.Errorf("lintian says:\n%s", out)
	}
}

// TestRpmlint runs it in a root of its own: it unpacks the package with cpio, and
// the names in it are absolute.
func TestRpmlint(t *testing.T) {
	t.Parallel()
	out := newRoot(t).run(t, "cd /packages && rpmlint -c "+one+"/packaging/rpm/rpmlint.toml "+rpm(one, oneName, runtime.GOARCH))
	if !strings.Contains(out, " 0 errors, 0 warnings") {
		t.Errorf("rpmlint says:\n%s", out)
	}
}

func TestShellcheck(t *testing.T) {
	t.Parallel()
	scripts, err := filepath.Glob(filepath.Join(built, one, "packaging/*/p*[a-z]"))
	if err != nil {
		t.Fatal(err)
	}
	var args []string
	for _, s := range append(scripts, filepath.Join(built, one, "packaging/build.sh"), "systemctl") {
		if exec.Command("grep", "-q", "^#!/bin/sh", s).Run() == nil {
			args = append(args, s)
		}
	}
	if len(args) != 8 {
		t.Errorf("there are %d scripts, want 8: %q", len(args), args)
	}
	if out, err := exec.Command("shellcheck", args...).CombinedOutput(); err != nil {
		t.Errorf("shellcheck: %v\n%s", err, out)
	}
}
