package fusefs

import (
	"sync"
	"sync/atomic"
	"time"
)

// callers knows whose turn the requests are for which the reader decides, by what
// they were found to be when the last request of the same thread was answered. To
// ask the kernel before a request is queued would cost as much as to answer it.
//
// It is of bounded size, and a hint only: a thread that is not known yet, or not
// any more, shares a turn with all such threads. A number of a thread that is used
// again makes another wait once.
type callers [1 << 14]atomic.Uint64

// note says which group a thread's requests are for.
func (c *callers) note(pid, group uint32) {
	if group != 0 {
		c[pid%uint32(len(c))].Store(uint64(pid)<<32 | uint64(group))
	}
}

// of is a thread's group, 0 where it is not known.
func (c *callers) of(pid uint32) uint32 {
	if e := c[pid%uint32(len(c))].Load(); uint32(e>>32) == pid {
		return uint32(e)
	}
	return 0
}

// sizes are those of files for which the reader decides, as they were last. The
// kernel may not keep them for whoever asks next, so it wants to know one at each
// open(2), which checks the mode; a text made for that would cost as much as the
// one that is read then.
//
// It is of bounded size: what is not known (any more) is made anew.
type sizes struct {
	mu      sync.Mutex
	entries [1 << 11]toldSize
}

type toldSize struct {
	group uint32
	file  uint64 // number in the tree
	size  int
	at    time.Time
}

func (s *sizes) entry(group uint32, file uint64) *toldSize {
	return &s.entries[(uint64(group)*31+file)%uint64(len(s.entries))]
}

// note says how long a file is for a group of callers; 0 is none.
func (s *sizes) note(group uint32, file uint64, size int) {
	if group == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	*s.entry(group, file) = toldSize{group: group, file: file, size: size, at: time.Now()}
}

// of is what was noted in the last second.
func (s *sizes) of(group uint32, file uint64) (size int, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entry(group, file)
	return e.size, group != 0 && e.group == group && e.file == file && time.Since(e.at) < sizeHolds
}
