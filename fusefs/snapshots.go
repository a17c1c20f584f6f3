package fusefs

import (
	"sync"

	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// Bounds of what the open files of one owner may hold. A container that opens
// more loses the snapshot used longest ago; a read that comes back to it is
// rendered anew.
const (
	maxSnapshots     = 256
	maxSnapshotBytes = 4 << 20
	maxKept          = 64 // in shared memory; leaves room there to others
)

// Where the reader decides, as many as shares have together what four views have
// alone: a container can make groups as it likes.
const (
	callerShares = 16
	shareOfView  = 4
)

// owner is whose open files count together: a view's, or those of callers whose
// groups have a share in common.
type owner uint32

func ownerOf(viewNumber, group uint32) owner {
	if viewNumber == 0 {
		return owner(view.MaxNumber + group%callerShares)
	}
	return owner(viewNumber)
}

// bounds are what it may hold.
func (o owner) bounds() (count, bytes, kept int) {
	if o >= view.MaxNumber {
		return maxSnapshots / shareOfView, maxSnapshotBytes / shareOfView, maxKept / shareOfView
	}
	return maxSnapshots, maxSnapshotBytes, maxKept
}

// snapshot is what one open file shows until it is read from the start again.
type snapshot struct {
	handle uint64
	owner  owner

	mu   sync.Mutex // held while data is copied, never across a render
	data []byte
	kept int // entry of the shared memory, -1 for none; changed with snapshots.mu held, too
	// lost is the size of a text that is not there any more.
	lost int

	size int // of data, as counted with its owner; guarded by snapshots.mu

	newer, older *snapshot
}

// snapshots are those of all open files, by handle.
type snapshots struct {
	mu       sync.Mutex
	byHandle map[uint64]*snapshot
	owners   map[owner]*held
	kept     kept
	texts    texts
}

// held is one owner's snapshots: a ring through the sentinel, newest at ring.older.
type held struct {
	ring               snapshot
	count, bytes, kept int
}

// newSnapshots takes over what is kept of an earlier process.
func newSnapshots(shared *Shared) *snapshots {
	s := &snapshots{byHandle: map[uint64]*snapshot{}, owners: map[owner]*held{}, kept: kept{shared: shared}, texts: texts{entries: shared.texts()}}
	for n := sharedSnapshots - 1; n >= 0; n-- {
		snap := s.kept.load(n)
		if snap == nil || s.byHandle[snap.handle] != nil {
			s.kept.give(n)
			continue
		}
		h := s.heldLocked(snap.owner)
		snap.size = len(snap.data)
		s.byHandle[snap.handle] = snap
		h.push(snap)
		h.count++
		h.kept++
		h.bytes += snap.size
	}
	return s
}

// get finds a handle's snapshot, nil where there is none; of one that has been
// given up it may know the size. again says that it was made for this very
// request, by an earlier process.
func (s *snapshots) get(handle, request uint64) (snap *snapshot, again bool) {
	last, size, known := s.texts.of(handle)
	again = known && last == request
	s.mu.Lock()
	defer s.mu.Unlock()
	if snap = s.byHandle[handle]; snap != nil {
		h := s.owners[snap.owner]
		snap.unlink()
		h.push(snap)
	} else if known {
		snap = &snapshot{handle: handle, kept: -1, lost: size}
	}
	return snap, again
}

// put keeps content, made for a request, as the snapshot of a handle. content is
// copied. Of a text that the reader has whole the next process needs to know the
// size alone.
func (s *snapshots) put(handle, request uint64, o owner, content []byte, whole bool) {
	s.mu.Lock()
	snap := s.byHandle[handle]
	if snap != nil {
		o = snap.owner // also where another reader has got the open file
	}
	h := s.heldLocked(o)
	count, bytes, kept := o.bounds()
	if snap == nil {
		snap = &snapshot{handle: handle, owner: o, kept: -1}
		s.byHandle[handle] = snap
		h.count++
	} else {
		snap.unlink()
	}
	h.push(snap)
	h.bytes += len(content) - snap.size
	snap.size = len(content)
	if whole {
		s.unkeepLocked(h, snap)
	} else if snap.kept < 0 {
		s.keepLocked(h, snap, kept)
	}
	for h.count > 1 && (h.count > count || h.bytes > bytes) {
		s.dropLocked(h.ring.newer)
	}
	s.mu.Unlock()

	snap.mu.Lock()
	defer snap.mu.Unlock()
	snap.data, snap.lost = append(snap.data[:0], content...), 0
	if snap.kept >= 0 {
		s.kept.save(snap.kept, snap)
	}
	s.texts.note(handle, request, len(content)) // now that the rest is kept
}

// keepLocked gives a snapshot a place in shared memory: where its owner has all
// that is its due, that of the one used longest ago.
func (s *snapshots) keepLocked(h *held, snap *snapshot, most int) {
	if h.kept >= most {
		oldest := h.ring.newer
		for oldest.kept < 0 {
			oldest = oldest.newer
		}
		s.unkeepLocked(h, oldest)
	}
	n := s.kept.take()
	if n < 0 {
		return
	}
	h.kept++
	snap.mu.Lock()
	defer snap.mu.Unlock()
	snap.kept = n
}

// unkeepLocked takes its place from a snapshot.
func (s *snapshots) unkeepLocked(h *held, snap *snapshot) {
	snap.mu.Lock() // against one who has just put it
	defer snap.mu.Unlock()
	if snap.kept >= 0 {
		s.kept.give(snap.kept)
		snap.kept = -1
		h.kept--
	}
}

func (s *snapshots) heldLocked(o owner) *held {
	h := s.owners[o]
	if h == nil {
		h = &held{}
		h.ring.newer, h.ring.older = &h.ring, &h.ring
		s.owners[o] = h
	}
	return h
}

// drop forgets a handle that was closed.
func (s *snapshots) drop(handle uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if snap := s.byHandle[handle]; snap != nil {
		s.dropLocked(snap)
	}
}

func (s *snapshots) dropLocked(snap *snapshot) {
	h := s.owners[snap.owner]
	snap.unlink()
	delete(s.byHandle, snap.handle)
	h.count--
	h.bytes -= snap.size
	s.unkeepLocked(h, snap)
	if h.count == 0 {
		delete(s.owners, snap.owner)
	}
}

func (h *held) push(snap *snapshot) {
	snap.older, snap.newer = h.ring.older, &h.ring
	h.ring.older.newer = snap
	h.ring.older = snap
}

func (snap *snapshot) unlink() {
	snap.older.newer, snap.newer.older = snap.newer, snap.older
}

// readAt copies from an offset; 0 past the end. It does not know a text that
// is lost, but where that ended.
func (snap *snapshot) readAt(p []byte, offset uint64) (n int, known bool) {
	snap.mu.Lock()
	defer snap.mu.Unlock()
	if snap.lost > 0 {
		return 0, offset >= uint64(snap.lost)
	}
	if offset >= uint64(len(snap.data)) {
		return 0, true
	}
	return copy(p, snap.data[offset:]), true
}
