package cgroup

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Group is one container's group in every hierarchy that matters here. Its
// methods may be called from many goroutines; Close ends it.
type Group struct {
	fs     *FS
	layout *layout
	paths  Paths
	main   place // in the hierarchy where its path is longest

	dirs []ownDir // those of its directories that there were when it was opened
	lost bool     // there was none, though its hierarchies are mounted

	inode, usageID uint64

	memory  []memoryLevel // innermost first, like all levels
	cpu     []cpuLevel
	cpuset  []cpusetLevel
	hugetlb []hugetlbLevel
	usage   usageFiles
	io      ioFiles
	tasks   tasksFiles

	pressure pressureFiles

	held []*file
}

// GroupOfSpec opens the group that linux.cgroupsPath names, for a container
// that has no process yet. The error is ErrGone while it does not exist.
func (fs *FS) GroupOfSpec(spec string) (*Group, error) {
	at, err := SpecPath(spec)
	if err != nil {
		return nil, err
	}
	l := fs.mounted()
	found := l.empty()
	p := Paths{V1: make(map[string]string, len(l.v1))}
	for c, mounts := range l.v1 {
		var exists bool
		p.V1[c], exists = nearest(mounts, at)
		found = found || exists
	}
	var exists bool
	if p.Unified, exists = nearest(l.unified, at); !found && !exists {
		return nil, ErrGone
	}
	return fs.groupAt(l, p), nil
}

// GroupAt opens the group at the given paths. None of its files is read yet.
func (fs *FS) GroupAt(p Paths) *Group { return fs.groupAt(fs.mounted(), p) }

func (fs *FS) groupAt(l *layout, p Paths) *Group {
	g := &Group{fs: fs, layout: l, paths: p}
	g.main = l.innermost(p)
	g.main.g = g
	g.findDirs()
	g.memory = levelsOf(g, "memory", newMemoryLevel)
	g.cpu = levelsOf(g, "cpu", newCPULevel)
	g.cpuset = levelsOf(g, "cpuset", newCPUSetLevel)
	g.hugetlb = levelsOf(g, "hugetlb", newHugetlbLevel)
	g.usage = newUsageFiles(g)
	g.io = newIOFiles(g)
	g.tasks = newTasksFiles(g)
	g.pressure = newPressureFiles(g)
	return g
}

// ownDir is a directory of a group, which a later group can have again.
type ownDir struct {
	place
	inode uint64
}

// findDirs notes which directories the group has now.
func (g *Group) findDirs() {
	g.inode, _ = g.main.inode()
	for _, c := range controllers {
		p, ok := g.own(c)
		if !ok {
			continue
		}
		n, err := p.inode()
		if c == "cpu" || c == "cpuacct" {
			g.usageID = g.usageID*31 + n
		}
		switch {
		case slices.ContainsFunc(g.dirs, func(d ownDir) bool { return d.dir == p.dir }):
		case err == nil:
			g.dirs = append(g.dirs, ownDir{p, n})
		case errors.Is(err, os.ErrNotExist) && p.h.isMounted():
			g.lost = true
		}
	}
	g.lost = g.lost && len(g.dirs) == 0
}

// place is one directory of one controller's hierarchy.
type place struct {
	g    *Group
	h    *hierarchy
	path string // in the hierarchy
	dir  string
}

// file returns a file of the directory, by the name that it has without mount options.
func (p place) file(name string) *file {
	if p.h.noPrefix {
		_, name, _ = strings.Cut(name, ".")
	}
	f := p.g.fs.file(filepath.Join(p.dir, name))
	p.g.held = append(p.g.held, f)
	return f
}

// own returns the group's own directory for a controller; it reports false if that
// can't be reached. It is an ancestor's if the group has none in that hierarchy.
func (g *Group) own(controller string) (place, bool) {
	p, ok := g.layout.find(g.paths, controller)
	p.g = g
	return p, ok
}

// owns is own for what a group uses: neither an ancestor's use is the group's, nor the root's,
// which is the host's.
func (g *Group) owns(controller string) (place, bool) {
	p, ok := g.own(controller)
	return p, ok && p.path != "/" && !isAbove(p.path, g.main.path)
}

// levelsOf makes a controller's levels. The v2 root is left out: it has no
// limits, and its counters are the host's.
func levelsOf[T any](g *Group, controller string, level func(place) T) []T {
	p, ok := g.own(controller)
	if !ok || (p.h.v2 && !g.layout.offers(controller)) {
		return nil
	}
	var all []T
	for !p.h.v2 || p.path != "/" {
		all = append(all, level(p))
		if p.path == p.h.root {
			break
		}
		p.path, p.dir = above(p.path), filepath.Dir(p.dir)
	}
	return all
}

// Path names the group, as the hierarchy has it where its path is longest.
func (g *Group) Path() string { return cmp.Or(g.main.path, g.paths.Unified, g.paths.V1["cpu"]) }

// Inode distinguishes the group from a later one of the same path; 0 for one that
// did not exist when it was opened.
func (g *Group) Inode() uint64 { return g.inode }

// UsageID distinguishes groups by where their CPUUsage is counted.
func (g *Group) UsageID() uint64 { return g.usageID }

// inode returns the inode of the directory.
func (p place) inode() (uint64, error) {
	if p.h == nil {
		return 0, os.ErrNotExist
	}
	var st unix.Stat_t
	err := unix.Stat(p.dir, &st)
	return st.Ino, err
}

// Root reports whether the group is the root of every hierarchy: no container's.
func (g *Group) Root() bool { return g.Path() == "/" }

// Gone reports whether the group was removed, also if another one has its path by
// now. Runtimes remove a v1 container's directories one after the other, so one that
// is missing is enough, if it has been there, and its hierarchy is not hidden or
// unmounted since.
func (g *Group) Gone() bool {
	for i := range g.dirs {
		d := &g.dirs[i]
		now, err := d.place.inode()
		if (errors.Is(err, os.ErrNotExist) || err == nil && now != d.inode) && d.h.isMounted() {
			return true
		}
	}
	return g.lost
}

// Dir returns the directory of the group by which its removal is noticed; "" if it
// has none of its own.
func (g *Group) Dir() string {
	if g.main.path == "/" {
		return ""
	}
	return g.main.dir
}

// Close gives the group's descriptors back. Reads under way finish.
func (g *Group) Close() {
	for _, f := range g.held {
		f.release()
	}
}
