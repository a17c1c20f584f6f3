package fusefs

import (
	"sync/atomic"
	"unsafe"

	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// sharedTrigger is the record of one trigger in shared memory, from which the next
// process writes it again. Its handle is written last, and is 0 while the record is not
// complete. All else is guarded by triggers.mu.
type sharedTrigger struct {
	request uint64 // that wrote it
	kh      uint64 // the kernel's number of the open file, in notifications; 0 before the first poll
	polled  uint64 // the request that was answered with the last event
	// The write has moved the position of the open file to end, as it would not on
	// procfs: reads from there on are meant to begin that much before.
	end, moved uint64

	event, dead      uint32 // 1: not reported yet; the kernel reports no more
	owner            whose
	pathLen, textLen uint32

	text [view.MaxTrigger]byte
	path [sharedTriggerSize - 104]byte
}

// A record must not reach into the next one.
const _ = uint(sharedTriggerSize - unsafe.Sizeof(sharedTrigger{}))

// triggerHandles are the handles of all records.
func (s *Shared) triggerHandles() []atomic.Uint64 {
	return unsafe.Slice((*atomic.Uint64)(unsafe.Pointer(&s.mem[triggerHandlesAt])), sharedTriggers)
}

func (s *Shared) trigger(n int) *sharedTrigger {
	return (*sharedTrigger)(unsafe.Pointer(&s.mem[triggersAt+n*sharedTriggerSize]))
}

// set fills the record in, but for its handle.
func (r *sharedTrigger) set(w *triggerWrite) {
	r.request, r.kh, r.polled, r.event, r.dead = w.request, 0, 0, 0, 0
	r.end, r.moved = w.end, w.moved
	r.owner = w.owner
	r.pathLen, r.textLen = uint32(copy(r.path[:], w.file)), uint32(copy(r.text[:], w.text))
}

// written returns the request that the record is of; what can't be one names no file.
func (r *sharedTrigger) written(handle uint64) *triggerWrite {
	w := &triggerWrite{handle: handle, request: r.request, owner: r.owner}
	if r.pathLen <= uint32(len(r.path)) && r.textLen <= uint32(len(r.text)) {
		w.file, w.text = string(r.path[:r.pathLen]), append([]byte(nil), r.text[:r.textLen]...)
	}
	return w
}

// position returns where a read of the open file is meant to begin.
func (r *sharedTrigger) position(offset uint64) uint64 {
	if offset < r.end {
		r.moved = 0 // the program has set the position itself
	}
	return offset - r.moved
}
