package soak

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/test/gobuild"
)

// TestUpgrade puts another build in the place of the program, and has it started
// instead, forth and back.
func TestUpgrade(t *testing.T) {
	a, b := newContainer(t, "a", 256<<20), newContainer(t, "b", 128<<20)
	dir := newFolder(t)
	builds := [2]string{filepath.Join(dir, "one"), filepath.Join(dir, "two")}
	for _, name := range builds {
		build(t, name)
	}
	program := filepath.Join(dir, "lxcfs-nri")
	link := func(build string) {
		t.Helper()
		if err := os.Link(build, program+".new"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(program+".new", program); err != nil {
			t.Fatal(err)
		}
	}
	link(builds[0])
	known(t, dir, a, b)
	d := supervise(t, dir, program)
	r := busy(t, d, a, b)
	pid := d.ready(t)
	for i := range setup.upgrades {
		link(builds[(i+1)%2])
		sendSignal(t, d.PID(), unix.SIGHUP)
		d.next(t, pid)
		pid = d.ready(t)
		s, err := d.Status(setup.ctx)
		if want := filepath.Base(builds[(i+1)%2]); err != nil || s.Version != want {
			t.Fatalf("version %q serves, want %q (%v)", s.Version, want, err)
		}
	}
	memory := d.bounded(t)
	results.add(setup.upgrades, "upgrade to another build, and back", r.flawless(t), memory)
}

// build makes a program whose version is the last element of its path.
func build(t *testing.T, path string) {
	t.Helper()
	module, err := gobuild.ModuleDir(setup.ctx)
	if err != nil {
		t.Fatal(err)
	}
	b := gobuild.Build{
		Name: "lxcfs-nri, version " + filepath.Base(path), Dir: filepath.Dir(module), Out: path + ".d", Log: os.Stderr,
		Args: []string{"-ldflags", "-X main.version=" + filepath.Base(path)}, Pkgs: []string{"./cmd/lxcfs-nri"},
	}
	if err := b.Run(setup.ctx); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(b.Out, "lxcfs-nri"), path); err != nil {
		t.Fatal(err)
	}
}
