package fusefs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// waiter waits for the events of all triggers, and closes triggers.
//
// A poll of a trigger consumes its event, so that the descriptor of epoll may not be
// polled itself, as Go's runtime would do: a thread waits in epoll_wait(2).
type waiter struct {
	epoll, stop int
	// closing has room for all triggers. To close one can take the kernel a while
	// (synchronize_rcu in psi_trigger_destroy): a single thread does it.
	closing chan *trigger
	wg      sync.WaitGroup
}

// stopHandle stands for the descriptor that ends the waiter: no open file has it.
const stopHandle = 0

func newWaiter() (*waiter, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("wait for PSI triggers: %w", err)
	}
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epoll) //nolint:errcheck // never used
		return nil, fmt.Errorf("wait for PSI triggers: %w", err)
	}
	w := &waiter{epoll: epoll, stop: stop, closing: make(chan *trigger, sharedTriggers)}
	if err := w.control(stopHandle, stop, unix.EPOLLIN); err != nil {
		w.close()
		return nil, fmt.Errorf("wait for PSI triggers: %w", err)
	}
	return w, nil
}

// add waits for the events of an open file's trigger, too.
func (w *waiter) add(handle uint64, fd int) error { return w.control(handle, fd, unix.EPOLLPRI) }

func (w *waiter) control(handle uint64, fd int, events uint32) error {
	e := unix.EpollEvent{Events: events, Fd: int32(uint32(handle)), Pad: int32(uint32(handle >> 32))}
	return unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, fd, &e)
}

// remove waits no more for a trigger that stays open.
func (w *waiter) remove(fd int) {
	unix.EpollCtl(w.epoll, unix.EPOLL_CTL_DEL, fd, nil) //nolint:errcheck // it is there
}

// run waits until close.
func (w *waiter) run(t *triggers) {
	events := make([]unix.EpollEvent, 64)
	for {
		n, err := unix.EpollWait(w.epoll, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			t.log.Error("BUG: PSI triggers are waited for no more", "error", err)
			return
		}
		for _, e := range events[:max(0, n)] {
			handle := uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32
			if handle == stopHandle {
				return
			}
			if kh := t.happened(handle, e.Events); kh != 0 {
				t.notify(kh)
			}
		}
	}
}

// close ends what newWaiter has begun.
func (w *waiter) close() {
	unix.Close(w.epoll) //nolint:errcheck // nothing to lose
	unix.Close(w.stop)  //nolint:errcheck // nothing to lose
}

// start begins to serve triggers.
func (t *triggers) start() {
	w := t.waiter
	w.wg.Go(func() { w.run(t) })
	w.wg.Go(t.resume)
	w.wg.Go(func() {
		for tr := range w.closing {
			unix.Close(tr.fd) //nolint:errcheck // the trigger goes with it
			t.closed(tr)
		}
	})
}

// end closes all triggers. There must be no requests any more.
func (t *triggers) end() {
	w := t.waiter
	unix.Write(w.stop, binary.NativeEndian.AppendUint64(nil, 1)) //nolint:errcheck // there is room for a number
	close(w.closing)
	w.wg.Wait()
	for _, tr := range t.byHandle {
		if tr.fd >= 0 {
			unix.Close(tr.fd) //nolint:errcheck // the trigger goes with it
		}
	}
	w.close()
}
