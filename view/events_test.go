package view

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
)

// TestEvents has runtimes tell of containers in any order, at the same time, while
// they are read: what must always hold does.
func TestEvents(t *testing.T) {
	c := fixture.Load(t, "../cgroup/testdata/v2-limited.txtar")
	files := openFiles(t)
	for round := range 10 {
		name := filepath.Join(t.TempDir(), fmt.Sprint("containers-", round))
		r := journaled(t, c, name)
		r.next = slots - 20 // few slots: numbers are soon given again
		var wg sync.WaitGroup
		for worker := range 6 {
			wg.Go(func() {
				e := events{t: t, r: r, pid: c.PID, random: rand.New(rand.NewPCG(uint64(round), uint64(worker)))}
				for range 300 {
					e.next()
				}
			})
		}
		wg.Wait()
		consistent(t, r)
		want := numbers(r)
		next := journaled(t, c, name)
		for id, number := range want {
			if r.Get(id).Container().PID > 1<<22 {
				delete(want, id) // its process is not there
			} else if next.ByNumber(number) == nil {
				t.Errorf("%s is not known by its number to the next process", id)
			}
		}
		if got := numbers(next); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("the next process knows %v, want %v", got, want)
		}
		next.Close()
		r.Close()
	}
	if n := openFiles(t); n > files+20 { // the journals
		t.Errorf("%d descriptors are open, %d were", n, files)
	}
}

// events are what one goroutine does to a registry.
type events struct {
	t      *testing.T
	r      *Registry
	pid    int
	random *rand.Rand
	b      []byte
}

var eventRuntimes = []string{"one", "two"}

func (e *events) next() {
	id := fmt.Sprint("c", e.random.IntN(12))
	switch e.random.IntN(10) {
	case 0, 1, 2, 3:
		pids := []int{0, e.pid, 1<<22 + 1 + e.random.IntN(3)}
		v, err := e.r.Add(Container{ID: id, Runtime: eventRuntimes[e.random.IntN(2)], PID: pids[e.random.IntN(3)]})
		if err != nil || v.Number == 0 || v.Number%slots == 0 {
			e.t.Errorf("add %s: %+v, %v", id, v, err)
		}
	case 4, 5:
		e.r.Remove(id)
	case 6:
		e.r.Keep(eventRuntimes[e.random.IntN(2)], map[string]bool{id: true, "c1": true})
	case 7:
		n := uint32(e.random.IntN(MaxNumber))
		if v := e.r.ByNumber(n); v != nil && v.Number != n {
			e.t.Errorf("number %d gives view %d", n, v.Number)
		}
	default:
		v := e.r.Get(id)
		if v == nil {
			return
		}
		if got := e.r.ByNumber(v.Number); got != nil && got != v {
			e.t.Errorf("number %d means two views", v.Number)
		}
		var err error
		e.b, err = v.Append(&Files[e.random.IntN(6)], e.b[:0])
		if err != nil && !errors.Is(err, ErrGone) || err == nil && len(e.b) == 0 {
			e.t.Errorf("%q, %v", e.b, err)
		}
	}
}

// consistent checks what holds of a registry at rest.
func consistent(t *testing.T, r *Registry) {
	t.Helper()
	ids, given := map[string]bool{}, map[uint32]bool{}
	for _, v := range r.List() {
		id := v.Container().ID
		if ids[id] || given[v.Number%slots] {
			t.Errorf("%s, number %d, is there twice", id, v.Number)
		}
		ids[id], given[v.Number%slots] = true, true
		if r.ByNumber(v.Number) != v || r.Get(id) != v {
			t.Errorf("%s, number %d, is not found", id, v.Number)
		}
	}
	for n := range r.byNumber {
		if v := r.byNumber[n].Load(); v != nil && (!given[uint32(n)] || v.Number%slots != uint32(n)) {
			t.Errorf("slot %d holds view %d of %s, which is not listed", n, v.Number, v.Container().ID)
		}
	}
	for _, n := range r.free {
		if given[n%slots] {
			t.Errorf("number %d is free and given", n)
		}
	}
}
