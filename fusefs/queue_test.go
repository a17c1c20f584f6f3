package fusefs

import (
	"fmt"
	"testing"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
)

func sharedMemory(t *testing.T) *Shared {
	t.Helper()
	s, err := NewShared()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// request makes one of a view, with a number to know it by.
func request(view uint32, unique uint64) []byte {
	b := make([]byte, 80)
	*(*fuse.InHeader)(unsafe.Pointer(&b[0])) = fuse.InHeader{Length: 80, Opcode: opRead, Unique: unique, NodeId: nodeID(view, 1)}
	return b
}

func told(k ticket) string {
	h := (*fuse.InHeader)(unsafe.Pointer(&k.in[0]))
	view, _ := splitNode(h.NodeId)
	return fmt.Sprintf("%d/%d", view, h.Unique)
}

// TestTurns: one view has many requests waiting, two others have one each.
func TestTurns(t *testing.T) {
	q := newQueue(sharedMemory(t), 2)
	for i := range 100 {
		q.put(request(1, uint64(i)))
	}
	q.put(request(2, 0))
	q.put(request(3, 0))
	for _, want := range []string{"1/0", "2/0", "3/0", "1/1", "1/2"} {
		k, ok := q.take()
		if !ok || told(k) != want {
			t.Fatalf("got %v, want %s", k, want)
		}
		q.answered(k)
	}
}

// TestOneViewDoesNotTakeAllWorkers: it has as many at a time as are its due.
func TestOneViewDoesNotTakeAllWorkers(t *testing.T) {
	q := newQueue(sharedMemory(t), 2)
	for i := range 3 {
		q.put(request(1, uint64(i)))
	}
	first, _ := q.take()
	q.take()
	if k, ok := q.take(); ok {
		t.Errorf("a third one of the same view: %s", told(k))
	}
	q.put(request(2, 7))
	if k, ok := q.take(); !ok || told(k) != "2/7" {
		t.Errorf("another view's: %v, %v", k, ok)
	}
	q.answered(first)
	if k, ok := q.take(); !ok || told(k) != "1/2" {
		t.Errorf("once one was answered: %v, %v", k, ok)
	}
}

// TestQueueOutlivesTheProcess: what waited, or was being answered, is there for
// the next one.
func TestQueueOutlivesTheProcess(t *testing.T) {
	s := sharedMemory(t)
	q := newQueue(s, 2)
	for n := range queueSlots {
		if !q.put(request(uint32(n%5), uint64(n))) {
			t.Fatalf("no room for request %d", n)
		}
	}
	if q.put(request(1, 1)) {
		t.Error("room for more than there is")
	}
	if k, ok := q.take(); ok {
		q.answered(k)
	}
	q.take() // and killed
	next := newQueue(s, 2)
	if got := next.waiting(); got != queueSlots-1 {
		t.Errorf("%d requests wait, want %d", got, queueSlots-1)
	}
	if next.put(make([]byte, queueSlotSize+1)) {
		t.Error("a request that is too long is taken")
	}
	seen := map[string]bool{}
	for k, ok := next.take(); ok; k, ok = next.take() {
		seen[told(k)] = true
		next.answered(k)
	}
	if len(seen) != queueSlots-1 || len(next.views) != 0 || len(next.free) != queueSlots {
		t.Errorf("%d requests, %d views left, %d slots free", len(seen), len(next.views), len(next.free))
	}
}
