package view

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
)

func TestMain(m *testing.M) {
	fixture.TasksMain()
	os.Exit(m.Run())
}

// live opens a test's group on this machine.
func live(t testing.TB, g *fixture.Group) *cgroup.Group {
	t.Helper()
	fs, err := cgroup.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	group, err := fs.GroupOfSpec(g.Name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(group.Close)
	return group
}

// TestStatesCountAllThatBlock: waits that only a kill ends count, though the
// kernel's own count of a group's states leaves them out.
func TestStatesCountAllThatBlock(t *testing.T) {
	made := fixture.NewGroup(t)
	g := live(t, made)
	made.Tasks(t, 2, 3, 4)
	h := NewHost("/")
	var running, blocked uint64
	for range 100 {
		tids, err := g.Tasks(nil, maxTasksScanned)
		if err != nil {
			t.Fatal(err)
		}
		if running, blocked = h.states(g, tids); running == 2 && blocked == 3 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("%d running, %d blocked, want 2 and 3", running, blocked)
}

// TestStatesOfMoreTasksThanAreLookedAt come whole from the kernel where it
// counts (v1), and never from more than are looked at where it does not.
func TestStatesOfMoreTasksThanAreLookedAt(t *testing.T) {
	made := fixture.NewGroup(t)
	g := live(t, made)
	made.Tasks(t, 1, 0, 10)
	_, err := g.TaskStates()
	var want uint64
	if err == nil {
		want = 1
	}
	// A full list of tasks that there are not, as if the busy one were not among them.
	tids := make([]int, maxTasksScanned)
	for i := range tids {
		tids[i] = 1 << 22
	}
	var running uint64
	for range 100 {
		if running, _ = NewHost("/").states(g, tids); running == want {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("%d running, want %d (the kernel's count: %v)", running, want, err)
}

func BenchmarkStates(b *testing.B) {
	for _, n := range []int{5, 50, 500} {
		made := fixture.NewGroup(b)
		g := live(b, made)
		made.Tasks(b, 0, 0, n)
		h := NewHost("/")
		tids, err := g.Tasks(nil, maxTasksScanned)
		if err != nil || len(tids) < n {
			b.Fatalf("%d tasks (%v), want %d", len(tids), err, n)
		}
		b.Run(fmt.Sprintf("each=%d", n), func(b *testing.B) {
			for b.Loop() {
				h.scanStates(tids)
			}
		})
		b.Run(fmt.Sprintf("kernel=%d", n), func(b *testing.B) {
			for b.Loop() {
				if _, err := g.TaskStates(); err != nil {
					b.Skip(err) // cgroup v2 has no such count
				}
			}
		})
	}
}
