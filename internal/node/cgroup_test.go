package node

import (
	"testing"

	"github.com/moby/sys/mountinfo"
)

func TestGroupDir(t *testing.T) {
	v1 := &mountinfo.Info{FSType: "cgroup", Mountpoint: "/sys/fs/cgroup/cpu,cpuacct", Root: "/", VFSOptions: "rw,cpu,cpuacct"}
	named := &mountinfo.Info{FSType: "cgroup", Mountpoint: "/sys/fs/cgroup/systemd", Root: "/", VFSOptions: "rw,xattr,name=systemd"}
	part := &mountinfo.Info{FSType: "cgroup", Mountpoint: "/sys/fs/cgroup/memory", Root: "/node", VFSOptions: "rw,memory"}
	v2 := &mountinfo.Info{FSType: "cgroup2", Mountpoint: "/sys/fs/cgroup/unified", Root: "/", VFSOptions: "rw,nsdelegate"}
	mounts := []*mountinfo.Info{v1, named, part, v2}
	for _, c := range []struct {
		controllers, path, want string
	}{
		{"", "/init.scope", "/sys/fs/cgroup/unified/init.scope"},
		{"cpu,cpuacct", "/", "/sys/fs/cgroup/cpu,cpuacct"},
		{"name=systemd", "/init.scope", "/sys/fs/cgroup/systemd/init.scope"},
		{"memory", "/node/init", "/sys/fs/cgroup/memory/init"},
		{"memory", "/node/..init", "/sys/fs/cgroup/memory/..init"},
		{"memory", "/node/a b:c\\d (deleted)", "/sys/fs/cgroup/memory/a b:c\\d (deleted)"},
		{"memory", "/other", ""},
		{"misc", "/", ""},
	} {
		got, ok := groupDir(mounts, c.controllers, c.path)
		if got != c.want || ok != (c.want != "") {
			t.Errorf("groupDir(%q, %q): got %q, %v; want %q", c.controllers, c.path, got, ok, c.want)
		}
	}
}
