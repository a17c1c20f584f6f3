package view

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// TestCallersAtOnce: readers of one container that come at once share its view,
// and none is in the way of another; neither is a view that is forgotten while
// it is read.
func TestCallersAtOnce(t *testing.T) {
	for range 30 {
		r, c := newRegistry(t)
		before := openFiles(t)
		r.callers.hostNS = "pid:[1]"
		if err := os.MkdirAll(filepath.Dir(r.pidNS(c.PID)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(r.callers.hostNS, r.pidNS(c.PID)); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		begin := make(chan struct{})
		for i := range 8 {
			wg.Go(func() {
				<-begin
				for range 5 {
					v, err := r.CallerView(c.PID)
					if err != nil {
						t.Error(err)
						continue
					}
					if b, err := v.AppendForCaller(&Files[i%6], nil); err != nil || len(b) == 0 {
						t.Errorf("%s: %q, %v", Files[i%6].Path, b, err)
					}
				}
			})
		}
		wg.Go(func() {
			<-begin
			for range 20 {
				r.callers.mu.Lock()
				if e := r.callers.used.Back(); e != nil {
					r.callers.dropLocked(e)
				}
				r.callers.mu.Unlock()
			}
		})
		close(begin)
		wg.Wait()
		r.Close()
		if after := openFiles(t); after > before {
			t.Fatalf("%d descriptors are open, %d were before", after, before)
		}
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}
