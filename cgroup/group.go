package cgroup

import (
	"cmp"
	"errors"
	"os"
	"path"
	"path/filepath"
)

// Group is one container's group in every hierarchy that matters here. Its
// methods may be called from many goroutines; Close ends it.
type Group struct {
	fs    *FS
	paths Paths
	dirs  map[string]uint64 // its own, and their inodes when the group was opened

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
	p := Paths{V1: map[string]string{}}
	for c := range fs.v1 {
		p.V1[c] = at
	}
	if fs.unified != "" {
		p.Unified = at
	}
	g := fs.GroupAt(p)
	if g.Gone() {
		g.Close()
		return nil, ErrGone
	}
	return g, nil
}

// GroupAt opens the group at the given paths. No file is read yet.
func (fs *FS) GroupAt(p Paths) *Group {
	g := &Group{fs: fs, paths: p, dirs: map[string]uint64{}}
	g.identify()
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

// identify notes which directories the group has now.
func (g *Group) identify() {
	of := map[string]uint64{}
	for _, c := range []string{"memory", "cpu", "cpuacct", "cpuset", "blkio", "pids"} {
		if own, ok := g.own(c); ok {
			of[c], _ = inode(own.dir) // 0 if it does not exist
			g.dirs[own.dir] = of[c]
		}
	}
	g.inode = cmp.Or(of["memory"], of["cpu"])
	g.usageID = of["cpu"]*31 + of["cpuacct"]
}

// place is one directory of one controller's hierarchy.
type place struct {
	g    *Group
	path string // in the hierarchy
	dir  string
	v2   bool
}

func (p place) file(name string) *file {
	f := p.g.fs.file(filepath.Join(p.dir, name))
	p.g.held = append(p.g.held, f)
	return f
}

// own gives the group's own directory for a controller.
func (g *Group) own(controller string) (place, bool) {
	dir, at, v2, ok := g.fs.directory(g.paths, controller)
	return place{g: g, path: at, dir: dir, v2: v2}, ok
}

// levelsOf makes a controller's levels. The v2 root is left out: it has no
// limits, and its counters are the host's.
func levelsOf[T any](g *Group, controller string, level func(place) T) []T {
	own, ok := g.own(controller)
	if !ok || (own.v2 && !g.fs.v2[controller]) {
		return nil
	}
	var all []T
	dir := own.dir
	for _, at := range ancestors(own.path) {
		if own.v2 && at == "/" {
			break
		}
		all = append(all, level(place{g: g, path: at, dir: dir, v2: own.v2}))
		dir = path.Dir(dir)
	}
	return all
}

// Path names the group, as the hierarchy with the memory controller has it.
func (g *Group) Path() string {
	if len(g.memory) > 0 {
		return g.memory[0].path
	}
	if g.paths.Unified != "" {
		return g.paths.Unified
	}
	return g.paths.V1["cpu"]
}

// Inode distinguishes the group from a later one of the same path; 0 for one that
// did not exist when it was opened.
func (g *Group) Inode() uint64 { return g.inode }

// UsageID distinguishes groups by where their CPUUsage is counted.
func (g *Group) UsageID() uint64 { return g.usageID }

// Root says that the group is the root of the hierarchy: no container's.
func (g *Group) Root() bool { return g.Path() == "/" }

// Gone reports whether the group was removed, also if another one has its path by
// now. Runtimes remove a v1 container's directories one after the other, so one that
// is missing is enough.
func (g *Group) Gone() bool {
	for dir, was := range g.dirs {
		now, err := inode(dir)
		if errors.Is(err, os.ErrNotExist) || err == nil && now != was {
			return true
		}
	}
	return false
}

// Close gives the group's descriptors back. Reads under way finish.
func (g *Group) Close() {
	for _, f := range g.held {
		f.release()
	}
}
