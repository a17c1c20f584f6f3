package k8s

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

// groupPrefix begins the name of the cgroup that all pods are in.
const groupPrefix = "lxcfs-nri-k8s-"

func group(pid int) string { return groupPrefix + strconv.Itoa(pid) }

// makeGroup makes a cgroup that the kubelet takes as its root.
func makeGroup(name string) error {
	dirs, err := rig.CgroupRoots()
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		// Beside v1 hierarchies the kubelet wants nothing of cgroup2.
		if b, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers")); err == nil && len(dirs) == 1 {
			for c := range strings.FieldsSeq(string(b)) {
				if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0o644); err != nil {
					return err
				}
			}
		}
		own := filepath.Join(dir, name)
		if err := os.Mkdir(own, 0o755); err != nil {
			return err
		}
		// A v1 cpuset is empty at first, and takes no process.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			b, err := os.ReadFile(filepath.Join(dir, file))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err := errors.Join(err, os.WriteFile(filepath.Join(own, file), b, 0o644)); err != nil {
				return err
			}
		}
	}
	return nil
}
