package fusefs

import "sync/atomic"

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
