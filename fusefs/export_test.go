package fusefs

import "github.com/hanwen/go-fuse/v2/fuse"

// Slot is where a worker's request is.
func (s *Shared) Slot(n int) []byte { return s.slot(n) }

// Protocol is what answers requests, without a device.
func (fs *FileSystem) Protocol(shared *Shared) *fuse.ProtocolServer {
	return fs.connect("", -1, shared).loop.server
}

// Reply makes the answer to a request.
var Reply = reply

// TurnOf is the group whose turn a thread's requests are, 0 where it is not known.
func (fs *FileSystem) TurnOf(pid uint32) uint32 { return fs.callers.of(pid) }
