package fusefs

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

const (
	// maxWrite is the least that the kernel takes for a bound; a PSI trigger is short.
	maxWrite = 4096
	// maxRead is the kernel's own bound without FUSE_MAX_PAGES: 32 pages of
	// 4 KiB; larger pages give larger reads.
	maxReadPages = 32
	// maxAtOnce is how many requests are answered without a turn before one that
	// waits for its: threads that open files, and nothing else, have new ones in
	// the device all the time.
	maxAtOnce = 16
)

// loop reads requests from the device and answers them.
//
// Waking a thread on another CPU costs more than making an answer. So one
// worker at a time waits for the device; another joins only while it is busy:
// at once when requests queue up that have to render, and by the watch when the
// busy one is stuck.
//
// All that the kernel has is taken before one request is answered that renders, so
// that each view can have its turn.
type loop struct {
	fd     int
	server *fuse.ProtocolServer
	poll   func(*pollIn) (events uint32) // nil: the kernel is told that there is none
	shared *Shared
	slots  chan int // of shared memory, not in use
	queue  *queue

	waiting atomic.Int32  // workers that wait for the device
	workers atomic.Int32  // all of them
	served  atomic.Uint64 // requests answered, for the watch
	spare   chan struct{} // wakes a parked worker
	done    chan struct{} // closed when the connection ends
	end     sync.Once
	err     error // why it ended; set before done is closed

	watching atomic.Bool
	watch    chan struct{}
	wg       sync.WaitGroup
}

func newLoop(fd int, server *fuse.ProtocolServer, shared *Shared, callers *callers) *loop {
	return &loop{
		fd: fd, server: server, shared: shared, slots: make(chan int, maxWorkers),
		queue: newQueue(shared, callers, runtime.GOMAXPROCS(0)),
		spare: make(chan struct{}), done: make(chan struct{}), watch: make(chan struct{}, 1),
	}
}

// run serves until the file system is unmounted everywhere.
func (l *loop) run() error {
	// A worker asks whether there is more without being held up.
	if err := unix.SetNonblock(l.fd, true); err != nil {
		return fmt.Errorf("prepare /dev/fuse: %w", err)
	}
	l.takeOver()
	l.wg.Go(l.watcher)
	l.start()
	l.wg.Wait()
	return l.err
}

// takeOver brings the protocol server to where an earlier process was, and
// has the requests answered that this one had taken from the kernel; those in
// the queue are there already.
func (l *loop) takeOver() {
	if init := l.shared.initRequest(); init != nil {
		out := make([]byte, headSize)
		l.server.HandleRequest([][]byte{init}, [][]byte{out}) // the kernel has its answer
	}
	for n := range maxWorkers {
		slot := l.shared.slot(n)
		size := pending(slot)
		if size < int(unsafe.Sizeof(fuse.InHeader{})) {
			clearSlot(slot)
			l.slots <- n
			continue
		}
		l.wg.Go(func() {
			l.answer(slot[:size], make([]byte, replySize()))
			clearSlot(slot)
			l.slots <- n
		})
	}
}

// replySize is that of the largest reply.
func replySize() int { return maxReadPages*unix.Getpagesize() + 4096 }

// start adds a worker.
func (l *loop) start() {
	if l.workers.Add(1) > maxWorkers {
		l.workers.Add(-1)
		return
	}
	l.wg.Go(l.worker)
}

// join has a further worker: a parked one, else a new one.
func (l *loop) join() {
	select {
	case l.spare <- struct{}{}:
	default:
		l.start()
	}
}

func (l *loop) stop(err error) {
	l.end.Do(func() {
		l.err = err
		close(l.done)
	})
}

func (l *loop) worker() {
	number := <-l.slots
	defer func() { l.slots <- number }()
	in := l.shared.slot(number)
	out := make([]byte, replySize())
	for {
		for atOnce := 0; atOnce < maxAtOnce; {
			n, err := l.read(in)
			if err != nil {
				l.stop(err)
				return
			}
			if n == 0 {
				break
			}
			if !l.waits(in) || !l.queue.put(in[:n]) {
				l.answer(in[:n], out)
				atOnce++
			}
			clearSlot(in)
		}
		if k, ok := l.queue.take(); ok {
			l.share()
			l.answer(k.in, out)
			l.queue.answered(k)
			continue
		}
		if !l.rest() {
			return
		}
	}
}

// share lets another worker have what waits, while there are fewer of them than
// processors, and one.
func (l *loop) share() {
	if int(l.workers.Load()) < runtime.GOMAXPROCS(0)+1 && l.queue.waiting() > 0 {
		l.join()
	}
}

// rest waits for the device, or, where another worker does, to be needed; false
// at the end of the connection.
func (l *loop) rest() bool {
	if !l.waiting.CompareAndSwap(0, 1) {
		select {
		case <-l.spare:
			return true
		case <-l.done:
			return false
		}
	}
	defer l.waiting.Store(0)
	p := []unix.PollFd{{Fd: int32(l.fd), Events: unix.POLLIN}}
	// An error of the device is found by who reads it.
	if _, err := unix.Poll(p, -1); err != nil && !errors.Is(err, unix.EINTR) {
		l.stop(fmt.Errorf("waiting for /dev/fuse: %w", err))
		return false
	}
	return true
}

// read takes one request; 0 where there is none.
func (l *loop) read(in []byte) (int, error) {
	n, err := unix.Read(l.fd, in)
	switch {
	case err == nil && n < int(unsafe.Sizeof(fuse.InHeader{})):
		return 0, fmt.Errorf("the kernel sent a request of %d bytes", n)
	case err == nil:
		l.wake()
		return n, nil
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR), errors.Is(err, unix.ENOENT):
		return 0, nil // ENOENT: the request was interrupted before we had it
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ECONNABORTED): // the latter in the midst of a read
		return 0, errUnmounted
	}
	return 0, fmt.Errorf("reading /dev/fuse: %w", err)
}

var errUnmounted = errors.New("the file system is unmounted")

// Opcodes (linux/fuse.h).
const (
	opLookup  = 1
	opGetattr = 3
	opOpen    = 14
	opRead    = 15
	opWrite   = 16
	opInit    = 26
	opPoll    = 40
)

// waits says that a request takes its turn: content has to be made for it, or
// others wait. Else it is answered in microseconds, too soon for another worker to be
// of use. Who opens a file waits for the answer, as who reads does; nobody waits for
// a file to be closed.
func (l *loop) waits(in []byte) bool {
	switch (*fuse.InHeader)(unsafe.Pointer(&in[0])).Opcode {
	case opGetattr, opRead, opWrite:
		return true
	case opLookup, opOpen, opPoll:
		return l.queue.waiting() > 0
	}
	return false
}

func (l *loop) answer(in, out []byte) {
	if (*fuse.InHeader)(unsafe.Pointer(&in[0])).Opcode == opInit {
		l.shared.keepInit(in)
	}
	if n := l.reply(in, out); n > 0 {
		// ENOENT: the reader was killed meanwhile. Other errors leave the
		// request to the kernel, which ends it with the connection.
		unix.Write(l.fd, out[:n]) //nolint:errcheck // nobody is left to tell
	}
	l.served.Add(1)
}

// reply makes the answer to a request, 0 bytes for one that wants none. Whatever
// goes wrong is an answer, too: who is not answered waits for ever.
func (l *loop) reply(in, out []byte) (n int) {
	failed := func(status fuse.Status) int {
		h := (*fuse.OutHeader)(unsafe.Pointer(&out[0]))
		*h = fuse.OutHeader{Length: uint32(unsafe.Sizeof(*h)), Status: -int32(status), Unique: (*fuse.InHeader)(unsafe.Pointer(&in[0])).Unique}
		return int(h.Length)
	}
	defer func() {
		if recover() != nil { // outside of go-fuse's own guard
			n = failed(fuse.EIO)
		}
	}()
	if l.poll != nil && (*fuse.InHeader)(unsafe.Pointer(&in[0])).Opcode == opPoll {
		return replyToPoll(l.poll, in, out)
	}
	n, status := l.server.HandleRequest([][]byte{in}, [][]byte{out})
	if !status.Ok() {
		return failed(status)
	}
	return n
}

// wake has the watch run.
func (l *loop) wake() {
	if !l.watching.Load() && l.watching.CompareAndSwap(false, true) {
		select {
		case l.watch <- struct{}{}:
		default:
		}
	}
}

// ready says whether the kernel has a request.
func (l *loop) ready() bool {
	p := []unix.PollFd{{Fd: int32(l.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0 && p[0].Revents&unix.POLLIN != 0
}

// watcher lets another worker in where all are busy for longer than a tick and
// requests wait. It runs only while requests come.
func (l *loop) watcher() {
	const busyTick, quietTicks = time.Millisecond, 16
	for {
		select {
		case <-l.watch:
		case <-l.done:
			return
		}
		for quiet, last := 0, uint64(0); quiet < quietTicks; {
			select {
			case <-time.After(busyTick << (quiet / 4)):
			case <-l.done:
				return
			}
			served := l.served.Load()
			switch {
			case served != last:
				quiet, last = 0, served
			case l.queue.waiting() > 0, l.waiting.Load() == 0 && l.ready():
				l.join()
			case l.waiting.Load() > 0:
				quiet++
			}
		}
		l.watching.Store(false)
	}
}
