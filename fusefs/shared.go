package fusefs

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Shared is memory that outlives the process together with the device: what
// another process needs to go on where this one was killed. It is a memfd:
//
//	head       one page: the layout, the kernel's INIT request
//	slots      one a worker: requests are read into it, and it is cleared once
//	           they are answered; what a killed process left is answered first
//	           by the next
//	queue      slots for requests that wait for their turn
//	snapshots  what open files have been shown, so that a file read in pieces
//	           stays one text
//	texts      how long a text was that is not kept any more, and more
//	triggers   PSI triggers of open files, which the next process writes again
//
// Version 1 ended with the snapshots, version 2 with the texts. Such memory is made
// longer where it is. A program that does not know the present version refuses it, and
// mounts again.
type Shared struct {
	file int
	mem  []byte
}

const (
	sharedVersion = 3
	headSize      = 4096
	// maxWorkers bounds how many requests may be stuck at a time.
	maxWorkers = 64
	// slotSize holds any request: FUSE_MIN_READ_BUFFER of the kernel.
	slotSize = 8192
	slotsAt  = headSize

	// queueSlotSize holds a struct fuse_read_in or fuse_getattr_in and its header.
	queueSlots    = 4096
	queueSlotSize = 128
	queueAt       = slotsAt + maxWorkers*slotSize

	sharedSnapshots    = 1024
	sharedSnapshotSize = 4096
	snapshotsAt        = queueAt + queueSlots*queueSlotSize

	// keptTexts is of how many handles, of all views, something is known also
	// without the text: of those opened last, mostly.
	keptTexts    = 1 << 17
	keptTextSize = 24
	textsAt      = snapshotsAt + sharedSnapshots*sharedSnapshotSize

	// Handles of triggers are apart from their records, of which each takes a page: the
	// path of a cgroup may need most of it. A page that nobody has touched is not there.
	sharedTriggers    = 4096
	sharedTriggerSize = 4096
	triggerHandlesAt  = textsAt + keptTexts*keptTextSize
	triggersAt        = triggerHandlesAt + sharedTriggers*8

	sharedSize = triggersAt + sharedTriggers*sharedTriggerSize
	// maxInit is more than a struct fuse_init_in and its header.
	maxInit = 256
)

// sharedSizes are those of the memory, by its version.
var sharedSizes = map[uint32]int64{1: textsAt, 2: triggerHandlesAt, sharedVersion: sharedSize}

// sharedHead begins the memory. Another layout is another version.
type sharedHead struct {
	magic                                        [8]byte
	version, slots, slotSize, snapshots, snapEnd uint32
	generation                                   uint32 // counts the processes that served
	initSize                                     atomic.Uint32
	init                                         [maxInit]byte
	// polls: every poll on this connection was answered. Once one was not (ENOSYS),
	// as by programs of version 2, the kernel forwards none any more.
	polls uint32
}

func newHead() sharedHead {
	return sharedHead{
		magic: [8]byte([]byte("lxcfsfus")), version: sharedVersion,
		slots: maxWorkers, slotSize: slotSize, snapshots: sharedSnapshots, snapEnd: textsAt,
	}
}

// NewShared makes such memory.
func NewShared() (*Shared, error) {
	fd, err := unix.MemfdCreate("lxcfs-nri", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make shared memory: %w", err)
	}
	err = unix.Ftruncate(fd, sharedSize)
	s := &Shared{file: fd}
	if err == nil {
		err = s.attach()
	}
	if err != nil {
		unix.Close(fd) //nolint:errcheck // never used
		return nil, fmt.Errorf("make shared memory: %w", err)
	}
	h := newHead()
	copy(s.mem, unsafe.Slice((*byte)(unsafe.Pointer(&h)), unsafe.Sizeof(h)))
	s.head().generation, s.head().polls = 1, 1
	return s, nil
}

// OpenShared takes over memory of an earlier process, whose descriptor becomes
// its own. The error says why that can't be, such as another version's layout.
func OpenShared(fd int) (*Shared, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("take over shared memory: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size < headSize {
		return nil, errors.New("take over shared memory: what was kept is not such memory")
	}
	head := make([]byte, unsafe.Sizeof(sharedHead{}))
	if _, err := unix.Pread(fd, head, 0); err != nil {
		return nil, fmt.Errorf("take over shared memory: %w", err)
	}
	got, want := (*sharedHead)(unsafe.Pointer(&head[0])), newHead()
	switch {
	case got.magic != want.magic:
		return nil, errors.New("take over shared memory: what was kept is not such memory")
	case sharedSizes[got.version] == 0:
		return nil, fmt.Errorf("take over shared memory: its layout is version %d, this program knows %d", got.version, want.version)
	case got.slots != want.slots, got.slotSize != want.slotSize, got.snapshots != want.snapshots, got.snapEnd != want.snapEnd,
		st.Size < sharedSizes[got.version] || !slices.Contains(slices.Collect(maps.Values(sharedSizes)), st.Size),
		got.initSize.Load() > maxInit:
		return nil, errors.New("take over shared memory: its layout is not what its version says")
	}
	// A process that is killed between the two leaves an older version with room at its end.
	if err := unix.Ftruncate(fd, sharedSize); err != nil {
		return nil, fmt.Errorf("take over shared memory: make it longer: %w", err)
	}
	s := &Shared{file: fd}
	if err := s.attach(); err != nil {
		return nil, fmt.Errorf("take over shared memory: %w", err)
	}
	if s.head().version < 3 {
		s.head().polls = 0
	}
	s.head().version = sharedVersion
	s.head().generation++
	return s, nil
}

func (s *Shared) attach() (err error) {
	s.mem, err = unix.Mmap(s.file, 0, sharedSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map: %w", err)
	}
	// The kernel copies requests into memory that is there: it takes one that it
	// can't copy for answered. Before Linux 5.14 there is no such advice.
	if err := unix.Madvise(s.mem[:snapshotsAt], unix.MADV_POPULATE_WRITE); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("populate: %w", err)
	}
	return nil
}

// FD is its descriptor.
func (s *Shared) FD() int { return s.file }

// Close unmaps it. Nothing may serve any more.
func (s *Shared) Close() error {
	return errors.Join(unix.Munmap(s.mem), unix.Close(s.file))
}

func (s *Shared) head() *sharedHead { return (*sharedHead)(unsafe.Pointer(&s.mem[0])) }

// keepInit keeps the kernel's first request, from which the protocol server of
// a later process learns what was agreed upon.
func (s *Shared) keepInit(request []byte) {
	h := s.head()
	n := copy(h.init[:], request)
	h.initSize.Store(uint32(n))
}

// initRequest is what was kept, nil for nothing.
func (s *Shared) initRequest() []byte {
	h := s.head()
	n := h.initSize.Load()
	if n == 0 {
		return nil
	}
	return append([]byte(nil), h.init[:min(n, maxInit)]...)
}

// slot is a worker's place for one request.
func (s *Shared) slot(n int) []byte {
	return s.mem[slotsAt+n*slotSize:][:slotSize:slotSize]
}

// queued is the place of a request that waits.
func (s *Shared) queued(n int) []byte {
	return s.mem[queueAt+n*queueSlotSize:][:queueSlotSize:queueSlotSize]
}

// fillSlot copies a request. Its first word says that it is there, and comes last.
func fillSlot(slot, request []byte) {
	copy(slot[4:], request[4:])
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&slot[0])), *(*uint32)(unsafe.Pointer(&request[0])))
}

// pending is the size of the request in a slot, 0 for none.
func pending(slot []byte) int {
	n := atomic.LoadUint32((*uint32)(unsafe.Pointer(&slot[0])))
	return min(int(n), len(slot))
}

// clearSlot says that a slot's request needs no answer any more. Its first word is
// the request's size (struct fuse_in_header).
func clearSlot(slot []byte) { atomic.StoreUint32((*uint32)(unsafe.Pointer(&slot[0])), 0) }
