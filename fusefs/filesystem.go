package fusefs

import (
	"errors"
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

	registry *view.Registry
	log      *slog.Logger
	tree     tree
	open     *snapshots
	handle   atomic.Uint64
	scratch  sync.Pool // of *[]byte, for rendering
}

// New makes a file system over the containers of a registry. serves tells
// which of view.Files are in it.
func New(registry *view.Registry, log *slog.Logger, serves func(path string) bool) *FileSystem {
	return &FileSystem{
		RawFileSystem: fuse.NewDefaultRawFileSystem(),
		registry:      registry,
		log:           log,
		tree:          newTree(view.Files, serves),
		open:          newSnapshots(),
		scratch:       sync.Pool{New: func() any { b := make([]byte, 0, 16<<10); return &b }},
	}
}

// String names the file system in the mount table.
func (fs *FileSystem) String() string { return fsName }

// Lookup finds a name in a directory. It renders nothing: sizes are told by GetAttr.
func (fs *FileSystem) Lookup(_ <-chan struct{}, header *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	viewNumber, number := splitNode(header.NodeId)
	if viewNumber == 0 && number == containersNumber {
		v := fs.registry.Get(name)
		if v == nil {
			return fuse.ENOENT
		}
		// The id may come to mean another run of the container.
		fs.entry(v.Number, rootNumber, 0, out)
		return fuse.OK
	}
	child, ok := fs.tree.child(number, name)
	if viewNumber == 0 && number == rootNumber && name == view.ContainersDir {
		child, ok = containersNumber, true
	}
	if !ok {
		return fuse.ENOENT
	}
	fs.entry(viewNumber, child, forever, out)
	return fuse.OK
}

func (fs *FileSystem) entry(viewNumber, number uint32, holds time.Duration, out *fuse.EntryOut) {
	out.NodeId = nodeID(viewNumber, number)
	out.SetEntryTimeout(holds)
	fs.attr(viewNumber, number, unknownSize, &out.Attr)
	if e := fs.tree[number]; e == nil || e.file == nil {
		out.SetAttrTimeout(holds)
	}
}

// attr fills the attributes of a file or directory.
func (fs *FileSystem) attr(viewNumber, number uint32, size int, out *fuse.Attr) {
	now := time.Now()
	out.Ino = nodeID(viewNumber, number)
	out.SetTimes(&now, &now, &now)
	e := fs.tree[number]
	switch {
	case number == containersNumber:
		out.Mode, out.Nlink = unix.S_IFDIR|0o700, 2
	case e != nil && e.file != nil:
		out.Mode, out.Nlink = unix.S_IFREG|e.file.Mode, 1
		out.Size = uint64(size)
	default:
		out.Mode, out.Nlink = unix.S_IFDIR|0o555, 2
	}
}

// node finds what a node id stands for: a file (with its view, nil for a
// caller-resolved one) or, with file nil, a directory.
func (fs *FileSystem) node(id uint64) (v *view.View, file *view.File, status fuse.Status) {
	viewNumber, number := splitNode(id)
	if viewNumber != 0 {
		if v = fs.registry.ByNumber(viewNumber); v == nil {
			return nil, nil, errno(view.ErrGone)
		}
	}
	if viewNumber == 0 && number == containersNumber {
		return nil, nil, fuse.OK
	}
	e := fs.tree[number]
	if e == nil {
		return nil, nil, fuse.ENOENT
	}
	return v, e.file, fuse.OK
}

// GetAttr tells attributes. The size of a file is that of what a read would
// give now; of a caller-resolved one it depends on who asks, so the kernel may
// not keep it.
func (fs *FileSystem) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	v, file, status := fs.node(in.NodeId)
	if !status.Ok() {
		return status
	}
	viewNumber, number := splitNode(in.NodeId)
	if file == nil {
		fs.attr(viewNumber, number, 0, &out.Attr)
		out.SetTimeout(forever)
		return fuse.OK
	}
	size := unknownSize
	p := fs.scratch.Get().(*[]byte)
	defer fs.scratch.Put(p)
	b, err := fs.render(v, file, int(in.Pid), (*p)[:0])
	*p = b[:0]
	if err == nil {
		size = len(b)
		if v != nil {
			out.SetTimeout(sizeHolds)
		}
	}
	fs.attr(viewNumber, number, size, &out.Attr)
	return fuse.OK
}

func (fs *FileSystem) render(v *view.View, file *view.File, pid int, b []byte) ([]byte, error) {
	if v == nil {
		return fs.registry.AppendForCaller(pid, file, b)
	}
	return v.Append(file, b)
}

// Open gives a handle. It is only a number: a container may open as many files
// as it is allowed to, which costs the daemon nothing until they are read.
func (fs *FileSystem) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	_, file, status := fs.node(in.NodeId)
	switch {
	case !status.Ok():
		return status
	case file == nil:
		return fuse.Status(unix.EISDIR)
	case in.Flags&unix.O_ACCMODE != unix.O_RDONLY:
		return fuse.EACCES
	}
	out.Fh = fs.handle.Add(1)
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
	v, file, status := fs.node(in.NodeId)
	if status.Ok() && file == nil {
		status = fuse.Status(unix.EISDIR)
	}
	snap := fs.open.get(in.Fh)
	if snap != nil && (in.Offset > 0 || !status.Ok()) {
		return fuse.ReadResultData(buf[:snap.readAt(buf, in.Offset)]), fuse.OK
	}
	if !status.Ok() {
		return nil, status
	}
	p := fs.scratch.Get().(*[]byte)
	defer fs.scratch.Put(p)
	b, err := fs.render(v, file, int(in.Pid), (*p)[:0])
	*p = b[:0]
	switch {
	case err != nil && snap != nil:
		return fuse.ReadResultData(buf[:snap.readAt(buf, in.Offset)]), fuse.OK
	case err != nil:
		if !errors.Is(err, view.ErrGone) {
			fs.log.Error("a file could not be made", "file", file.Path, "error", err)
		}
		return nil, errno(err)
	}
	viewNumber, _ := splitNode(in.NodeId)
	fs.open.put(in.Fh, viewNumber, b)
	n := 0
	if in.Offset < uint64(len(b)) {
		n = copy(buf, b[in.Offset:])
	}
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

// Release forgets a handle.
func (fs *FileSystem) Release(_ <-chan struct{}, in *fuse.ReleaseIn) { fs.open.drop(in.Fh) }

// OpenDir opens a directory.
func (fs *FileSystem) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, _ *fuse.OpenOut) fuse.Status {
	_, file, status := fs.node(in.NodeId)
	if status.Ok() && file != nil {
		return fuse.ENOTDIR
	}
	return status
}

// ReadDir lists a directory. Offsets count entries; ids of containers are in
// order, so that a list that changes meanwhile loses none that stay.
func (fs *FileSystem) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	if _, _, status := fs.node(in.NodeId); !status.Ok() {
		return status
	}
	entries := fs.list(in.NodeId)
	for i := in.Offset; i < uint64(len(entries)); i++ {
		if !out.AddDirEntry(entries[i]) {
			break
		}
	}
	return fuse.OK
}

func (fs *FileSystem) list(id uint64) []fuse.DirEntry {
	viewNumber, number := splitNode(id)
	all := []fuse.DirEntry{{Name: ".", Mode: unix.S_IFDIR, Ino: id}, {Name: "..", Mode: unix.S_IFDIR}}
	if viewNumber == 0 && number == containersNumber {
		for _, v := range fs.registry.List() {
			all = append(all, fuse.DirEntry{Name: v.Container().ID, Mode: unix.S_IFDIR, Ino: nodeID(v.Number, rootNumber)})
		}
		return all
	}
	for _, c := range fs.tree[number].children {
		mode := uint32(unix.S_IFREG)
		if fs.tree[c].file == nil {
			mode = unix.S_IFDIR
		}
		all = append(all, fuse.DirEntry{Name: fs.tree[c].name, Mode: mode, Ino: nodeID(viewNumber, c)})
	}
	if id == nodeID(0, rootNumber) {
		all = append(all, fuse.DirEntry{Name: view.ContainersDir, Mode: unix.S_IFDIR, Ino: nodeID(0, containersNumber)})
	}
	return all
}

// ReleaseDir has nothing to forget.
func (fs *FileSystem) ReleaseDir(*fuse.ReleaseIn) {}

// SetAttr refuses: the files are the kernel's and ours to make.
func (fs *FileSystem) SetAttr(<-chan struct{}, *fuse.SetAttrIn, *fuse.AttrOut) fuse.Status {
	return fuse.EPERM
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
