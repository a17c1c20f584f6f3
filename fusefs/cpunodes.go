package fusefs

import (
	"hash/fnv"
	iofs "io/fs"
	"slices"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// Entries below the CPU directory are numbered by what they are: a bit that
// says so, the CPU's number plus one (0: none), and a hash of the path
// (0: the CPU's directory itself). A process that did not give out a number
// finds its path by hashing those there are.
const (
	cpuNodeBit  = 1 << 39
	cpuShift    = 26
	cpuPathMask = 1<<cpuShift - 1
	maxCPUs     = 1<<(39-cpuShift) - 2
)

// cpuPaths knows which path a hash stands for: some hundreds, as many as the
// host's directory has.
type cpuPaths struct {
	mu     sync.Mutex
	byHash map[uint64]string
	walk   sync.Once // of the host's directory; who comes meanwhile waits for it
}

func (p *cpuPaths) of(hash uint64) (path string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	path, ok = p.byHash[hash]
	return path, ok
}

func hashCPUPath(path string) uint64 {
	if path == "" {
		return 0
	}
	h := fnv.New64a()
	h.Write([]byte(path))
	return max(1, h.Sum64()&cpuPathMask)
}

// cpuNumber numbers an entry that exists. It fails for a path whose hash
// another one has, which 26 bits make as good as impossible.
func (fs *FileSystem) cpuNumber(n view.CPUNode) (uint64, bool) {
	if n.CPU > maxCPUs {
		return 0, false
	}
	hash := hashCPUPath(n.Path)
	p := &fs.cpuPaths
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byHash == nil {
		p.byHash = map[uint64]string{0: ""}
	}
	if known, ok := p.byHash[hash]; ok && known != n.Path {
		return 0, false
	}
	p.byHash[hash] = n.Path
	return cpuNodeBit | uint64(n.CPU+1)<<cpuShift | hash, true
}

// cpuNode is what a number stands for.
func (fs *FileSystem) cpuNode(number uint64) (view.CPUNode, bool) {
	hash := number & cpuPathMask
	path, ok := fs.cpuPaths.of(hash)
	if !ok {
		fs.cpuPaths.walk.Do(fs.numberCPUPaths)
		path, ok = fs.cpuPaths.of(hash)
	}
	cpu := int(number&^cpuNodeBit>>cpuShift) - 1
	return view.CPUNode{CPU: cpu, Path: path}, ok
}

// numberCPUPaths numbers all that the host has.
func (fs *FileSystem) numberCPUPaths() {
	all, err := fs.registry.CPUPaths()
	if err != nil {
		fs.log.Warn("listing the CPU directory", "error", err)
	}
	slices.Sort(all)
	for _, path := range append(all, "") {
		fs.cpuNumber(view.CPUNode{CPU: -1, Path: path})
	}
}

// lookupCPU finds an entry. What the directory of a CPU has changes as the CPU goes
// off-line by a limit, so names are held as long as sizes are.
func (fs *FileSystem) lookupCPU(v *view.View, n view.CPUNode, viewNumber, pid uint32, out *fuse.EntryOut) fuse.Status {
	v, err := fs.viewOf(&node{view: v}, pid)
	if err != nil {
		return errno(err)
	}
	mode, target, err := v.CPUEntry(n)
	if err != nil {
		return errno(err)
	}
	number, ok := fs.cpuNumber(n)
	if !ok {
		return fuse.ENOENT
	}
	out.NodeId = nodeID(viewNumber, number)
	size := unknownSize
	if target != "" {
		size = len(target)
	}
	fs.attr(out.NodeId, unixMode(mode), size, &out.Attr)
	if viewNumber != 0 {
		out.SetEntryTimeout(sizeHolds)
	}
	return fuse.OK
}

// cpuAttr tells mode and, of a symbolic link, size.
func (fs *FileSystem) cpuAttr(n *node, pid uint32) (mode uint32, size int, status fuse.Status) {
	v, err := fs.viewOf(n, pid)
	if err != nil {
		return 0, 0, errno(err)
	}
	m, target, err := v.CPUEntry(*n.cpu)
	if err != nil {
		return 0, 0, errno(err)
	}
	if size = unknownSize; target != "" {
		size = len(target)
	}
	return unixMode(m), size, fuse.OK
}

func (fs *FileSystem) readlinkCPU(n *node, pid uint32) ([]byte, fuse.Status) {
	v, err := fs.viewOf(n, pid)
	if err != nil {
		return nil, errno(err)
	}
	_, target, err := v.CPUEntry(*n.cpu)
	switch {
	case err != nil:
		return nil, errno(err)
	case target == "":
		return nil, fuse.EINVAL
	}
	return []byte(target), fuse.OK
}

// listCPU adds the host's entries to those in all.
func (fs *FileSystem) listCPU(all []fuse.DirEntry, n *node, viewNumber, pid uint32) ([]fuse.DirEntry, error) {
	v, err := fs.viewOf(n, pid)
	if err != nil {
		return nil, err
	}
	entries, err := v.CPUList(*n.cpu)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if slices.ContainsFunc(all, func(have fuse.DirEntry) bool { return have.Name == e.Name }) {
			continue
		}
		number, ok := fs.cpuNumber(n.cpu.Child(e.Name))
		if ok {
			all = append(all, fuse.DirEntry{Name: e.Name, Mode: unixMode(e.Type), Ino: nodeID(viewNumber, number)})
		}
	}
	return all, nil
}

// unixMode is a mode as the kernel has it.
func unixMode(m iofs.FileMode) uint32 {
	mode := uint32(m.Perm())
	switch m.Type() {
	case iofs.ModeDir:
		return mode | unix.S_IFDIR
	case iofs.ModeSymlink:
		return mode | unix.S_IFLNK
	}
	return mode | unix.S_IFREG
}
