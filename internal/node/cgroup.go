package node

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// leaveCgroups moves this process into the cgroups of process 1.
func leaveCgroups() error {
	groups, err := os.ReadFile("/proc/1/cgroup")
	if err != nil {
		return err
	}
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return err
	}
	own := []byte(strconv.Itoa(os.Getpid()))
	for line := range strings.Lines(string(groups)) {
		// hierarchy:controllers:path, see cgroups(7).
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			return fmt.Errorf("/proc/1/cgroup: can't make sense of %q", line)
		}
		dir, ok := groupDir(mounts, f[1], f[2])
		if !ok {
			continue // not mounted: no runtime has used it either
		}
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), own, 0); err != nil {
			return err
		}
	}
	return nil
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
		if rel, err := filepath.Rel(m.Root, path); err == nil && !strings.HasPrefix(rel, "..") {
			return filepath.Join(m.Mountpoint, rel), true
		}
	}
	return "", false
}
