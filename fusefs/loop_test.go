package fusefs

import (
	"log/slog"
	"slices"
	"sync"
	"testing"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// asked is a request, by its view and its operation.
type asked struct{ view, opcode uint32 }

// orderOf gives requests, all of which the kernel has at once, to one worker, and
// tells in which order it answers them.
func orderOf(t *testing.T, requests []asked) (order []int) {
	t.Helper()
	c := fixture.Load(t, "../cgroup/testdata/v2-limited.txtar")
	groups, err := cgroup.Open(c.Root)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	registry := view.NewRegistry(view.NewHost(c.Root), groups, log, view.Options{})
	t.Cleanup(registry.Close)
	// What is between the kernel and a worker keeps records apart, as the device does.
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	kernel, device := ends[0], ends[1]
	t.Cleanup(func() { unix.Close(device) }) //nolint:errcheck // of a test
	l := New(registry, log, func(string) bool { return true }).connect("", device, sharedMemory(t)).loop
	l.slots <- 0
	for n, r := range requests {
		in := request(r.view, uint64(n+1))
		(*fuse.InHeader)(unsafe.Pointer(&in[0])).Opcode = r.opcode
		if _, err := unix.Write(kernel, in); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	wg.Go(l.worker)
	for out := make([]byte, 4096); len(order) < len(requests); {
		p := []unix.PollFd{{Fd: int32(kernel), Events: unix.POLLIN}}
		if n, err := unix.Poll(p, 20_000); n != 1 {
			t.Fatalf("%d answers: %v", len(order), err)
		}
		if _, err := unix.Read(kernel, out); err != nil {
			t.Fatal(err)
		}
		order = append(order, int((*fuse.OutHeader)(unsafe.Pointer(&out[0])).Unique)-1)
	}
	unix.Close(kernel) //nolint:errcheck // ends the worker
	wg.Wait()
	return order
}

// TestAReadWaitsForFewOthers: however many requests there are that are answered
// without a turn, a read that came before them is not answered after all of them.
func TestAReadWaitsForFewOthers(t *testing.T) {
	const opStatfs = 17
	requests := slices.Repeat([]asked{{1, opStatfs}}, 3*maxAtOnce)
	requests[0].opcode = opRead
	if at := slices.Index(orderOf(t, requests), 0); at < 0 || at > maxAtOnce {
		t.Errorf("the read is answered as number %d of %d", at+1, len(requests))
	}
}

// TestOpensTakeTurns: who opens a file does not wait for all that another view's
// readers open.
func TestOpensTakeTurns(t *testing.T) {
	requests := slices.Repeat([]asked{{1, opOpen}}, 3*maxAtOnce)
	requests[0].opcode = opRead
	last := len(requests) - 1
	requests[last].view = 2
	if at := slices.Index(orderOf(t, requests), last); at < 0 || at > 2 {
		t.Errorf("the other view's is answered as number %d of %d", at+1, len(requests))
	}
}
