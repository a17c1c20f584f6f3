package fusefs

import (
	"fmt"
	"slices"
	"testing"
)

// TestOpenFilesOfOthersAreLeftAlone: who opens very many files, of its own or of
// those for which the reader decides, loses texts of its own.
func TestOpenFilesOfOthersAreLeftAlone(t *testing.T) {
	s := newSnapshots(sharedMemory(t))
	victims := []owner{ownerOf(1, 0), ownerOf(0, 17)}
	hostile := []owner{ownerOf(2, 0), ownerOf(0, 18), ownerOf(0, 18+callerShares)}
	if hostile[1] != hostile[2] || slices.Contains(hostile, victims[1]) {
		t.Fatalf("%d has a share of %d", victims, hostile)
	}
	handle := uint64(0)
	put := func(o owner) uint64 {
		handle++
		s.put(handle, handle, o, fmt.Append(nil, "text ", handle), false)
		return handle
	}
	var theirs []uint64
	for _, v := range victims {
		theirs = append(theirs, put(v))
	}
	for range 1000 {
		for _, h := range hostile {
			put(h)
		}
	}
	for _, h := range theirs {
		snap, _ := s.get(h, 0)
		if snap == nil || snap.lost > 0 || snap.kept < 0 {
			t.Errorf("text %d is not kept: %+v", h, snap)
		}
	}
	for o, want := range map[owner]int{hostile[0]: maxSnapshots, hostile[1]: maxSnapshots / shareOfView} {
		if got := s.owners[o].count; got != want {
			t.Errorf("%d texts of owner %d, want %d", got, o, want)
		}
	}
}

// TestAnOpenFileThatIsPassedOn counts with who has read it first.
func TestAnOpenFileThatIsPassedOn(t *testing.T) {
	s := newSnapshots(sharedMemory(t))
	first, second := ownerOf(0, 1), ownerOf(0, 2)
	s.put(7, 1, first, []byte("a text"), false)
	s.put(7, 2, second, []byte("another text"), false)
	if h := s.owners[first]; len(s.owners) != 1 || h.count != 1 || h.bytes != len("another text") || h.kept != 1 {
		t.Errorf("%d owners, %+v", len(s.owners), h)
	}
	s.drop(7)
	if len(s.owners) != 0 || len(s.byHandle) != 0 || len(s.kept.free) != sharedSnapshots {
		t.Errorf("%d owners, %d handles, %d places free", len(s.owners), len(s.byHandle), len(s.kept.free))
	}
}
