package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
	"github.com/lxcfs-nri/lxcfs-nri/test/lxcfs"
	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

// argument before a root makes the test binary the command itself.
const argument = "conform"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == argument {
		os.Args = os.Args[1:]
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestBareLinux shows that the rules are those of Linux.
func TestBareLinux(t *testing.T) {
	r := check("/", true)
	for _, f := range r.findings {
		t.Error(f)
	}
	if r.checked < 12 {
		t.Errorf("%d files checked; absent: %v", r.checked, r.absent)
	}
}

// inGroup checks a tree in a process of a group, which is what trees that ask
// who reads go by.
func inGroup(t *testing.T, g *fixture.Group, args ...string) (out string, ok bool) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := g.Command(exe, append([]string{argument}, args...)...).CombinedOutput()
	if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
		t.Fatal(err)
	}
	return string(b), err == nil
}

func limited(t *testing.T) *fixture.Group {
	g := fixture.NewGroup(t)
	g.Set(t, "memory.max", "memory.limit_in_bytes", "268435456")
	g.Set(t, "cpu.max", "cpu.cfs_quota_us", "50000")
	return g
}

// serve starts the product's daemon and returns its mount point.
func serve(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	binary, err := rig.BuildProduct(t.Context(), dir, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	d, err := rig.Serve(t.Context(), dir, binary, "", rig.NoRuntime)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
	})
	return d.Mountpoint
}

func TestProduct(t *testing.T) {
	mountpoint := serve(t)
	// Without a limit the host's own files are shown: they must hold as well.
	for name, c := range map[string]struct {
		g    *fixture.Group
		args []string
	}{
		"limited":   {limited(t), nil},
		"unlimited": {fixture.NewGroup(t), []string{"-host"}},
	} {
		t.Run(name, func(t *testing.T) {
			out, ok := inGroup(t, c.g, append(c.args, "-root", mountpoint)...)
			if !ok || strings.Contains(out, "absent: proc/meminfo") {
				t.Error(out)
			}
		})
	}
}

// TestLxcfs shows that the rules find what is wrong, in Debian's lxcfs: the
// comparison of docs/compatibility.md.
func TestLxcfs(t *testing.T) {
	var log bytes.Buffer
	s, err := lxcfs.Start(t.Context(), t.TempDir(), &log)
	if err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	out, ok := inGroup(t, limited(t), "-root", s.Dir)
	t.Log(out)
	if ok || !strings.Contains(out, "proc/meminfo:") {
		t.Errorf("nothing was found in its meminfo:\n%s", out)
	}
}
