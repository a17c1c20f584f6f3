package fusefs

import (
	"path"
	"slices"

	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// Numbers in the low 40 bits of a node id. They are the same in every process
// of this and later versions: files are counted by their place in view.Files,
// directories by their first mention there; cpunodes.go numbers the rest.
const (
	rootNumber       = 1 // of the whole tree (FUSE_ROOT_ID) and of each view
	containersNumber = 2
	firstFile        = 1 << 8
	firstDir         = 1 << 16
)

// viewShift leaves 24 bits to the number of a view (view.MaxNumber).
const viewShift = 40

func nodeID(viewNumber uint32, number uint64) uint64 {
	return uint64(viewNumber)<<viewShift | number
}

func splitNode(id uint64) (viewNumber uint32, number uint64) {
	return uint32(id >> viewShift), id & (1<<viewShift - 1)
}

// entry is a file or directory of every view.
type entry struct {
	name     string
	file     *view.File // nil for a directory
	mode     uint32     // of a file
	children []uint64   // in the order of view.Files
	cpuDir   bool       // holds more: the host's entries
}

// tree is the shape that all views share, by number.
type tree map[uint64]*entry

// newTree lays out the files that are served.
func newTree(files []view.File, serves func(*view.File) bool, mode func(*view.File) uint32) tree {
	t := tree{rootNumber: {}}
	dirs := map[string]uint64{".": rootNumber}
	nextDir := uint64(firstDir)
	for i := range files {
		f := &files[i]
		at := uint64(rootNumber)
		served := serves(f)
		if f.Reach == view.Inside {
			served = slices.ContainsFunc(files, func(dir view.File) bool { return dir.Path == path.Dir(f.Path) && serves(&dir) })
		}
		for _, dir := range prefixes(path.Dir(f.Path)) {
			n, ok := dirs[dir]
			if !ok {
				n = nextDir
				nextDir++
				dirs[dir] = n
			}
			if served && t[n] == nil {
				t.add(n, at, &entry{name: path.Base(dir), cpuDir: dir == view.CPUDir})
			}
			at = n
		}
		if served && f.Append != nil {
			t.add(firstFile+uint64(i), at, &entry{name: path.Base(f.Path), file: f, mode: mode(f)})
		}
	}
	return t
}

func (t tree) add(number, parent uint64, e *entry) {
	t[number] = e
	t[parent].children = append(t[parent].children, number)
}

// prefixes gives "a", "a/b", "a/b/c" for "a/b/c".
func prefixes(dir string) []string {
	var all []string
	for i, r := range dir {
		if r == '/' {
			all = append(all, dir[:i])
		}
	}
	return append(all, dir)
}

// child finds a directory's entry by name.
func (t tree) child(number uint64, name string) (uint64, bool) {
	e := t[number]
	if e == nil {
		return 0, false
	}
	i := slices.IndexFunc(e.children, func(c uint64) bool { return t[c].name == name })
	if i < 0 {
		return 0, false
	}
	return e.children[i], true
}
