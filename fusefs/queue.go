package fusefs

import (
	"sync"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// queue holds requests that render, until it is their view's turn: a container
// that reads in a thousand threads waits for itself, not its neighbours for it.
// They are in shared memory, as all that was taken from the kernel.
type queue struct {
	shared  *Shared
	callers *callers
	// perView is how many requests of one view are answered at a time: fewer
	// than there are workers, of which one is left for the others.
	perView int

	mu    sync.Mutex
	free  []int // slots
	turns map[whose]*turn
	ring  []*turn // those with requests waiting, next one first
	count int
}

// whose is a view's number, or, where that is 0, the group of those who ask.
type whose struct{ view, group uint32 }

// turn is what waits of one view.
type turn struct {
	whose
	slots []int
	busy  int // being answered
}

// ticket is a request whose turn it is.
type ticket struct {
	slot int
	turn *turn
	in   []byte
}

func newQueue(shared *Shared, callers *callers, perView int) *queue {
	q := &queue{shared: shared, callers: callers, perView: perView, turns: map[whose]*turn{}}
	for n := queueSlots - 1; n >= 0; n-- {
		if slot := shared.queued(n); pending(slot) >= int(unsafe.Sizeof(fuse.InHeader{})) {
			q.pushLocked(n)
		} else {
			clearSlot(slot)
			q.free = append(q.free, n)
		}
	}
	return q
}

// put copies a request; false where there is no room, or it is too long.
func (q *queue) put(in []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.free) == 0 || len(in) > queueSlotSize {
		return false
	}
	n := q.free[len(q.free)-1]
	q.free = q.free[:len(q.free)-1]
	fillSlot(q.shared.queued(n), in)
	q.pushLocked(n)
	return true
}

func (q *queue) pushLocked(n int) {
	h := (*fuse.InHeader)(unsafe.Pointer(&q.shared.queued(n)[0]))
	var w whose
	if w.view, _ = splitNode(h.NodeId); w.view == 0 {
		w.group = q.callers.of(h.Pid)
	}
	t := q.turns[w]
	if t == nil {
		t = &turn{whose: w}
		q.turns[w] = t
	}
	if len(t.slots) == 0 {
		q.ring = append(q.ring, t)
	}
	t.slots = append(t.slots, n)
	q.count++
}

// take gives the request whose turn it is; false where none may be answered now.
func (q *queue) take() (ticket, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, t := range q.ring {
		if t.busy >= q.perView {
			continue
		}
		n := t.slots[0]
		t.slots = t.slots[1:]
		q.ring = append(q.ring[:i], q.ring[i+1:]...)
		if len(t.slots) > 0 {
			q.ring = append(q.ring, t)
		} else {
			t.slots = nil
		}
		t.busy++
		q.count--
		slot := q.shared.queued(n)
		return ticket{n, t, slot[:pending(slot)]}, true
	}
	return ticket{}, false
}

// answered gives a request's place back.
func (q *queue) answered(k ticket) {
	clearSlot(q.shared.queued(k.slot))
	q.mu.Lock()
	defer q.mu.Unlock()
	q.free = append(q.free, k.slot)
	if k.turn.busy--; k.turn.busy == 0 && len(k.turn.slots) == 0 {
		delete(q.turns, k.turn.whose)
	}
}

// waiting is how many requests wait.
func (q *queue) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.count
}
