package rig

import (
	"bufio"
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
)

// Limits are those of a container or, written into its cgroup, of a pod. Zero
// means none.
type Limits struct {
	// Memory in bytes.
	Memory int64
	// Quota in microseconds per Period, which is 100 ms if it is zero.
	Quota, Period int64
	// CPUs is a list as in "0-3,7"; containers only.
	CPUs string
}

func (l Limits) period() int64 {
	if l.Period == 0 && l.Quota != 0 {
		return 100_000
	}
	return l.Period
}

// hierarchy is a mounted cgroup hierarchy.
type hierarchy struct {
	dir         string
	v2          bool
	controllers []string
}

func (h hierarchy) has(controller string) bool { return slices.Contains(h.controllers, controller) }

// hierarchies finds what is mounted: v1, v2 or both. A hierarchy without
// controllers counts as well, since runtimes make cgroups there, too.
func hierarchies() ([]hierarchy, error) {
	mounts, err := readMounts()
	if err != nil {
		return nil, err
	}
	var hs []hierarchy
	for _, m := range mounts {
		if slices.ContainsFunc(hs, func(h hierarchy) bool { return h.dir == m.point }) {
			continue
		}
		switch m.fstype {
		case "cgroup":
			hs = append(hs, hierarchy{dir: m.point, controllers: strings.Split(m.options, ",")})
		case "cgroup2":
			b, err := os.ReadFile(filepath.Join(m.point, "cgroup.controllers"))
			if err != nil {
				return nil, fmt.Errorf("read a hierarchy's controllers: %w", err)
			}
			hs = append(hs, hierarchy{dir: m.point, v2: true, controllers: strings.Fields(string(b))})
		}
	}
	return hs, nil
}

// CgroupRoots are the directories of all hierarchies, v1 and v2.
func CgroupRoots() ([]string, error) {
	hs, err := hierarchies()
	var dirs []string
	for _, h := range hs {
		dirs = append(dirs, h.dir)
	}
	return dirs, err
}

// limitCgroup makes the cgroup of a pod and gives it limits, as the kubelet
// does. Without limits the runtime makes it.
func limitCgroup(path string, l Limits) error {
	hs, err := hierarchies()
	if err != nil {
		return err
	}
	var files [][3]string // controller, file, value
	if l.Memory != 0 {
		v := strconv.FormatInt(l.Memory, 10)
		files = append(files, [3]string{"memory", "memory.limit_in_bytes", v}, [3]string{"memory", "memory.max", v})
	}
	if l.Quota != 0 {
		quota, period := strconv.FormatInt(l.Quota, 10), strconv.FormatInt(l.period(), 10)
		files = append(files, [3]string{"cpu", "cpu.cfs_period_us", period}, [3]string{"cpu", "cpu.cfs_quota_us", quota},
			[3]string{"cpu", "cpu.max", quota + " " + period})
	}
	for _, h := range hs {
		for _, f := range files {
			if !h.has(f[0]) || h.v2 != (f[1] == "memory.max" || f[1] == "cpu.max") {
				continue
			}
			dir, err := h.make(path, f[0])
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, f[1]), []byte(f[2]), 0o644); err != nil {
				return fmt.Errorf("limit the pod's cgroup: %w", err)
			}
		}
	}
	return nil
}

// make makes a cgroup; in v2 each level has to pass the controller on.
func (h hierarchy) make(path, controller string) (string, error) {
	dir := h.dir
	for elem := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if h.v2 {
			if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller), 0o644); err != nil {
				return "", fmt.Errorf("pass the %s controller on: %w", controller, err)
			}
		}
		dir = filepath.Join(dir, elem)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", fmt.Errorf("make a cgroup: %w", err)
		}
	}
	return dir, nil
}

// cgroupDirs lists a cgroup and those below it in every hierarchy, the inner
// ones first.
func cgroupDirs(path string) ([]string, error) {
	hs, err := hierarchies()
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, h := range hs {
		err := filepath.WalkDir(filepath.Join(h.dir, path), func(dir string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err == nil && d.IsDir() {
				dirs = append(dirs, dir)
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("list cgroups: %w", err)
		}
	}
	slices.Reverse(dirs)
	return dirs, nil
}

// cgroupProcesses lists the processes in a cgroup and below.
func cgroupProcesses(path string) ([]int, error) {
	dirs, err := cgroupDirs(path)
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, dir := range dirs {
		f, err := os.Open(filepath.Join(dir, "cgroup.procs"))
		if err != nil {
			continue // it has just gone
		}
		for sc := bufio.NewScanner(f); sc.Scan(); {
			// A 0 is a process of another PID namespace.
			if pid, err := strconv.Atoi(sc.Text()); err == nil && pid != 0 && !slices.Contains(pids, pid) {
				pids = append(pids, pid)
			}
		}
		f.Close()
	}
	return pids, nil
}

// RemoveCgroups removes a cgroup and those below it, in every hierarchy. It stays
// busy for a moment after its last process was reaped.
func RemoveCgroups(path string, patience time.Duration) error {
	return Poll(context.Background(), patience, func() error { return removeCgroups(path) })
}

func removeCgroups(path string) error {
	dirs, err := cgroupDirs(path)
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove the cgroup %s: %w", dir, err)
		}
	}
	return nil
}
