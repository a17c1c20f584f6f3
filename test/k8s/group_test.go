package k8s

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

// groupPrefix begins the name of the cgroup that all pods are in.
const groupPrefix = "lxcfs-nri-k8s-"

func group(pid int) string { return groupPrefix + strconv.Itoa(pid) }

// hierarchies are the folders of all that is mounted, v1 and v2.
func hierarchies() ([]string, error) {
	b, err := os.ReadFile("/proc/self/mounts")
	var dirs []string
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 2 && (f[2] == "cgroup" || f[2] == "cgroup2") && !slices.Contains(dirs, f[1]) {
			dirs = append(dirs, f[1])
		}
	}
	return dirs, err
}

// makeGroup makes a cgroup that the kubelet takes as its root.
func makeGroup(name string) error {
	dirs, err := hierarchies()
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

// removeGroup removes it, with those below, when the processes in them are gone.
func removeGroup(name string) error {
	dirs, err := hierarchies()
	if err != nil {
		return err
	}
	return rig.Poll(context.Background(), 20*time.Second, func() error {
		for _, dir := range dirs {
			var below []string
			err := filepath.WalkDir(filepath.Join(dir, name), func(path string, d fs.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					below = append(below, path)
				}
				if errors.Is(err, fs.ErrNotExist) {
					err = nil
				}
				return err
			})
			if err != nil {
				return err
			}
			for _, path := range slices.Backward(below) {
				if err := unix.Rmdir(path); err != nil && !errors.Is(err, unix.ENOENT) {
					return fmt.Errorf("remove %s: %w", path, err)
				}
			}
		}
		return nil
	})
}
