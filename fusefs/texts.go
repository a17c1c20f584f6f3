package fusefs

import (
	"sync"
	"sync/atomic"
	"unsafe"
)

// texts knows of many open files what text was made last, without the text
// itself. It is shared memory, and so known to the next process.
//
// Who has read a text to its end, and asks for more, is told that it ends there,
// however many files are open: a text made anew may be longer. And a request that
// was answered in the last moment of a process, and is answered by the next one
// again, changes nothing.
type texts struct {
	mu      sync.Mutex // of entries; no other lock is taken under it
	entries []keptText // by handle, which are numbers given in order
}

// keptText is of one handle. handle is written last, and is 0 while the rest is
// not whole.
type keptText struct {
	handle  atomic.Uint64
	size    uint64
	request uint64 // that it was made for: a number that no other one has
}

func (s *Shared) texts() []keptText {
	return unsafe.Slice((*keptText)(unsafe.Pointer(&s.mem[textsAt])), keptTexts)
}

// note says what text a handle has now.
func (t *texts) note(handle, request uint64, size int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := &t.entries[handle%keptTexts]
	e.handle.Store(0)
	e.size, e.request = uint64(size), request
	e.handle.Store(handle)
}

// of tells a handle's text.
func (t *texts) of(handle uint64) (request uint64, size int, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := &t.entries[handle%keptTexts]
	return e.request, int(e.size), e.handle.Load() == handle
}
