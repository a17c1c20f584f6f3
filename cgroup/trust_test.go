package cgroup

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
)

func randomID() string {
	return fmt.Sprintf("%016x%016x%016x%016x", rand.Uint64(), rand.Uint64(), rand.Uint64(), rand.Uint64())
}

// machine opens this machine's hierarchies.
func machine(t *testing.T) *FS {
	t.Helper()
	fs, err := Open("/")
	if err != nil {
		t.Fatal(err)
	}
	return fs
}

// sleeper runs a process in a group.
func sleeper(t *testing.T, g *fixture.Group) (pid int) {
	t.Helper()
	cmd := g.Command("sh", "-c", "echo ready; exec sleep infinity")
	fixture.Start(t, cmd)
	return cmd.Process.Pid
}

func mark(name, value string) func(*testing.T, *fixture.Group) {
	return func(t *testing.T, g *fixture.Group) {
		for _, dir := range g.Dirs() {
			if err := unix.Setxattr(dir, name, []byte(value), 0); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func mode(bits os.FileMode) func(*testing.T, *fixture.Group) {
	return func(t *testing.T, g *fixture.Group) {
		for _, dir := range g.Dirs() {
			if err := os.Chmod(dir, bits); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func owner(uid int) func(*testing.T, *fixture.Group) {
	return func(t *testing.T, g *fixture.Group) { g.Chown(t, uid) }
}

// TestGroupsByID: of the groups that bear a container's id those count that root made,
// where nobody else can make any.
func TestGroupsByID(t *testing.T) {
	fs := machine(t)
	for name, c := range map[string]struct {
		outer, parent string
		onOuter       func(*testing.T, *fixture.Group)
		onParent      func(*testing.T, *fixture.Group)
		onGroup       func(*testing.T, *fixture.Group)
		want          bool
	}{
		"as runtimes make it":                {want: true},
		"a scope, as systemd makes it":       {onGroup: mark("trusted.delegate", "1"), want: true},
		"a scope, for users to see":          {onGroup: mark("user.delegate", "1"), want: true},
		"a pod's slice":                      {parent: "machine-libpod_pod_" + randomID() + ".slice", want: true},
		"parent is not delegated":            {onParent: mark("user.delegate", "0"), want: true},
		"parent is delegated":                {onParent: mark("trusted.delegate", "1")},
		"parent is delegated, says its user": {onParent: mark("user.delegate", "1")},
		"grandparent is delegated":           {onOuter: mark("trusted.delegate", "1")},
		"parent is another's":                {onParent: owner(fixture.Nobody)},
		"grandparent is another's":           {onOuter: owner(fixture.Nobody)},
		"parent for a group of users":        {onParent: mode(0o775)},
		"parent for everybody":               {onParent: mode(0o757)},
		"grandparent for everybody":          {onOuter: mode(0o777)},
		"parent is a container":              {parent: randomID()},
		"grandparent is a container":         {outer: "docker-" + randomID() + ".scope"},
		"it is another's":                    {onGroup: owner(fixture.Nobody)},
		"it is for everybody":                {onGroup: mode(0o777)},
	} {
		t.Run(name, func(t *testing.T) {
			named := func(g *fixture.Group, name string, prepare func(*testing.T, *fixture.Group)) *fixture.Group {
				if name == "" {
					name = "child"
				}
				g = g.Named(t, name)
				if prepare != nil {
					prepare(t, g)
				}
				return g
			}
			id := randomID()
			parent := named(named(fixture.NewGroup(t), c.outer, c.onOuter), c.parent, c.onParent)
			g := named(parent, "docker-"+id+".scope", c.onGroup)
			pid := sleeper(t, g)
			at, pids, err := fs.FindID(id)
			switch {
			case c.want && (err != nil || at != g.Name || len(pids) != 1 || pids[0] != pid):
				t.Errorf("%q, %v, %v, want %q with process %d", at, pids, err, g.Name, pid)
			case !c.want && !errors.Is(err, ErrGone):
				t.Errorf("found: %q, %v, %v", at, pids, err)
			}
			want := map[bool]string{true: id}[c.want]
			if strings.Contains(name, "is a container") {
				want = idIn(c.outer + c.parent)
			}
			if got := fs.ContainerOf(pid); got != want {
				t.Errorf("the process is of container %q, want %q", got, want)
			}
		})
	}
}

// TestGroupOfAUserNamespacesRoot: runtimes give a container's group to its root.
func TestGroupOfAUserNamespacesRoot(t *testing.T) {
	fs, id := machine(t), randomID()
	g := fixture.NewGroup(t).Named(t, id)
	pid, _ := fixture.Process(t, unix.CLONE_NEWUSER, ":")
	g.Enter(t, pid)
	g.Chown(t, 100000)
	if at, _, err := fs.FindID(id); err != nil || at != g.Name {
		t.Errorf("%q, %v", at, err)
	}
	if got := fs.ContainerOf(pid); got != id {
		t.Errorf("the process is of container %q", got)
	}
	g.Chown(t, 100001)
	if at, _, err := fs.FindID(id); !errors.Is(err, ErrGone) {
		t.Errorf("given to another user: %q, %v", at, err)
	}
}

// TestNobodyStandsIn: a user with a delegated group makes one that bears a container's
// id.
func TestNobodyStandsIn(t *testing.T) {
	fs, id := machine(t), randomID()
	g := fixture.NewGroup(t)
	hostile := g.StandIn(t, "docker-"+id+".scope")
	if at, pids, err := fs.FindID(id); !errors.Is(err, ErrGone) {
		t.Errorf("found %q with %v, %v", at, pids, err)
	}
	if got := fs.ContainerOf(hostile); got != "" {
		t.Errorf("its process is of container %s", got)
	}
	real := g.Child(t).Child(t).Named(t, "docker-"+id+".scope") // further in
	pid := sleeper(t, real)
	if at, pids, err := fs.FindID(id); err != nil || at != real.Name || len(pids) != 1 || pids[0] != pid {
		t.Errorf("%q, %v, %v, want %q with process %d", at, pids, err, real.Name, pid)
	}
}

// TestContainerOf: names on the paths of captured machines.
func TestContainerOf(t *testing.T) {
	x, y := randomID(), randomID()
	for cgroups, want := range map[string]string{
		"": "",
		"0::/kubepods.slice/kubepods-pod12.slice/cri-containerd-" + x + ".scope\n": x,
		"0::/kubepods.slice/kubepods-pod12.slice:cri-containerd:" + x + "\n":       x,
		"0::/kubepods/pod12/" + x + "\n":                                           x,
		"5:memory:/docker/" + x + "\n4:cpu,cpuacct:/docker/" + x + "\n0::/\n":      x,
		"0::/machine.slice/libpod-" + x + ".scope/container/init.scope\n":          x,
		"0::/docker/" + x + "/docker/" + y + "\n":                                  x, // the inner one is the outer's to name
		"5:memory:/docker/" + x + "\n4:cpu,cpuacct:/docker/" + y + "\n":            "",
		"0::/user.slice/session-1.scope\n":                                         "",
		"0::/docker/x" + x + "\n":                                                  "",
		"0::/docker/" + x + "0\n":                                                  "",
		"0::/docker/" + strings.ToUpper(x) + "\n":                                  "",
		"0::/gone/" + x + "\n":                                                     "",
	} {
		root := t.TempDir()
		writeFile(t, filepath.Join(root, "proc/self/mountinfo"), "31 23 0:28 / /2 rw - cgroup2 cgroup2 rw\n"+
			"35 31 0:32 / /m rw - cgroup cgroup rw,memory\n36 31 0:33 / /c rw - cgroup cgroup rw,cpu,cpuacct\n")
		writeFile(t, filepath.Join(root, "proc/7/cgroup"), cgroups)
		writeFile(t, filepath.Join(root, "2/cgroup.controllers"), "")
		for line := range strings.Lines(cgroups) {
			f := strings.SplitN(strings.TrimSpace(line), ":", 3)
			mount := map[string]string{"": "2", "memory": "m", "cpu,cpuacct": "c"}[f[1]]
			if !strings.HasPrefix(f[2], "/gone") {
				writeFile(t, filepath.Join(root, mount, f[2], "cgroup.procs"), "7\n")
			}
		}
		fs, err := Open(root)
		if err != nil {
			t.Fatal(err)
		}
		if got := fs.ContainerOf(7); got != want {
			t.Errorf("%q: got %s, want %s", cgroups, got, want)
		}
	}
}
