package node

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"

	"github.com/lxcfs-nri/lxcfs-nri/internal/mounttable"
)

// leaveCgroups moves this process into the cgroups of process 1.
func leaveCgroups() error {
	groups, err := os.ReadFile("/proc/1/cgroup")
	if err != nil {
		return err
	}
	all, err := mounttable.Own(nil)
	if err != nil {
		return err
	}
	reachable := slices.DeleteFunc(slices.Clone(all), func(m *mountinfo.Info) bool { return !mounttable.Reachable(all, m) })
	own := []byte(strconv.Itoa(os.Getpid()))
	var errs []error
	for line := range strings.Lines(string(groups)) {
		// hierarchy:controllers:path, see cgroups(7).
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 {
			continue
		}
		dir, ok := groupDir(reachable, f[1], f[2])
		if !ok {
			continue // not mounted: no runtime has used it either
		}
		errs = append(errs, os.WriteFile(filepath.Join(dir, "cgroup.procs"), own, 0))
	}
	return errors.Join(errs...)
}

// groupDir finds the folder of a group; no controllers are cgroup2's.
func groupDir(mounts []*mountinfo.Info, controllers, path string) (string, bool) {
	for _, m := range mounts {
		if controllers == "" {
			if m.FSType != "cgroup2" {
				continue
			}
		} else if m.FSType != "cgroup" || !slices.Contains(strings.Split(m.VFSOptions, ","), strings.Split(controllers, ",")[0]) {
			continue
		}
		if rel, err := filepath.Rel(m.Root, path); err == nil && filepath.IsLocal(rel) {
			return filepath.Join(m.Mountpoint, rel), true
		}
	}
	return "", false
}
