package plugin

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/containerd/nri/pkg/api"
	"github.com/google/go-cmp/cmp"

	"github.com/lxcfs-nri/lxcfs-nri/config"
	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// usual are the mounts that containerd gives every container.
func usual() []*api.Mount {
	return []*api.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc"},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs"},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "ro"}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup"},
	}
}

// specPaths are the files that come as mounts of the spec.
func specPaths() []string {
	var all []string
	for _, f := range view.Files {
		if f.Reach == view.SpecMount {
			all = append(all, f.Path)
		}
	}
	return all
}

func destinations(mounts []*api.Mount) []string {
	var all []string
	for _, m := range mounts {
		all = append(all, m.GetDestination())
	}
	return all
}

func TestMounts(t *testing.T) {
	var everything, procOnly, sysOnly []string
	for _, p := range specPaths() {
		everything = append(everything, "/"+p)
		if p[:4] == "proc" {
			procOnly = append(procOnly, "/"+p)
		} else {
			sysOnly = append(sysOnly, "/"+p)
		}
	}
	without := func(all []string, drop string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(p string) bool { return p == drop })
	}
	for _, c := range []struct {
		name string
		spec []*api.Mount
		want []string
	}{
		{"the usual mounts", usual(), everything},
		{"Docker tells of none", nil, everything},
		{"a destination that is taken", append(usual(), &api.Mount{Destination: "/proc/meminfo", Type: "bind"}), without(everything, "/proc/meminfo")},
		{"the same, not cleanly written", append(usual(), &api.Mount{Destination: "/proc//meminfo/", Type: "bind"}), without(everything, "/proc/meminfo")},
		{"a directory above is taken", append(usual(), &api.Mount{Destination: "/sys/devices/system", Type: "bind"}), procOnly},
		{"the host's /proc in place of its own", append(usual()[1:], &api.Mount{Destination: "/proc", Type: "bind", Source: "/proc"}), sysOnly},
		{"no /sys", usual()[:1], procOnly},
		{"the host's /sys, private", append(usual()[:1], &api.Mount{Destination: "/sys", Type: "bind", Options: []string{"rbind", "rprivate"}}), everything},
		{"the host's /sys, shared with it", append(usual()[:1], &api.Mount{Destination: "/sys", Type: "bind", Options: []string{"rbind", "rshared"}}), procOnly},
		{"the host's /proc elsewhere", append(usual(), &api.Mount{Destination: "/host/proc", Type: "bind", Source: "/proc"}), everything},
	} {
		got := destinations(mounts("containerd", "/mnt", specPaths(), &api.Container{Id: "abc", Mounts: c.spec}))
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func TestMountable(t *testing.T) {
	m := newMachine(t)
	cfg := config.Default()
	if diff := cmp.Diff(specPaths(), mountable(&cfg, m.registry)); diff != "" {
		t.Error(diff)
	}
	cfg.Files.Exclude = []string{"proc/meminfo"}
	if got := mountable(&cfg, m.registry); slices.Contains(got, "proc/meminfo") {
		t.Errorf("a file that is not served is to be mounted: %v", got)
	}
	if err := os.Remove(filepath.Join(m.root, "proc/swaps")); err != nil {
		t.Fatal(err)
	}
	if got := mountable(&cfg, m.registry); slices.Contains(got, "proc/swaps") {
		t.Errorf("a file that the kernel does not have is to be mounted: %v", got)
	}
}

func TestMountByRuntime(t *testing.T) {
	for runtime, want := range map[string][]string{
		"containerd": {"bind", "ro", "nosuid", "nodev", "noexec"},
		"cri-o":      {"bind", "ro", "nosuid", "nodev", "noexec"},
		"docker":     {"ro"},
	} {
		m := mounts(runtime, "/mnt", specPaths(), &api.Container{Id: "abc", Mounts: usual()})[0]
		if diff := cmp.Diff(want, m.GetOptions()); diff != "" {
			t.Errorf("%s: %s", runtime, diff)
		}
		if m.GetType() != "bind" || m.GetSource() != "/mnt/containers/abc/"+view.Files[0].Path {
			t.Errorf("%s: %v", runtime, m)
		}
	}
}
