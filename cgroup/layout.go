package cgroup

import (
	"bytes"
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"

	"github.com/lxcfs-nri/lxcfs-nri/internal/mounttable"
)

// layout is what is mounted where. Of several mounts of one hierarchy those come
// first that have more of it.
type layout struct {
	unified []hierarchy
	v1      map[string][]hierarchy // by controller ("name=systemd" for named hierarchies)
	v2      map[string]bool        // controllers that the cgroup2 root offers; nil: unknown
	// nsdelegate: cgroup namespaces are delegation boundaries (cgroup-v2.rst, "Model
	// of Delegation").
	nsdelegate bool
}

// hierarchy is a mount of a hierarchy, or of a part of one.
type hierarchy struct {
	dir      string
	info     os.FileInfo // of dir, when it was found
	root     string      // the group that is mounted, by its path in /proc/<pid>/cgroup
	v2       bool
	noPrefix bool // file names lack the controller's
}

// unified stands for cgroup2 in place of a controller.
const unified = ""

// notControllers are mount options of v1 that name no hierarchy (cgroup1_show_options
// in kernel/cgroup/cgroup-v1.c).
var notControllers = []string{"", "rw", "ro", "seclabel", "noprefix", "xattr", "clone_children", "cpuset_v2_mode", "favordynmods"}

// newLayout takes the hierarchies of a mount table that can be reached.
func newLayout(root string, mounts []*mountinfo.Info) *layout {
	l := &layout{v1: map[string][]hierarchy{}}
	for _, m := range mounts {
		// "cpuset" is the file system that came before cgroups (cpuset(7)).
		if slices.Contains([]string{"cgroup", "cgroup2", "cpuset"}, m.FSType) && mounttable.Reachable(mounts, m) {
			l.add(root, m)
		}
	}
	slices.SortStableFunc(l.unified, wider)
	for _, all := range l.v1 {
		slices.SortStableFunc(all, wider)
	}
	for i := range l.unified {
		if b, err := os.ReadFile(filepath.Join(l.unified[i].dir, "cgroup.controllers")); err == nil && l.v2 == nil {
			l.v2 = map[string]bool{}
			for c := range bytes.FieldsSeq(b) {
				l.v2[string(c)] = true
			}
		}
	}
	return l
}

func (l *layout) add(root string, m *mountinfo.Info) {
	h := hierarchy{dir: filepath.Join(root, m.Mountpoint), root: m.Root, v2: m.FSType == "cgroup2"}
	var err error
	if h.info, err = os.Stat(h.dir); err != nil || !h.info.IsDir() {
		return
	}
	options := strings.Split(m.VFSOptions, ",")
	if h.v2 {
		l.unified = append(l.unified, h)
		l.nsdelegate = slices.Contains(options, "nsdelegate")
		return
	}
	h.noPrefix = slices.Contains(options, "noprefix")
	for _, o := range options {
		if !slices.Contains(notControllers, o) && !strings.HasPrefix(o, "release_agent=") {
			l.v1[o] = append(l.v1[o], h)
		}
	}
}

func (l *layout) empty() bool { return len(l.v1) == 0 && len(l.unified) == 0 }

// offers reports whether groups of cgroup2 may have a controller.
func (l *layout) offers(controller string) bool { return l.v2 == nil || l.v2[controller] }

// find finds a group's directory for a controller. A controller is in one hierarchy
// only; v1 is asked first, since a v1 mount takes it from cgroup2. It reports false
// if no mount has the group.
func (l *layout) find(p Paths, controller string) (place, bool) {
	at, mounts := p.V1[controller], l.v1[controller]
	if len(mounts) == 0 {
		at, mounts = p.Unified, l.unified
	}
	for i := range mounts {
		if dir, ok := mounts[i].directory(at); ok {
			return place{h: &mounts[i], path: at, dir: dir}, true
		}
	}
	return place{}, false
}

// exists reports whether there is a group of that path in a controller's hierarchy.
func (l *layout) exists(controller, at string) bool {
	p, ok := l.find(Paths{Unified: at, V1: map[string]string{controller: at}}, controller)
	if !ok {
		return false
	}
	_, err := os.Stat(p.dir)
	return err == nil
}

// everywhere is where a group may be, by preference.
var everywhere = append(slices.Clip(controllers), unified)

// controllers are those that groups are read for.
var controllers = []string{"memory", "cpu", "cpuacct", "cpuset", "blkio", "pids"}

// innermost finds the directory of a group in the hierarchy where its path is
// longest: in others a process may be in an ancestor's group only. It has no hierarchy
// if none can be reached.
func (l *layout) innermost(p Paths) (best place) {
	for _, c := range everywhere {
		at, found := l.find(p, c)
		if found && (best.h == nil || isAbove(best.path, at.path)) {
			best = at
		}
	}
	return best
}

// nearest returns the path of the group that linux.cgroupsPath names, or else of its
// nearest ancestor that exists; "" if no mount has it.
func nearest(mounts []hierarchy, spec string) (at string, exists bool) {
	for i := range mounts {
		h := &mounts[i]
		at = h.of(spec)
		dir, ok := h.directory(at)
		if !ok {
			continue
		}
		for exists = true; ; exists = false {
			if _, err := os.Stat(dir); err == nil || at == h.root {
				return at, exists
			}
			at, dir = above(at), filepath.Dir(dir)
		}
	}
	return "", false
}

// searched returns one mount of each hierarchy, in the order in which a container's
// group is looked for.
func (l *layout) searched() (all []*hierarchy) {
	for _, c := range everywhere {
		mounts := l.v1[c]
		if c == unified {
			mounts = l.unified
		}
		if len(mounts) > 0 && !slices.ContainsFunc(all, func(h *hierarchy) bool { return h.dir == mounts[0].dir }) {
			all = append(all, &mounts[0])
		}
	}
	return all
}

// directory returns the directory of the group at a path; it reports false for a
// group that is not in the mounted part.
func (h *hierarchy) directory(at string) (string, bool) {
	below, ok := strings.CutPrefix(at, strings.TrimSuffix(h.root, "/"))
	switch {
	case !ok || at == "", below != "" && below[0] != '/', outwards(below) > 0:
		return "", false
	}
	return filepath.Join(h.dir, below), true
}

// of returns the path in /proc/<pid>/cgroup of a group that a runtime names. In a
// cgroup namespace the host's root is some levels up (cgroup_namespaces(7)).
func (h *hierarchy) of(spec string) string {
	if outwards(h.root) > 0 {
		return h.root + strings.TrimSuffix(spec, "/")
	}
	return spec
}

// isMounted reports whether the directory still is the hierarchy's.
func (h *hierarchy) isMounted() bool {
	now, err := os.Stat(h.dir)
	return err == nil && os.SameFile(now, h.info)
}

// wider orders mounts of a hierarchy by how much they have of it.
func wider(a, b hierarchy) int {
	return cmp.Or(cmp.Compare(outwards(b.root), outwards(a.root)), cmp.Compare(len(a.root), len(b.root)))
}

// outwards counts the levels that a path leads out of the cgroup namespace.
func outwards(p string) (n int) {
	for p == "/.." || strings.HasPrefix(p, "/../") {
		p = p[len("/.."):]
		n++
	}
	return n
}

// above returns the path of a group's parent; the root's is the root.
func above(at string) string {
	return cmp.Or(at[:strings.LastIndexByte(at, '/')], "/")
}

// isAbove reports whether a group is an ancestor of another.
func isAbove(at, other string) bool {
	return at != other && (at == "/" || strings.HasPrefix(other, at+"/"))
}
