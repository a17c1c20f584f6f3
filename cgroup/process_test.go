package cgroup

import (
	"errors"
	"fmt"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
)

// TestLeave: a container is where its init is, in each hierarchy, except for what it
// makes below its own group.
func TestLeave(t *testing.T) {
	in := func(unified, memory, cpu string) Paths {
		return Paths{Unified: unified, V1: map[string]string{"memory": memory, "cpu": cpu, "name=systemd": "/s"}}
	}
	own := in("/a/b", "/a/b", "/a/b")
	for _, c := range []struct {
		now, want Paths
		left      bool
	}{
		{own, own, false},
		{in("/a/b/init.scope", "/a/b/c/d", "/a/b"), own, false},
		{in("/a/bc", "/a/b", "/a/b"), in("/a/bc", "/a/b", "/a/b"), true},
		{in("/a/b", "/a", "/a/b/c"), in("/a/b", "/a", "/a/b"), true},
		{in("/a/b", "/a/b", "/"), in("/a/b", "/a/b", "/"), true},
		{in("/x/a/b", "/x/a/b", "/x/a/b"), in("/x/a/b", "/x/a/b", "/x/a/b"), true},
	} {
		for systemd := range 2 {
			now := Paths{Unified: c.now.Unified, V1: maps.Clone(c.now.V1)}
			now.V1["name=systemd"] = fmt.Sprint("/s", systemd)
			want := Paths{Unified: c.want.Unified, V1: maps.Clone(c.want.V1)}
			want.V1["name=systemd"] = now.V1["name=systemd"]
			left := now.leave(own)
			if diff := cmp.Diff(want, now); left != c.left || diff != "" {
				t.Errorf("%+v: left %t, want %t: %s", c.now, left, c.left, diff)
			}
		}
	}
	root := in("/", "/", "/")
	if now := in("/a", "/", "/"); !now.leave(root) || now.Unified != "/a" {
		t.Error("what is below the root is out of it")
	}
}

// TestProcess follows one to its end, with descriptors kept and without.
func TestProcess(t *testing.T) {
	for _, kept := range []int64{100, 0} {
		fs := machine(t)
		fs.maxKept = kept
		a, b := fixture.NewGroup(t), fixture.NewGroup(t)
		cmd := a.Command("sh", "-c", "echo ready; exec sleep infinity")
		fixture.Start(t, cmd)
		p, err := fs.Process(cmd.Process.Pid, a.Name)
		if err != nil {
			t.Fatal(err)
		}
		g, err := p.Group(nil)
		if err != nil || g.Path() != a.Name {
			t.Fatalf("%v, %v", g, err)
		}
		if same, err := p.Group(g); err != nil || same != g {
			t.Errorf("it has not moved: %v, %v", same, err)
		}
		b.Enter(t, cmd.Process.Pid)
		next, err := p.Group(g)
		if err != nil || next == g || next.Path() != b.Name {
			t.Errorf("it has moved: %v, %v", next, err)
		}
		g.Close()
		cmd.Process.Kill() //nolint:errcheck // it is ours
		cmd.Wait()         //nolint:errcheck // ended by a signal
		if g, err := p.Group(next); !errors.Is(err, ErrGone) {
			t.Errorf("it has ended: %v, %v", g, err)
		}
		next.Close()
		p.Close()
		if fs.kept.Load() != 0 || len(fs.files) != 0 {
			t.Errorf("%d descriptors, %d files are left", fs.kept.Load(), len(fs.files))
		}
	}
	if _, err := machine(t).Process(1, "/../.."); err == nil {
		t.Error("a path that leads up is taken")
	}
}

// TestUsageID: groups of all captured machines, with one hierarchy or several, have their
// usage somewhere else.
func TestUsageID(t *testing.T) {
	for _, c := range fixture.All(t, "testdata/*.txtar") {
		fs, err := Open(c.Root)
		if err != nil {
			t.Fatal(err)
		}
		g, err := groupOf(fs, c.PID, "")
		if err != nil {
			t.Fatal(err)
		}
		at := fs.GroupAt(Paths{Unified: "/", V1: map[string]string{"cpu": "/", "cpuacct": "/", "memory": "/"}})
		if g.UsageID() == 0 || g.UsageID() == at.UsageID() {
			t.Errorf("%s: %d in %s, %d in the root", c.Name, g.UsageID(), g.Path(), at.UsageID())
		}
		g.Close()
		at.Close()
	}
}
