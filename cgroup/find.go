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

	"golang.org/x/sys/unix"
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
	root, ok := fs.searchRoot()
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

// searchRoot returns the directory below which a group is looked for by its name: that
// of the memory controller, or of the first other one that can be reached.
func (fs *FS) searchRoot() (dir string, ok bool) {
	all := fs.mounted().searched()
	if len(all) == 0 {
		return "", false
	}
	return all[0].dir, true
}

// Processes lists those of the group that linux.cgroupsPath names and of its
// descendants, in order, by the first hierarchy that has some; none if there is no
// such group.
func (fs *FS) Processes(cgroupsPath string) []int {
	at, err := SpecPath(cgroupsPath)
	if err != nil || at == "/" {
		return nil
	}
	for _, h := range fs.mounted().searched() {
		if dir, ok := h.directory(h.of(at)); ok {
			if pids := processes(dir); len(pids) > 0 {
				return pids
			}
		}
	}
	return nil
}

// processes lists those of a group and its descendants.
func processes(dir string) (pids []int) {
	list := "cgroup.procs"
	if _, err := os.ReadFile(filepath.Join(dir, list)); errors.Is(err, unix.EOPNOTSUPP) {
		list = "cgroup.threads" // the group is threaded, and so are those below
	}
	err := filepath.WalkDir(dir, func(at string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return fs.SkipDir
		case !e.IsDir():
			return nil
		case len(pids) > maxSearchGroups:
			return fs.SkipAll
		}
		b, err := os.ReadFile(filepath.Join(at, list))
		if err != nil {
			return nil //nolint:nilerr // removed meanwhile
		}
		for line := range lines(b) {
			if pid, err := parseUint(line); err == nil && pid > 0 {
				pids = append(pids, int(pid))
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil
	}
	slices.Sort(pids)
	return pids
}
