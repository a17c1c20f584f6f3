package oracle

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
	"github.com/lxcfs-nri/lxcfs-nri/test/box"
	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

// memoryWork is what is done with memory, and by how many MiB which line of
// /proc/meminfo changes for it.
type memoryWork struct {
	name    string
	size    float64 // in MiB
	args    func(t *testing.T) []string
	changes map[string]float64
	bare    []string // lines that bare Linux, where others run, shows clearly
}

var memoryWorks = []memoryWork{
	{
		name: "anon", size: 100, args: fixed("anon", "100"), bare: []string{"AnonPages", "LRU(anon)", "MemFree", "MemAvailable", "Committed_AS"},
		changes: map[string]float64{"AnonPages": 100, "LRU(anon)": 100, "MemFree": -100, "MemAvailable": -100, "Cached": 0, "Committed_AS": 100},
	},
	{
		// Bare Linux counts half of a small page cache as not available (si_mem_available).
		name: "page cache", size: 50, bare: []string{"Cached", "LRU(file)", "MemFree"},
		args:    func(t *testing.T) []string { return []string{"cache", "50", t.TempDir() + "/file"} },
		changes: map[string]float64{"Cached": 50, "LRU(file)": 50, "MemFree": -50, "MemAvailable": 0, "AnonPages": 0, "Shmem": 0},
	},
	{
		name: "shared memory", size: 20, args: fixed("shmem", "20"), bare: []string{"Shmem", "MemAvailable"},
		changes: map[string]float64{"Shmem": 20, "Cached": 20, "MemFree": -20, "MemAvailable": -20, "AnonPages": 0, "LRU(anon)": 20, "Mapped": 20, "Committed_AS": 20},
	},
	{
		name: "locked memory", size: 6, args: fixed("mlock", "6"), bare: []string{"Unevictable"},
		changes: map[string]float64{"Unevictable": 6, "AnonPages": 6, "MemFree": -6, "MemAvailable": -6},
	},
}

func fixed(args ...string) func(*testing.T) []string {
	return func(*testing.T) []string { return args }
}

// since is the change of a line, in MiB.
func since(before, now figures, line string) float64 {
	get := func(m figures) int64 {
		// Where on its list the kernel puts a page is its own business.
		if kind, ok := strings.CutPrefix(line, "LRU"); ok {
			return m["Active"+kind] + m["Inactive"+kind]
		}
		return m[line]
	}
	return float64(get(now)-get(before)) / mib
}

// TestMemoryOnBareLinux shows that the kernel's own file tells of the work so.
// Others are at work on the machine, too, whose changes may hide ours: tolerances
// are wide, and one of five tries has to agree.
func TestMemoryOnBareLinux(t *testing.T) {
	g := fixture.NewGroup(t)
	bare := func() figures { return parseMeminfo(t, readFile(t, "/proc/meminfo")) }
	raiseCommitted(t, bare)
	for _, w := range memoryWorks {
		t.Run(w.name, func(t *testing.T) {
			want := map[string]float64{}
			for _, line := range w.bare {
				want[line] = w.changes[line]
			}
			var err error
			for range 5 {
				worker := start(t, g.Command, w.args(t)...)
				before := bare()
				worker.do()
				err = change(t, bare, before, want, 0.4*w.size)
				worker.end()
				if err == nil {
					return
				}
			}
			t.Error(err)
		})
	}
}

// raiseCommitted maps memory, without using any, until the kernel has promised
// 1 GiB. Its sum may have been counted down too far while a machine is
// up: below 0 it is shown as 0 (percpu_counter_sum_positive), and tells nothing.
func raiseCommitted(t *testing.T, read func() figures) {
	t.Helper()
	const limit = 64
	for range limit {
		if read()["Committed_AS"] >= 1<<30 {
			return
		}
		promised, err := unix.Mmap(-1, 0, 1<<30, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			t.Fatal("promising memory:", err)
		}
		t.Cleanup(func() {
			if err := unix.Munmap(promised); err != nil {
				t.Error(err)
			}
		})
	}
	t.Fatalf("Committed_AS stays below 1 GiB with %d GiB promised", limit)
}

// TestMemory: what is used shows in its lines and in no other, and goes when it
// is freed. Tolerance: 3 MiB, for what the kernel charges in advance per CPU
// and what the readers need.
func TestMemory(t *testing.T) {
	const tolerance = 3
	g := fixture.NewGroup(t)
	g.Set(t, "memory.max", "memory.limit_in_bytes", strconv.Itoa(512*mib))
	b := box.New(t, g, daemon.Mountpoint)
	if got := meminfo(t, b)["MemTotal"]; got != 512*mib {
		t.Fatalf("MemTotal: got %d", got)
	}
	newWorker(t, b, "anon", "1").end() // has the program read into the page cache, at this group's expense
	for _, w := range memoryWorks {
		t.Run(w.name, func(t *testing.T) {
			rest := meminfo(t, b)
			worker := newWorker(t, b, w.args(t)...)
			before := meminfo(t, b)
			worker.do()
			changed(t, b, before, w.changes, tolerance)
			worker.end()
			nothing := map[string]float64{}
			for line := range w.changes {
				nothing[line] = 0
			}
			changed(t, b, rest, nothing, tolerance)
		})
	}
}

// changed waits until lines have changed by so many MiB, in one reading.
func changed(t *testing.T, b *box.Box, before figures, want map[string]float64, tolerance float64) {
	t.Helper()
	if err := change(t, func() figures { return meminfo(t, b) }, before, want, tolerance); err != nil {
		t.Error(err)
	}
}

func change(t *testing.T, read func() figures, before figures, want map[string]float64, tolerance float64) error {
	t.Helper()
	return rig.Poll(t.Context(), settling, func() (err error) {
		now := read()
		for line, change := range want {
			if got := since(before, now, line); math.Abs(got-change) > tolerance {
				err = errors.Join(err, fmt.Errorf("%s: changed by %.2f MiB, want %.2f ± %.2f", line, got, change, tolerance))
			}
		}
		return err
	})
}

// slab is what 10000 files take in MiB, and the tolerance: an inode and a name
// are at least 1 KiB in every file system, 3 at most.
const slab, slabTolerance = 20, 11

var slabLines = map[string]float64{"SReclaimable": slab, "KReclaimable": slab, "Slab": slab}

// TestSlabOnBareLinux shows that many files take so much kernel memory. On a machine
// that has just dropped others they go where those have been, and show in no sum: of
// five tries, of which all files stay, one has to show.
func TestSlabOnBareLinux(t *testing.T) {
	g := fixture.NewGroup(t)
	bare := func() figures { return parseMeminfo(t, readFile(t, "/proc/meminfo")) }
	var err error
	for range 5 {
		w := start(t, g.Command, "files", "10000", t.TempDir())
		before := bare()
		w.do()
		if err = change(t, bare, before, slabLines, slabTolerance); err == nil {
			return
		}
	}
	t.Error(err)
}

// TestSlab: they take it in the group that made them. v1 tells its sum only.
func TestSlab(t *testing.T) {
	g := fixture.NewGroup(t)
	g.Set(t, "memory.max", "memory.limit_in_bytes", strconv.Itoa(512*mib))
	b := box.New(t, g, daemon.Mountpoint)
	w := newWorker(t, b, "files", "10000", t.TempDir())
	before := meminfo(t, b)
	w.do()
	stat := g.File("memory.stat")
	if g.File("memory.max") != "" {
		changed(t, b, before, slabLines, slabTolerance)
		within(t, "SReclaimable of memory.stat", 0, 1, func() float64 {
			return float64(meminfo(t, b)["SReclaimable"])/mib - keyed(t, stat, "slab_reclaimable")/mib
		})
	}
	// The folder's and the inodes' blocks are page cache besides.
	changed(t, b, before, map[string]float64{"MemFree": -30}, 21)
	w.end()
	if g.File("memory.max") != "" {
		// What lies in partly used slabs stays.
		changed(t, b, before, map[string]float64{"SReclaimable": 0, "Slab": 0}, slabTolerance)
	}
}

// TestGoverningLevel: of the pod's and the container's limit the smaller one
// counts, and what is used at that level; without any the host's file is shown.
func TestGoverningLevel(t *testing.T) {
	for _, c := range []struct{ pod, container, want int64 }{
		{300, 0, 300},
		{0, 200, 200},
		{300, 200, 200},
		{200, 300, 200},
		{0, 0, 0},
	} {
		t.Run(fmt.Sprintf("pod %d, container %d", c.pod, c.container), func(t *testing.T) {
			pod := fixture.NewGroup(t)
			mine, other := pod.Child(t), pod.Child(t)
			for g, limit := range map[*fixture.Group]int64{pod: c.pod, mine: c.container} {
				if limit != 0 {
					g.Set(t, "memory.max", "memory.limit_in_bytes", strconv.FormatInt(limit*mib, 10))
				}
			}
			b := box.New(t, mine, daemon.Mountpoint)
			if c.want == 0 {
				got, host := meminfo(t, b), parseMeminfo(t, readFile(t, "/proc/meminfo"))
				for _, line := range []string{"MemTotal", "SwapTotal", "VmallocTotal", "CommitLimit", "DirectMap4k"} {
					if got[line] != host[line] {
						t.Errorf("%s: got %d, want the host's %d", line, got[line], host[line])
					}
				}
				within(t, "AnonPages", 0, 64, func() float64 {
					return since(parseMeminfo(t, readFile(t, "/proc/meminfo")), meminfo(t, b), "AnonPages")
				})
				return
			}
			neighbour := start(t, other.Command, "anon", "60")
			before := meminfo(t, b)
			if before["MemTotal"] != c.want*mib {
				t.Errorf("MemTotal: got %d, want %d MiB", before["MemTotal"], c.want)
			}
			// A neighbour in the pod counts where the pod governs. Where it does
			// not, the neighbour leaves enough: 240 of 300, of which mine may use 200.
			neighbour.do()
			want := 0.0
			if c.pod == c.want {
				want = -60
			}
			changed(t, b, before, map[string]float64{"MemFree": want, "AnonPages": -want}, 3)
		})
	}
}
