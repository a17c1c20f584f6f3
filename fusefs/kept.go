package fusefs

import (
	"sync/atomic"
	"unsafe"
)

// keptSnapshot is a snapshot in shared memory. handle is written last, and is 0
// while the rest is not whole.
type keptSnapshot struct {
	handle atomic.Uint64
	owner  owner
	size   uint32 // of the text, which may be too long to be kept
	data   [sharedSnapshotSize - 16]byte
}

// kept is the part of the shared memory that holds snapshots.
type kept struct {
	shared *Shared
	free   []int // entries not in use
}

func (k *kept) entry(n int) *keptSnapshot {
	return (*keptSnapshot)(unsafe.Pointer(&k.shared.mem[snapshotsAt+n*sharedSnapshotSize]))
}

// take gives an entry that nobody uses, -1 where there is none.
func (k *kept) take() int {
	if len(k.free) == 0 {
		return -1
	}
	n := k.free[len(k.free)-1]
	k.free = k.free[:len(k.free)-1]
	return n
}

// give takes an entry back.
func (k *kept) give(n int) {
	k.entry(n).handle.Store(0)
	k.free = append(k.free, n)
}

// save writes a snapshot.
func (k *kept) save(n int, snap *snapshot) {
	e := k.entry(n)
	e.handle.Store(0)
	e.owner, e.size = snap.owner, uint32(len(snap.data))
	if len(snap.data) <= len(e.data) {
		copy(e.data[:], snap.data)
	}
	e.handle.Store(snap.handle)
}

// load gives what an entry holds, nil for nothing. Of a text that was too long
// only the size is known.
func (k *kept) load(n int) *snapshot {
	e := k.entry(n)
	handle := e.handle.Load()
	if handle == 0 {
		return nil
	}
	snap := &snapshot{handle: handle, owner: e.owner, kept: n}
	if size := int(e.size); size <= len(e.data) {
		snap.data = append([]byte(nil), e.data[:size]...)
	} else {
		snap.lost = size
	}
	return snap
}
