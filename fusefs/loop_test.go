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

// TestAReadWaitsForFewOpens: however many requests there are that are answered
// without a turn, a read that came before them is not answered after all of them.
func TestAReadWaitsForFewOpens(t *testing.T) {
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

	const opStatfs, all = 17, 3 * maxAtOnce
	for n := range all {
		in := request(1, uint64(n+1))
		if n > 0 {
			(*fuse.InHeader)(unsafe.Pointer(&in[0])).Opcode = opStatfs
		}
		if _, err := unix.Write(kernel, in); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	wg.Go(l.worker)
	var order []uint64
	for out := make([]byte, 4096); len(order) < all; {
		p := []unix.PollFd{{Fd: int32(kernel), Events: unix.POLLIN}}
		if n, err := unix.Poll(p, 20_000); n != 1 {
			t.Fatalf("%d answers: %v", len(order), err)
		}
		if _, err := unix.Read(kernel, out); err != nil {
			t.Fatal(err)
		}
		order = append(order, (*fuse.OutHeader)(unsafe.Pointer(&out[0])).Unique)
	}
	unix.Close(kernel) //nolint:errcheck // ends the worker
	wg.Wait()
	if at := slices.Index(order, 1); at < 0 || at > maxAtOnce {
		t.Errorf("the read is answered as number %d of %d", at+1, all)
	}
}
