package control

import (
	"os"
	"strings"
	"testing"
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

func TestGroupOf(t *testing.T) {
	x, y := strings.Repeat("0a", 32), strings.Repeat("1b", 32)
	for cgroups, want := range map[string]string{
		"": "",
		"0::/kubepods.slice/kubepods-pod12.slice/cri-containerd-" + x + ".scope\n":               x,
		"0::/kubepods/pod12/" + x + "\n":                                                         x,
		"5:memory:/docker/" + x + "\n4:cpu,cpuacct:/docker/" + x + "\n0::/\n":                    x,
		"0::/machine.slice/libpod-" + x + ".scope/container/init.scope\n":                        x,
		"0::/docker/" + x + "/docker/" + y + "\n":                                                x, // the inner one is the outer's to name
		"5:memory:/docker/" + x + "\n4:cpu:/docker/" + y + "\n":                                  "",
		"0::/user.slice/session-1.scope\n":                                                       "",
		"5:memory:/docker/" + y + "\n4:cpu:/\n3:devices:/docker/" + y + "/" + x + "\n0::/init\n": y,
	} {
		if got := groupOf(cgroups); got != want {
			t.Errorf("%q: got %s, want %s", cgroups, got, want)
		}
	}
}
