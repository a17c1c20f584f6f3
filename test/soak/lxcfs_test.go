package soak

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
	"github.com/lxcfs-nri/lxcfs-nri/test/box"
	"github.com/lxcfs-nri/lxcfs-nri/test/lxcfs"
)

// mountedFiles are those that lxcfs has as well.
var mountedFiles = []string{"proc/meminfo", "proc/stat", "proc/uptime", "proc/cpuinfo", "proc/loadavg", "proc/swaps"}

// startLxcfs starts Debian's lxcfs for the test.
func startLxcfs(t *testing.T) *lxcfs.Server {
	t.Helper()
	lx, err := lxcfs.Start(t.Context(), newFolder(t), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lx.Stop(); err != nil {
			t.Error(err)
		}
	})
	return lx
}

// inBox are eight threads that read in a container what is mounted there.
func inBox(t *testing.T, mountpoint string, memTotal uint64) *readers {
	t.Helper()
	g := fixture.NewGroup(t)
	g.Set(t, "memory.max", "memory.limit_in_bytes", "134217728")
	b := box.New(t, g, mountpoint, mountedFiles...)
	var rs []reading
	for _, way := range []string{wayOpen, wayPread, waySmall, waySendfile} {
		rs = append(rs, reading{Way: way, Root: "/", Files: mountedFiles, Threads: 2, MemTotal: memTotal})
	}
	r := &readers{}
	r.start(t, b.Command, rs...)
	return r
}

// TestKilledOnce kills the daemon once under eight readers in a container, and
// does the same to Debian's lxcfs.
func TestKilledOnce(t *testing.T) {
	const before, after = 300 * time.Millisecond, 2 * time.Second
	d, _, _ := two(t)
	ours := inBox(t, d.Mountpoint, 128<<20)
	time.Sleep(before)
	sendSignal(t, d.ready(t), unix.SIGKILL)
	time.Sleep(after)
	memory := d.bounded(t)
	results.add(1, "one SIGKILL under 8 readers in a container", ours.flawless(t), memory)

	lx := startLxcfs(t)
	theirs := inBox(t, lx.Dir, 0)
	time.Sleep(before)
	memory = memoryOf(t, lx.PID())
	sendSignal(t, lx.PID(), unix.SIGKILL)
	time.Sleep(after)
	s := theirs.stop(t)
	if s.Failed == 0 {
		t.Error("no read of lxcfs has failed: the comparison shows nothing")
	}
	results.add(1, "**lxcfs**: the same", s, memory)
	t.Logf("lxcfs: %d failed, %d torn, of %d texts:\n%s", s.Failed, s.Torn, s.Texts, s.examples())
}
