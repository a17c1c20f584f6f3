package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/test/box"
	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

var (
	all     = flag.Bool("all", false, "run the large programs as well")
	conform = flag.String("conform", "", "`PROGRAM` that checks a tree of files; its findings are reported")
	report  = flag.Bool("report", false, "print what was shown, as JSON")

	daemon *rig.Daemon
	result Run
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && runAs(os.Args[1], os.Args[2:]) {
		return
	}
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) (code int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, "compat:", err)
		return 1
	}
	dir, err := os.MkdirTemp("", "lxn-compat-")
	if err != nil {
		return fail(err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // nothing to lose
	binary, err := rig.BuildProduct(ctx, dir, os.Stderr)
	if err != nil {
		return fail(err)
	}
	if daemon, err = rig.Serve(ctx, dir, binary, "", rig.NoRuntime); err != nil {
		return fail(err)
	}
	defer func() {
		if err := daemon.Stop(); err != nil {
			code = fail(err)
		}
	}()
	code = m.Run()
	if *report {
		b, err := json.Marshal(result)
		if err != nil {
			return fail(err)
		}
		fmt.Fprintf(os.Stdout, "\n%s%s\n", reportMark, b)
	}
	return code
}

// TestCompatibility runs every program in its container and compares what it
// tells with the kernel's own figures.
func TestCompatibility(t *testing.T) {
	m, err := thisMachine(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	result.Machine = fmt.Sprintf("Linux %s, %.0f CPUs, %.0f MiB of memory, %.0f MiB of swap", m.kernel, m.cpus, m.total, m.swap)
	if m.cpus < 2 {
		t.Fatal("this machine has one CPU: there is none to take away, use one that has two")
	}
	scenes := map[kind]*scene{load: newLoad(t, m), quota: newQuota(t, m), cpuset: newCPUSet(t, m)}
	// By the time that it is asked for, there has been some load.
	for _, k := range []kind{quota, cpuset, load} {
		for _, p := range table() {
			if p.in == k {
				t.Run(fmt.Sprintf("%s/%s", k, p.name), func(t *testing.T) { scenes[k].check(t, p) })
			}
		}
	}
	result.Cgroups = "v1"
	if scenes[quota].box.Group.File("memory.current") != "" {
		result.Cgroups = "v2"
	}
	if *conform != "" {
		t.Run("trees", func(t *testing.T) { checkTrees(t, *conform) })
	}
}

func table() []program {
	p := slices.Concat(programs, busybox, htop, python, golang, hwloc)
	if *all {
		p = append(p, long...)
	}
	return p
}

// check runs a program and looks at all that it tells.
func (s *scene) check(t *testing.T, p program) {
	w := &s.watch
	w.interval = p.interval
	var out string
	var failed error
	var ended time.Time
	err := w.during(s.box.Group, func() {
		// A program that hangs is not to hold up the others.
		cmd := s.box.Command("timeout", append([]string{"600"}, p.cmd...)...)
		cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC", "TERM=dumb", "DISK="+w.machine.disk)
		out, failed = box.Run(cmd)
		ended = time.Now()
	})
	if err != nil || failed != nil {
		t.Fatalf("%v, %v\n%s", err, failed, out)
	}
	v := versionOf(t, p)
	for _, a := range p.asks {
		got, err := a.read(out, w.machine.disk, ended)
		if err != nil {
			t.Errorf("%s: %v\n%s", a.what.name, err, out)
			continue
		}
		want, tolerance := a.what.truth(w, a.shows)
		if late := a.late.Seconds(); late > 0 {
			tolerance += late
		}
		if !want.has(got, tolerance) {
			t.Errorf("%s: got %.2f, want that of the %s, %.2f to %.2f ± %.2f\n%s", a.what.name, got, a.shows, want.least, want.most, tolerance, out)
		}
		result.Shown = append(result.Shown, Shown{
			Program: p.name, Version: v, Container: string(p.in), Asks: a.what.name, From: a.from,
			Whose: string(a.shows), Value: a.what.show(got), Remark: a.remark,
		})
	}
}

// versionOf is the program's own, without what a distribution adds.
func versionOf(t *testing.T, p program) string {
	t.Helper()
	args := p.version
	if p.pkg != "" {
		args = []string{"dpkg-query", "-W", "-f", "${Version}", p.pkg}
	}
	out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).Output()
	if err != nil {
		t.Fatalf("%q: %v: install what make packages-needed does", args, err)
	}
	v := strings.TrimSpace(string(out))
	if _, rest, ok := strings.Cut(v, ":"); ok {
		v = rest
	}
	v, _, _ = strings.Cut(v, "-")
	v, _, _ = strings.Cut(v, "+")
	return strings.TrimPrefix(strings.TrimPrefix(v, "go"), "v")
}
