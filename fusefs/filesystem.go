package fusefs

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// How long the kernel may rely on what it was told.
const (
	forever   = time.Hour   // names and directories: node ids never change meaning
	sizeHolds = time.Second // a file's size is that of its content, which changes
)

// unknownSize is told of a file that can't be rendered (yet). It is not 0:
// since Linux 6.5 sendfile(2) stops at the size, and runtimes look at a mount's
// source before the container has a process.
const unknownSize = 4096

// FileSystem answers the kernel's requests.
type FileSystem struct {
	fuse.RawFileSystem // answers ENOSYS to all that is not below

	// SELinuxContext is that of every file, from Mount on; empty: the policy's.
	SELinuxContext string

	registry *view.Registry
	log      *slog.Logger
	tree     tree
	cpuPaths cpuPaths
	callers  callers
	sizes    sizes
	open     *snapshots // set before anything is served
	triggers *triggers  // likewise; nil if the kernel forwards no polls
	handle   atomic.Uint64
	scratch  sync.Pool // of *[]byte, for rendering
}

// New makes a file system over the containers of a registry. serves tells
// which of view.Files are in it; those that this kernel lacks are not.
func New(registry *view.Registry, log *slog.Logger, serves func(path string) bool) *FileSystem {
	return &FileSystem{
		RawFileSystem: fuse.NewDefaultRawFileSystem(),
		registry:      registry,
		log:           log,
		tree:          newTree(view.Files, func(f *view.File) bool { return serves(f.Path) && registry.HostHas(f) }, registry.Mode),
		scratch:       sync.Pool{New: func() any { b := make([]byte, 0, 16<<10); return &b }},
	}
}

// String names the file system in the mount table.
func (fs *FileSystem) String() string { return fsName }

// Lookup finds a name in a directory. It renders nothing: sizes are told by GetAttr.
func (fs *FileSystem) Lookup(_ <-chan struct{}, header *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	n, status := fs.node(header.NodeId)
	if !status.Ok() {
		return status
	}
	if n.containers {
		v := fs.registry.Lookup(name)
		if v == nil {
			return fuse.ENOENT
		}
		// The id may come to mean another run of the container.
		out.NodeId = nodeID(v.Number, rootNumber)
		fs.attr(out.NodeId, unix.S_IFDIR|0o555, 0, &out.Attr)
		return fuse.OK
	}
	viewNumber, number := splitNode(header.NodeId)
	if n.entry != nil {
		child, ok := fs.tree.child(number, name)
		if header.NodeId == fuse.FUSE_ROOT_ID && name == view.ContainersDir {
			child, ok = containersNumber, true
		}
		if ok {
			out.NodeId = nodeID(viewNumber, child)
			out.SetEntryTimeout(forever)
			mode := fs.mode(child)
			fs.attr(out.NodeId, mode, unknownSize, &out.Attr)
			if mode&unix.S_IFMT == unix.S_IFDIR {
				out.SetAttrTimeout(forever)
			}
			return fuse.OK
		}
	}
	if n.cpu == nil {
		return fuse.ENOENT
	}
	return fs.lookupCPU(n.view, n.cpu.Child(name), viewNumber, header.Pid, out)
}

// mode is the type and permissions of an entry of the shared tree.
func (fs *FileSystem) mode(number uint64) uint32 {
	e := fs.tree[number]
	switch {
	case number == containersNumber:
		return unix.S_IFDIR | 0o700
	case e != nil && e.file != nil && fs.triggers == nil:
		return unix.S_IFREG | e.mode&^0o222
	case e != nil && e.file != nil:
		return unix.S_IFREG | e.mode
	}
	return unix.S_IFDIR | 0o555
}

// attr fills attributes.
func (fs *FileSystem) attr(id uint64, mode uint32, size int, out *fuse.Attr) {
	now := time.Now()
	out.SetTimes(&now, &now, &now)
	out.Ino, out.Mode, out.Nlink = id, mode, 1
	if mode&unix.S_IFMT == unix.S_IFDIR {
		out.Nlink, size = 2, 0
	}
	out.Size = uint64(size)
}

// node is what a node id stands for.
type node struct {
	number     uint64     // among those of a view
	view       *view.View // nil for a caller-resolved one
	containers bool
	entry      *entry        // of the tree that all views share
	cpu        *view.CPUNode // below (or the root of) the CPU directory
}

// file says that the node has content.
func (n *node) file() bool {
	return n.entry == nil && !n.containers || n.entry != nil && n.entry.file != nil
}

// node finds what a node id stands for.
func (fs *FileSystem) node(id uint64) (n node, status fuse.Status) {
	viewNumber, number := splitNode(id)
	n.number = number
	if viewNumber != 0 {
		if n.view = fs.registry.ByNumber(viewNumber); n.view == nil {
			return n, errno(view.ErrGone)
		}
	}
	if viewNumber == 0 && number == containersNumber {
		n.containers = true
		return n, fuse.OK
	}
	if number&cpuNodeBit != 0 {
		cpu, ok := fs.cpuNode(number)
		if !ok {
			return n, fuse.ENOENT
		}
		n.cpu = &cpu
		return n, fuse.OK
	}
	if n.entry = fs.tree[number]; n.entry == nil {
		return n, fuse.ENOENT
	}
	if n.entry.cpuDir {
		top := view.TopCPUNode
		n.cpu = &top
	}
	return n, fuse.OK
}

// GetAttr tells attributes. The size of a file is that of what a read would
// give now; of a caller-resolved one it depends on who asks, so the kernel may
// not keep it.
func (fs *FileSystem) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	n, status := fs.node(in.NodeId)
	if !status.Ok() {
		return status
	}
	mode, size := fs.mode(n.number), unknownSize
	if n.entry == nil && n.cpu != nil {
		if mode, size, status = fs.cpuAttr(&n, in.Pid); !status.Ok() {
			return status
		}
	}
	if mode&unix.S_IFMT == unix.S_IFDIR && n.entry != nil {
		out.SetTimeout(forever)
	}
	if mode&unix.S_IFMT == unix.S_IFREG {
		if n.view == nil {
			// A thread's number may be used again by one of another group: it is told
			// a size of others then, once.
			if size, known := fs.sizes.of(fs.callers.of(in.Pid), n.number); known {
				fs.attr(in.NodeId, mode, size, &out.Attr)
				return fuse.OK
			}
		}
		p := fs.scratch.Get().(*[]byte)
		defer fs.scratch.Put(p)
		b, err := fs.render(&n, in.Pid, (*p)[:0])
		*p = b[:0]
		if err == nil {
			size = len(b)
			if n.view != nil {
				out.SetTimeout(sizeHolds)
			}
		}
	}
	fs.attr(in.NodeId, mode, size, &out.Attr)
	return fuse.OK
}

// render appends a file's content, as the process pid shall see it.
func (fs *FileSystem) render(n *node, pid uint32, b []byte) ([]byte, error) {
	v, err := fs.viewOf(n, pid)
	switch {
	case err != nil:
		return b, err
	case n.entry == nil:
		return v.AppendCPUFile(*n.cpu, b)
	case n.view == nil:
		start := len(b)
		b, err = v.AppendForCaller(n.entry.file, b)
		if err == nil {
			fs.sizes.note(v.CallersGroup(), n.number, len(b)-start)
		}
		return b, err
	}
	return v.Append(n.entry.file, b)
}

// viewOf is a node's view; of a caller-resolved one that of who asks.
func (fs *FileSystem) viewOf(n *node, pid uint32) (*view.View, error) {
	if n.view != nil {
		return n.view, nil
	}
	v, err := fs.registry.CallerView(int(pid))
	if err == nil {
		fs.callers.note(pid, v.CallersGroup())
	}
	return v, err
}

// Open gives a handle. It is only a number: a container may open as many files
// as it is allowed to, which costs the daemon nothing until they are read.
func (fs *FileSystem) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	n, status := fs.node(in.NodeId)
	switch {
	case !status.Ok():
		return status
	case !n.file():
		return fuse.Status(unix.EISDIR)
	}
	out.Fh = fs.handle.Add(1)
	if in.Flags&unix.O_ACCMODE != unix.O_RDONLY {
		privileged, err := fs.mayTrigger(&n, in.Pid)
		if err != nil {
			return errno(err)
		}
		if privileged {
			out.Fh |= privilegedHandle
		}
	}
	out.OpenFlags = fuse.FOPEN_DIRECT_IO | fuse.FOPEN_NOFLUSH
	return fuse.OK
}

// Read gives one consistent snapshot per open file; reading at offset 0 takes
// a new one, as procps does on descriptors that it keeps. Where that fails
// since the container ended, the last one stays.
func (fs *FileSystem) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	// A read for the page cache (sendfile, splice, mmap) would stop at the
	// size told earlier and be kept for others; refused, programs fall back
	// to read(2). Direct reads always name a lock owner.
	if in.ReadFlags&fuse.READ_LOCKOWNER == 0 {
		return nil, fuse.EINVAL
	}
	n, status := fs.node(in.NodeId)
	if status.Ok() && !n.file() {
		status = fuse.Status(unix.EISDIR)
	}
	if fs.takesTriggers(&n) {
		in.Offset = fs.triggers.position(in.Fh, in.Offset)
	}
	snap, again := fs.open.get(in.Fh, in.Unique)
	if snap != nil && (in.Offset > 0 || again || !status.Ok()) {
		if got, known := snap.readAt(buf, in.Offset); known {
			return fuse.ReadResultData(buf[:got]), fuse.OK
		}
	}
	if !status.Ok() {
		return nil, status
	}
	p := fs.scratch.Get().(*[]byte)
	defer fs.scratch.Put(p)
	b, err := fs.render(&n, in.Pid, (*p)[:0])
	*p = b[:0]
	if err != nil {
		if snap != nil {
			if got, known := snap.readAt(buf, in.Offset); known {
				return fuse.ReadResultData(buf[:got]), fuse.OK
			}
		}
		return nil, errno(err)
	}
	got := 0
	if in.Offset < uint64(len(b)) {
		got = copy(buf, b[in.Offset:])
	}
	if !again { // else the reader may have the text that is lost
		viewNumber, _ := splitNode(in.NodeId)
		fs.open.put(in.Fh, in.Unique, ownerOf(viewNumber, fs.callers.of(in.Pid)), b, got == len(b))
	}
	return fuse.ReadResultData(buf[:got]), fuse.OK
}

// Release forgets a handle.
func (fs *FileSystem) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	fs.open.drop(in.Fh)
	if fs.triggers != nil {
		fs.triggers.drop(in.Fh)
	}
}

// Readlink tells a symbolic link's target.
func (fs *FileSystem) Readlink(_ <-chan struct{}, header *fuse.InHeader) ([]byte, fuse.Status) {
	n, status := fs.node(header.NodeId)
	if !status.Ok() {
		return nil, status
	}
	if n.cpu == nil {
		return nil, fuse.EINVAL
	}
	return fs.readlinkCPU(&n, header.Pid)
}

// OpenDir opens a directory.
func (fs *FileSystem) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, _ *fuse.OpenOut) fuse.Status {
	_, status := fs.node(in.NodeId)
	return status
}

// ReadDir lists a directory. Offsets count entries; ids of containers are in
// order, so that a list that changes meanwhile loses none that stay.
func (fs *FileSystem) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	n, status := fs.node(in.NodeId)
	if !status.Ok() {
		return status
	}
	entries, err := fs.list(in.NodeId, &n, in.Pid)
	if err != nil {
		return errno(err)
	}
	for i := in.Offset; i < uint64(len(entries)); i++ {
		if !out.AddDirEntry(entries[i]) {
			break
		}
	}
	return fuse.OK
}

func (fs *FileSystem) list(id uint64, n *node, pid uint32) ([]fuse.DirEntry, error) {
	viewNumber, _ := splitNode(id)
	all := []fuse.DirEntry{{Name: ".", Mode: unix.S_IFDIR, Ino: id}, {Name: "..", Mode: unix.S_IFDIR}}
	if n.containers {
		for _, v := range fs.registry.List() {
			all = append(all, fuse.DirEntry{Name: v.Container().ID, Mode: unix.S_IFDIR, Ino: nodeID(v.Number, rootNumber)})
		}
		return all, nil
	}
	if n.entry != nil {
		for _, c := range n.entry.children {
			all = append(all, fuse.DirEntry{Name: fs.tree[c].name, Mode: fs.mode(c) & unix.S_IFMT, Ino: nodeID(viewNumber, c)})
		}
	}
	if id == fuse.FUSE_ROOT_ID {
		all = append(all, fuse.DirEntry{Name: view.ContainersDir, Mode: unix.S_IFDIR, Ino: nodeID(0, containersNumber)})
	}
	if n.cpu == nil {
		return all, nil
	}
	return fs.listCPU(all, n, viewNumber, pid)
}

// Ioctl knows no request, as procfs.
func (fs *FileSystem) Ioctl(<-chan struct{}, *fuse.IoctlIn, []byte, *fuse.IoctlOut, []byte) fuse.Status {
	return fuse.Status(unix.ENOTTY)
}

// StatFs tells of an empty file system, as procfs does.
func (fs *FileSystem) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	out.Bsize, out.NameLen = 4096, 255
	return fuse.OK
}
