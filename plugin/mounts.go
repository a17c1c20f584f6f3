package plugin

import (
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/nri/pkg/api"

	"github.com/lxcfs-nri/lxcfs-nri/config"
	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// mountable are the paths of the files that spec mounts bring into containers.
func mountable(cfg *config.Config, registry *view.Registry) []string {
	var all []string
	for _, f := range registry.Mountable(cfg.Files.Serves) {
		if f.Reach == view.SpecMount {
			all = append(all, f.Path)
		}
	}
	return all
}

// mounts are those to add to a container: one per file. A destination that the
// spec mounts already is left alone, and so is what would not land on the
// container's own /proc or /sys.
func mounts(runtime, mountpoint string, files []string, ctr *api.Container) []*api.Mount {
	var all []*api.Mount
	for _, file := range files {
		destination := "/" + file
		if !lands(destination, ctr.GetMounts()) {
			continue
		}
		all = append(all, &api.Mount{
			Source:      filepath.Join(mountpoint, view.ContainerPath(ctr.GetId(), file)),
			Destination: destination,
			Type:        "bind",
			Options:     mountOptions(runtime),
		})
	}
	return all
}

// mountOptions are those the runtime takes. containerd and CRI-O hand them to
// the OCI runtime, which needs "bind" among them; Docker makes the mount
// itself, and fails the container for any option but "ro".
func mountOptions(runtime string) []string {
	if runtime == Docker {
		return []string{"ro"}
	}
	return []string{"bind", "ro", "nosuid", "nodev", "noexec"}
}

// lands says whether a mount at destination would cover a file of the
// container's own procfs or sysfs. It would not where the spec mounts
// something else there: then the container's author has provided. A host's
// /proc, mounted in place of the container's own, is asked for; a host's /sys
// is what containers get that may not mount their own (user namespaces), and
// good enough unless our mounts would propagate from it to the host.
func lands(destination string, specMounts []*api.Mount) bool {
	if len(specMounts) == 0 { // Docker tells of none
		return true
	}
	var on *api.Mount
	for _, m := range specMounts {
		at := path.Clean(m.GetDestination())
		if at != "/" && covers(at, destination) && (on == nil || len(at) >= len(path.Clean(on.GetDestination()))) {
			on = m
		}
	}
	switch {
	case on == nil:
		return false
	case path.Clean(on.GetDestination()) == "/proc":
		return on.GetType() == "proc"
	case path.Clean(on.GetDestination()) == "/sys":
		return on.GetType() == "sysfs" || !slices.ContainsFunc(on.GetOptions(), func(o string) bool { return o == "shared" || o == "rshared" })
	}
	return false
}

// covers says that at is destination or a directory above it.
func covers(at, destination string) bool {
	return at == destination || strings.HasPrefix(destination, at+"/")
}
