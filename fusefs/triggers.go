package fusefs

import (
	"cmp"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// maxTriggers bounds the triggers of one container, or of one group of readers.
const maxTriggers = 64

// Answers to a poll: what procfs says of every file (DEFAULT_POLLMASK), of a pressure
// file with an event, and of one without a trigger (psi_trigger_poll).
const (
	pollDefault   = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDNORM | unix.EPOLLWRNORM
	pollEvent     = pollDefault | unix.POLLPRI
	pollNoTrigger = pollEvent | unix.POLLERR
)

// privilegedHandle is set in the handle of a file that was opened by a process with
// CAP_SYS_RESOURCE. Nothing else is remembered of open files.
const privilegedHandle = 1 << 63

// triggers are the PSI triggers of open files. The kernel has them, on descriptors of
// this process, which waits for their events and notifies the kernel of each open file
// that is to be polled again. The next process writes them again, from their records in
// shared memory.
type triggers struct {
	shared  *Shared
	log     *slog.Logger
	notify  func(kh uint64)
	waiter  *waiter
	earlier []*triggerWrite // to be written again
	most    int             // in all

	mu       sync.Mutex // not held while a trigger is written or closed
	byHandle map[uint64]*trigger
	counts   map[whose]int
	free     []int // records
}

// trigger is that of one open file.
type trigger struct {
	*sharedTrigger
	handle *atomic.Uint64 // of the record, 0 until the trigger is written
	n      int            // of the record
	fd     int            // the kernel's file, -1 until the trigger is written to it
	owner  whose
}

// triggerWrite is a request to write a trigger.
type triggerWrite struct {
	handle, request uint64
	end, moved      uint64 // position of the open file, and by how much that has moved
	owner           whose
	file            string // the kernel's
	text            []byte
}

// open writes the trigger to the kernel's file, which goes by who opens it.
func (w *triggerWrite) open() (fd int, err error) {
	return view.OpenTrigger(w.file, w.text, w.handle&privilegedHandle != 0)
}

// newTriggers finds the triggers of an earlier process in shared memory. notify tells
// the kernel that an open file is to be polled again.
func newTriggers(shared *Shared, log *slog.Logger, notify func(kh uint64)) (*triggers, error) {
	w, err := newWaiter()
	if err != nil {
		return nil, err
	}
	t := &triggers{
		shared: shared, log: log, notify: notify, waiter: w, most: maxAllTriggers(),
		byHandle: map[uint64]*trigger{}, counts: map[whose]int{},
	}
	handles := shared.triggerHandles()
	for n := sharedTriggers - 1; n >= 0; n-- {
		handle := handles[n].Load()
		if handle == 0 || t.byHandle[handle] != nil {
			handles[n].Store(0)
			t.free = append(t.free, n)
			continue
		}
		r := shared.trigger(n)
		t.addLocked(handle, n, r.owner)
		t.earlier = append(t.earlier, r.written(handle))
	}
	return t, nil
}

// addLocked adds a trigger with that record.
func (t *triggers) addLocked(handle uint64, n int, owner whose) *trigger {
	tr := &trigger{t.shared.trigger(n), &t.shared.triggerHandles()[n], n, -1, owner}
	t.byHandle[handle] = tr
	t.counts[owner]++
	return tr
}

// maxAllTriggers leaves most descriptors to everything else.
func maxAllTriggers() int {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return maxTriggers
	}
	return int(min(l.Cur/4, sharedTriggers))
}

// write writes a trigger for an open file.
func (t *triggers) write(w *triggerWrite) error {
	tr, err := t.reserve(w)
	if tr == nil {
		return err
	}
	fd, err := w.open()
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		tr.set(w)
		tr.handle.Store(w.handle)
		err = t.watchLocked(tr, w.handle, fd)
	}
	if err != nil {
		delete(t.byHandle, w.handle)
		t.freeLocked(tr)
	}
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOSPC) {
		return unix.ENOMEM // of the daemon's limits the program knows nothing
	}
	return err
}

// reserve makes room for a trigger. It returns nil if the open file has one, without an
// error if an earlier process has written that for the same request.
func (t *triggers) reserve(w *triggerWrite) (*trigger, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if tr := t.byHandle[w.handle]; tr != nil {
		if tr.handle.Load() != 0 && tr.request == w.request {
			return nil, nil
		}
		return nil, unix.EBUSY
	}
	switch {
	case len(w.file) > len(sharedTrigger{}.path):
		return nil, unix.ENAMETOOLONG
	case t.counts[w.owner] >= maxTriggers, sharedTriggers-len(t.free) >= t.most:
		return nil, unix.ENOMEM
	}
	n := t.free[len(t.free)-1]
	t.free = t.free[:len(t.free)-1]
	return t.addLocked(w.handle, n, w.owner), nil
}

// watchLocked has the events of a trigger waited for. If that fails it is closed.
func (t *triggers) watchLocked(tr *trigger, handle uint64, fd int) error {
	if err := t.waiter.add(handle, fd); err != nil {
		unix.Close(fd) //nolint:errcheck // nobody has polled it
		return err
	}
	tr.fd = fd
	return nil
}

// freeLocked gives a trigger's room back.
func (t *triggers) freeLocked(tr *trigger) {
	tr.handle.Store(0)
	t.free = append(t.free, tr.n)
	if t.counts[tr.owner]--; t.counts[tr.owner] == 0 {
		delete(t.counts, tr.owner)
	}
}

// ofLocked returns an open file's trigger, nil if it has none (yet).
func (t *triggers) ofLocked(handle uint64) *trigger {
	if tr := t.byHandle[handle]; tr != nil && tr.handle.Load() != 0 {
		return tr
	}
	return nil
}

// poll answers a poll of an open file. An event is reported once: but again to a request
// that an earlier process may have answered already.
func (t *triggers) poll(handle, request, kh uint64) uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	tr := t.ofLocked(handle)
	if tr == nil {
		return pollNoTrigger
	}
	tr.kh = kh
	switch {
	case tr.dead != 0:
		return pollNoTrigger
	case tr.event != 0, tr.polled == request:
		tr.polled = request
		tr.event = 0
		return pollEvent
	}
	return pollDefault
}

// happened takes in what the kernel reports of a trigger. It returns the number of the
// open file to be polled again, 0 if nobody has polled it so far, or not since the last
// event.
func (t *triggers) happened(handle uint64, events uint32) (kh uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tr := t.ofLocked(handle)
	switch {
	case tr == nil: // closed meanwhile
		return 0
	case events&unix.EPOLLERR != 0: // the group was removed
		tr.dead = 1
		t.waiter.remove(tr.fd)
	case tr.event != 0:
		return 0
	}
	tr.event = 1
	return tr.kh
}

// position returns where a read of an open file is meant to begin.
func (t *triggers) position(handle, offset uint64) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if tr := t.ofLocked(handle); tr != nil {
		return tr.position(offset)
	}
	return offset
}

// drop ends the trigger of a file that was closed.
func (t *triggers) drop(handle uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tr := t.byHandle[handle]
	if tr == nil {
		return
	}
	delete(t.byHandle, handle)
	tr.handle.Store(0)
	if tr.fd < 0 {
		t.freeLocked(tr)
		return
	}
	t.waiter.closing <- tr // has room for all
}

// closed gives the room of a trigger back that the kernel has no more.
func (t *triggers) closed(tr *trigger) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.freeLocked(tr)
}

// resume writes the triggers of an earlier process again.
func (t *triggers) resume() {
	failed, first := 0, error(nil)
	for _, w := range t.earlier {
		fd, err := w.open()
		kh, err := t.resumed(w.handle, fd, err)
		if kh != 0 {
			t.notify(kh)
		}
		if err != nil {
			failed, first = failed+1, cmp.Or(first, err)
		}
	}
	if failed > 0 {
		t.log.Warn("PSI triggers can't be taken over from the process before: polls of their files report an error", "triggers", failed, "of", len(t.earlier), "error", first)
	}
}

// resumed takes in that a trigger was written again, or why not. It returns the number
// of the open file to be polled again, 0 for none: the earlier process may have known of
// an event and not have notified the kernel.
func (t *triggers) resumed(handle uint64, fd int, err error) (kh uint64, _ error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tr := t.ofLocked(handle)
	switch {
	case tr == nil && err == nil: // closed meanwhile
		unix.Close(fd) //nolint:errcheck // nobody has polled it
		return 0, nil
	case tr == nil:
		return 0, nil
	case err == nil:
		err = t.watchLocked(tr, handle, fd)
	}
	if err != nil {
		tr.event, tr.dead = 1, 1
	}
	if tr.event == 0 {
		return 0, nil
	}
	return tr.kh, err
}
