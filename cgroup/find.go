package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Bounds of a search for a group: a container may make very many below its own.
const (
	maxSearchDepth  = 12
	maxSearchGroups = 50_000
)

// FindID looks for the group that a runtime, as root, has named after a container's id,
// as /docker/<id>, docker-<id>.scope or libpod-<id>. It returns its path, and the
// processes in it and below. Groups that others than root can make are ignored, and so
// is all that is below them. Of several the outermost counts. The error is ErrGone if
// there is none, or one without processes.
func (fs *FS) FindID(id string) (at string, pids []int, err error) {
	root, _, ok := fs.hierarchy("memory")
	if !ok || id == "" {
		return "", nil, fmt.Errorf("container %s: %w", id, ErrGone)
	}
	level, seen := []string{"/"}, 0
	for range maxSearchDepth {
		var next []string
		for _, dir := range level {
			children, err := os.ReadDir(filepath.Join(root, dir))
			if err != nil {
				continue // removed meanwhile
			}
			for _, c := range children {
				if !c.IsDir() {
					continue
				}
				if seen++; seen > maxSearchGroups {
					return "", nil, fmt.Errorf("container %s: not among %d cgroups: %w", id, maxSearchGroups, ErrGone)
				}
				child := path.Join(dir, c.Name())
				if namedAfter(c.Name(), id) {
					if pids := processes(filepath.Join(root, child)); len(pids) > 0 && fs.namedByRoot(filepath.Join(root, child), pids) {
						return child, pids, nil
					}
				} else if closed(filepath.Join(root, child)) {
					next = append(next, child)
				}
			}
		}
		if level = next; len(level) == 0 {
			break
		}
	}
	return "", nil, fmt.Errorf("container %s: %w", id, ErrGone)
}

// namedAfter says that a group is that of a container, and not of its monitor
// (podman's libpod-conmon-<id>.scope).
func namedAfter(name, id string) bool {
	name = strings.TrimSuffix(name, ".scope")
	return name == id || strings.HasSuffix(name, "-"+id) && !strings.Contains(name, "conmon")
}

// Processes lists those of the group that linux.cgroupsPath names and of its
// descendants, in order: none where there is no such group.
func (fs *FS) Processes(cgroupsPath string) []int {
	at, err := SpecPath(cgroupsPath)
	root, _, ok := fs.hierarchy("memory")
	if err != nil || !ok || at == "/" {
		return nil
	}
	return processes(filepath.Join(root, at))
}

// processes lists those of a group and its descendants.
func processes(dir string) (pids []int) {
	err := filepath.WalkDir(dir, func(at string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return fs.SkipDir
		case !e.IsDir():
			return nil
		case len(pids) > maxSearchGroups:
			return fs.SkipAll
		}
		b, err := os.ReadFile(filepath.Join(at, "cgroup.procs"))
		if err != nil {
			return nil //nolint:nilerr // removed meanwhile
		}
		return forLines(b, func(line []byte) error {
			if pid, err := parseUint(line); err == nil && pid > 0 {
				pids = append(pids, int(pid))
			}
			return nil
		})
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil
	}
	slices.Sort(pids)
	return pids
}

// Dir is the directory of the group, in the hierarchy by which its removal is
// noticed; "" where there is none.
func (g *Group) Dir() string {
	for _, c := range []string{"memory", "cpu", "pids"} {
		if p, ok := g.own(c); ok && p.path != "/" {
			return p.dir
		}
	}
	return ""
}
