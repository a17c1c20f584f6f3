// Command compat writes the tables of docs/compatibility.md: what programs show
// in containers on cgroup v1 and v2, and what the conformance check finds in
// lxcfs-nri and in lxcfs. The tests that find it out are in this folder, too.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/lxcfs-nri/lxcfs-nri/test/gobuild"
	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
	"github.com/lxcfs-nri/lxcfs-nri/test/vm"
)

// reportMark begins the line in which the tests report.
const reportMark = "compat: "

func main() {
	if len(os.Args) > 1 && runAs(os.Args[1], os.Args[2:]) {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := compat(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "compat:", err)
		os.Exit(1)
	}
}

// compat runs the tests on this machine and on one with cgroup v2, and writes
// the page only if both pass.
func compat(ctx context.Context, log io.Writer) (err error) {
	module, err := gobuild.ModuleDir(ctx)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "lxn-compat-")
	if err != nil {
		return fmt.Errorf("make a folder to build in: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	args, err := build(ctx, module, dir, log)
	if err != nil {
		return err
	}
	// On this machine first: it fetches what the other one finds in the cache.
	fmt.Fprintln(log, "  running the programs on this machine")
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), rig.BinaryVar+"="+filepath.Join(dir, "lxcfs-nri"))
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Stdout, cmd.Stderr = &out, &out
	here, err := reported(&out, cmd.Run())
	if err != nil {
		return err
	}
	fmt.Fprintln(log, "  running them on an emulated one with cgroup v2, which takes minutes")
	out.Reset()
	var script strings.Builder
	fmt.Fprintf(&script, "%s=%s exec", rig.BinaryVar, vm.Quote(filepath.Join(dir, "lxcfs-nri")))
	for _, a := range args {
		fmt.Fprintf(&script, " %s", vm.Quote(a))
	}
	there, err := reported(&out, vm.Run(ctx, vm.Options{Log: log}, script.String(), &out))
	if err != nil {
		return err
	}
	page := filepath.Join(module, "../docs/compatibility.md")
	fmt.Fprintln(log, "  writing", page)
	return write(page, here, there)
}

// build gives the command that runs the tests.
func build(ctx context.Context, module, dir string, log io.Writer) ([]string, error) {
	if _, err := rig.BuildProduct(ctx, dir, log); err != nil {
		return nil, err
	}
	check := gobuild.Build{Name: "conform", Dir: module, Out: dir, Log: log, Pkgs: []string{"./conform"}}
	if err := check.Run(ctx); err != nil {
		return nil, err
	}
	test := filepath.Join(dir, "compat.test")
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-o", test, "./compat")
	cmd.Dir = module
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the tests: %w\n%s", err, out)
	}
	return []string{test, "-test.v", "-test.run", "TestCompatibility", "-all", "-report", "-conform", filepath.Join(dir, "conform")}, nil
}

// reported finds the report in what the tests print; that is shown if they fail.
func reported(out *bytes.Buffer, failed error) (r Run, err error) {
	if failed != nil {
		return r, fmt.Errorf("the tests: %w\n%s", failed, out)
	}
	for line := range strings.Lines(out.String()) {
		if text, ok := strings.CutPrefix(line, reportMark); ok {
			return r, json.Unmarshal([]byte(text), &r)
		}
	}
	return r, fmt.Errorf("the tests passed without a report:\n%s", out)
}
