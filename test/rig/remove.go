package rig

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// remove takes away whatever is left of a rig, by its folder and cgroup alone.
// In this order: nothing may write to the folder, and no process be in the
// cgroups, when they go.
func (r *Rig) remove() error {
	sockets := r.shimSockets()
	err := killAll(func() ([]int, error) { return processes(r.Dir) })
	if err != nil {
		return err
	}
	if err := killAll(func() ([]int, error) { return cgroupProcesses(r.CgroupParent) }); err != nil {
		return err
	}
	for _, s := range sockets {
		if err := os.Remove(s); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove a shim's socket: %w", err)
		}
	}
	if err := RemoveCgroups(r.CgroupParent, 10*time.Second); err != nil {
		return err
	}
	if err := unmountBelow(r.Dir); err != nil {
		return err
	}
	// With a mount left, RemoveAll would delete what is mounted.
	if left, err := leftMounts(r.Dir); err != nil || len(left) > 0 {
		return errors.Join(err, fmt.Errorf("%s stays, since there are still mounts: %s", r.Dir, strings.Join(left, "; ")))
	}
	if err := os.RemoveAll(r.Dir); err != nil {
		return fmt.Errorf("remove the rig's folder: %w", err)
	}
	return nil
}

// shimSockets lists the sockets of shims, which containerd keeps outside of its
// state folder and a shim that is killed leaves behind.
func (r *Rig) shimSockets() []string {
	files, _ := filepath.Glob(filepath.Join(r.Dir, "state", "io.containerd.runtime.v2.task", "*", "*", "bootstrap.json"))
	var sockets []string
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // its container has just gone
		}
		var boot struct {
			Address string `json:"address"`
		}
		if json.Unmarshal(b, &boot) != nil {
			continue
		}
		if path, ok := strings.CutPrefix(boot.Address, "unix://"); ok {
			sockets = append(sockets, path)
		}
	}
	return sockets
}

// leftMounts lists the mounts that have to do with a folder, wherever they are.
func leftMounts(dir string) ([]string, error) {
	mounts, err := readMounts()
	if err != nil {
		return nil, err
	}
	var left []string
	for _, m := range mounts {
		if strings.Contains(m.line, dir) {
			left = append(left, m.line)
		}
	}
	return left, nil
}

// Leftovers lists what is there of a rig: mounts, cgroups, processes, its
// folder. After Close there must be nothing.
func (r *Rig) Leftovers() ([]string, error) {
	var left []string
	mounts, err := leftMounts(r.Dir)
	if err != nil {
		return nil, err
	}
	for _, m := range mounts {
		left = append(left, "mount: "+m)
	}
	dirs, err := cgroupDirs(r.CgroupParent)
	if err != nil {
		return nil, err
	}
	for _, d := range dirs {
		left = append(left, "cgroup: "+d)
	}
	pids, err := processes(r.Dir)
	if err != nil {
		return nil, err
	}
	for _, pid := range pids {
		left = append(left, fmt.Sprintf("process: %d", pid))
	}
	if _, err := os.Lstat(r.Dir); err == nil {
		left = append(left, "folder: "+r.Dir)
	}
	return left, nil
}
