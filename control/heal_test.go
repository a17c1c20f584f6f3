package control

import (
	"os"
	"strings"
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// TestSource: nobody gets another container's files, whatever a mount says.
func TestSource(t *testing.T) {
	a, _ := attacher(t, "c1", "c2")
	one, two := box(t), box(t)
	register(t, a, "c1", one)
	register(t, a, "created", 0)
	for _, c := range []struct {
		pid        int
		root, want string
	}{
		{one, "/containers/c1/proc/meminfo", "/containers/c1/proc/meminfo"},
		{one, "/containers/c1/proc/stat", ""}, // there is none
		{two, "/containers/c1/proc/meminfo", ""},
		{one, "/containers/c2/proc/meminfo", ""}, // there is one, but whose?
		{two, "/containers/created/proc/meminfo", ""},
		{two, "/proc/meminfo", "/proc/meminfo"}, // the reader's own figures
		{two, "/proc/../containers/c1/proc/meminfo", ""},
		{two, "/containers", ""},
		{two, "/containers/", ""},
		{two, "/containers/..", ""},
		{two, "/", ""},
		{two, "", ""},
	} {
		want := c.want
		if want != "" {
			want = a.Mountpoint + want
		}
		if got := a.healer(false).source(c.pid, c.root); got != want {
			t.Errorf("%s for process %d: got %q, want %q", c.root, c.pid, got, want)
		}
	}
	for _, takeAway := range []bool{false, true} {
		h := a.healer(takeAway)
		if from, replace := h.replaces(one, "/containers/c1/proc/meminfo"); replace {
			t.Errorf("replaced by %q, for a daemon that is not there any more", from)
		}
		h.Daemon = os.Getppid()
		if from, replace := h.replaces(one, "/containers/c1/proc/meminfo"); !replace || from == "" {
			t.Errorf("replaced: %t, by %q, want the container's own", replace, from)
		}
		if from, replace := h.replaces(two, "/containers/c1/proc/meminfo"); replace != takeAway || from != "" {
			t.Errorf("replaced: %t, by %q, want the kernel's own: %t", replace, from, takeAway)
		}
	}
	a.Registry.Remove("c1")
	if got := a.healer(false).source(one, "/containers/c1/proc/meminfo"); got != "" {
		t.Errorf("of a container that is gone: %q", got)
	}
	if _, err := os.Stat(a.Mountpoint + "/containers/c1/proc/meminfo"); err != nil {
		t.Errorf("the file that is not to be had: %v", err)
	}
}

// TestSourceByGroup: a process with a mount namespace of its own gets a container's
// files by the name of its group, if root gave that.
func TestSourceByGroup(t *testing.T) {
	id := strings.Repeat("0a", 32)
	a, _ := attacher(t, id)
	g := fixture.NewGroup(t)
	group := g.Child(t).Named(t, "docker-"+id+".scope")
	h := a.healer(false)
	var err error
	if h.groups, err = view.OpenGroups(); err != nil {
		t.Fatal(err)
	}
	file := "/containers/" + id + "/proc/meminfo"
	if got := h.source(g.StandIn(t, "docker-"+id+".scope"), file); got != "" {
		t.Errorf("a stand-in gets %s", got)
	}
	service := box(t)
	if got := h.source(service, file); got != "" {
		t.Errorf("a process in no group gets %s", got)
	}
	group.Enter(t, service)
	if got := h.source(service, file); got != a.Mountpoint+file {
		t.Errorf("a process of the container gets %q", got)
	}
}
