package fusefs

import (
	"fmt"
	"slices"
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
	q := newQueue(sharedMemory(t), &callers{}, 2)
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

// TestTurnsOfCallers: of the files for which the reader decides, a thousand threads
// of one group wait for each other, however many others ask.
func TestTurnsOfCallers(t *testing.T) {
	const many, one, unknown = 10_000, 20_000, 30_000
	var known callers
	for i := range uint32(1000) {
		known.note(many+i, 7)
	}
	known.note(one, 8)
	q := newQueue(sharedMemory(t), &known, 2)
	put := func(pid uint32, unique uint64) {
		t.Helper()
		in := request(0, unique)
		(*fuse.InHeader)(unsafe.Pointer(&in[0])).Pid = pid
		if !q.put(in) {
			t.Fatal("no room")
		}
	}
	for i := range uint32(1000) {
		put(many+i, uint64(i))
	}
	put(one, 5000)
	put(unknown, 6000)
	put(unknown+1, 6001)
	q.put(request(3, 7000))
	var got []string
	for range 7 {
		k, _ := q.take()
		got = append(got, told(k))
		q.answered(k)
	}
	if want := []string{"0/0", "0/5000", "0/6000", "3/7000", "0/1", "0/6001", "0/2"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for k, ok := q.take(); ok; k, ok = q.take() {
		q.answered(k)
	}
	if len(q.turns) != 0 {
		t.Errorf("%d turns stay", len(q.turns))
	}
}

// TestCallersAreBounded: who comes later takes the place of one who came before,
// whose requests are nobody else's then.
func TestCallersAreBounded(t *testing.T) {
	var known callers
	const size = uint32(len(known))
	known.note(5, 7)
	known.note(5+size, 8)
	known.note(6, 0)
	for pid, want := range map[uint32]uint32{5: 0, 5 + size: 8, 5 + 2*size: 0, 6: 0} {
		if got := known.of(pid); got != want {
			t.Errorf("thread %d: group %d, want %d", pid, got, want)
		}
	}
}

// TestOneViewDoesNotTakeAllWorkers: it has as many at a time as are its due.
func TestOneViewDoesNotTakeAllWorkers(t *testing.T) {
	q := newQueue(sharedMemory(t), &callers{}, 2)
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
	q := newQueue(s, &callers{}, 2)
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
	next := newQueue(s, &callers{}, 2)
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
	if len(seen) != queueSlots-1 || len(next.turns) != 0 || len(next.free) != queueSlots {
		t.Errorf("%d requests, %d views left, %d slots free", len(seen), len(next.turns), len(next.free))
	}
}
