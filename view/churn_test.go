package view

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
)

// TestChurn has ten thousand containers come, be read, and go, each with a life
// as a runtime tells it: nothing of them is left, but for their numbers.
func TestChurn(t *testing.T) {
	c := fixture.Load(t, "../cgroup/testdata/v2-limited.txtar")
	name := filepath.Join(t.TempDir(), "containers")
	r := journaled(t, c, name)
	defer r.Close()
	add(t, r, Container{ID: "stays", PID: c.PID})
	const all = 10_000
	var before uint64
	files := 0
	var b []byte
	for i := range all {
		if i == all/10 {
			before, files = heap(), openFiles(t)
		}
		id := fmt.Sprintf("%064d", i)
		add(t, r, Container{ID: id, Namespace: "n", Pod: "p", Name: "c", CgroupsPath: "/kubepods/burstable/pod1234/ctr"})
		v := add(t, r, Container{ID: id, Namespace: "n", Pod: "p", Name: "c", CgroupsPath: "/kubepods/burstable/pod1234/ctr", PID: c.PID})
		var err error
		if b, err = v.Append(&Files[i%6], b[:0]); err != nil {
			t.Fatal(err)
		}
		r.Remove(id)
	}
	// The numbers that were given are known, so as to be given again late.
	const perNumber = 200
	if grown := int64(heap()) - int64(before); grown > all*perNumber {
		t.Errorf("%d bytes more are in use, %d a container", grown, grown/all)
	}
	if n := openFiles(t); n > files {
		t.Errorf("%d descriptors are open, %d were", n, files)
	}
	if n := len(r.List()); n != 1 {
		t.Errorf("%d containers are registered", n)
	}
	st, err := os.Stat(name)
	if err != nil || st.Size() > 2*firstTidy {
		t.Errorf("the list of containers has %d bytes (%v)", st.Size(), err)
	}
	if got, want := numbers(journaled(t, c, name)), numbers(r); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the next process knows %v, want %v", got, want)
	}
}

// heap is what is in use.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // what finalizers and pools held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
