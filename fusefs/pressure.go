package fusefs

import (
	"bytes"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// Files that PSI triggers are written to; docs/views.md, "pressure".

// takesTriggers reports whether triggers can be written to a node.
func (fs *FileSystem) takesTriggers(n *node) bool {
	return fs.triggers != nil && n.entry != nil && n.entry.file != nil && n.entry.file.Triggers()
}

// mayTrigger reports whether the triggers of a thread that opens a file for writing are
// privileged. The error says why it may not open it.
func (fs *FileSystem) mayTrigger(n *node, pid uint32) (privileged bool, err error) {
	if !fs.takesTriggers(n) {
		return false, unix.EACCES
	}
	return fs.registry.MayTrigger(n.entry.file, pid)
}

// Write writes a trigger. An open file takes one.
func (fs *FileSystem) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	n, status := fs.node(in.NodeId)
	if !status.Ok() {
		return 0, status
	}
	if !fs.takesTriggers(&n) {
		return 0, fuse.EACCES
	}
	v, err := fs.viewOf(&n, in.Pid)
	if err != nil {
		return 0, errno(err)
	}
	file, err := v.TriggerFile(n.entry.file)
	if err != nil {
		return 0, errno(err)
	}
	end := in.Offset + uint64(len(data))
	moved := uint64(len(data))
	if in.Flags&unix.O_APPEND != 0 {
		moved = end // most likely the position was at the start
	}
	err = fs.triggers.write(&triggerWrite{
		handle: in.Fh, request: in.Unique, end: end, moved: moved,
		owner: whose{v.Number, v.CallersGroup()}, file: file, text: triggerText(data),
	})
	if err != nil {
		return 0, errno(err)
	}
	return uint32(len(data)), fuse.OK
}

// triggerText returns what the kernel takes of a write to /proc/pressure/*: the last
// byte gives way to a zero (psi_write in kernel/sched/psi.c). The files of groups take
// more.
func triggerText(data []byte) []byte {
	text, _, _ := bytes.Cut(data[:max(0, min(len(data), view.MaxTrigger)-1)], []byte{0})
	return append(bytes.Clone(text), 0)
}

// poll answers a poll: of a file without triggers as procfs does.
func (fs *FileSystem) poll(in *pollIn) (events uint32) {
	_, number := splitNode(in.NodeId)
	if fs.takesTriggers(&node{entry: fs.tree[number]}) {
		return fs.triggers.poll(in.Fh, in.Unique, in.Kh)
	}
	return pollDefault
}

// SetAttr refuses: the files are the kernel's and ours to make. Truncation of a file
// that is opened for writing, as by a shell's ">", does nothing.
func (fs *FileSystem) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	const changes = fuse.FATTR_MODE | fuse.FATTR_UID | fuse.FATTR_GID
	n, status := fs.node(in.NodeId)
	if !status.Ok() || !fs.takesTriggers(&n) || in.Valid&fuse.FATTR_SIZE == 0 || in.Valid&changes != 0 {
		return fuse.EPERM
	}
	return fs.GetAttr(cancel, &fuse.GetAttrIn{InHeader: in.InHeader}, out)
}
