package fusefs

import (
	"path"
	"slices"

	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// Numbers in the low half of a node id. They are the same in every process of
// this and later versions: files are counted by their place in view.Files,
// directories by their first mention there.
const (
	rootNumber       = 1 // of the whole tree (FUSE_ROOT_ID) and of each view
	containersNumber = 2
	firstFile        = 1 << 8
	firstDir         = 1 << 16
)

func nodeID(viewNumber, number uint32) uint64 { return uint64(viewNumber)<<32 | uint64(number) }

func splitNode(id uint64) (viewNumber, number uint32) { return uint32(id >> 32), uint32(id) }

// entry is a file or directory of every view.
type entry struct {
	name     string
	file     *view.File // nil for a directory
	parent   uint32
	children []uint32 // in the order of view.Files
}

// tree is the shape that all views share, by number.
type tree map[uint32]*entry

// newTree lays out the files that are served.
func newTree(files []view.File, serves func(string) bool) tree {
	t := tree{rootNumber: {}}
	dirs := map[string]uint32{".": rootNumber}
	nextDir := uint32(firstDir)
	for i := range files {
		f := &files[i]
		at := uint32(rootNumber)
		served := serves(f.Path)
		for _, dir := range prefixes(path.Dir(f.Path)) {
			n, ok := dirs[dir]
			if !ok {
				n = nextDir
				nextDir++
				dirs[dir] = n
			}
			if served && t[n] == nil {
				t.add(n, at, &entry{name: path.Base(dir)})
			}
			at = n
		}
		if served {
			t.add(firstFile+uint32(i), at, &entry{name: path.Base(f.Path), file: f})
		}
	}
	return t
}

func (t tree) add(number, parent uint32, e *entry) {
	e.parent = parent
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
func (t tree) child(number uint32, name string) (uint32, bool) {
	e := t[number]
	if e == nil {
		return 0, false
	}
	i := slices.IndexFunc(e.children, func(c uint32) bool { return t[c].name == name })
	if i < 0 {
		return 0, false
	}
	return e.children[i], true
}
