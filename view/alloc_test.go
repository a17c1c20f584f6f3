//go:build !race

// With the race detector sync.Pool drops what it is given, at random.

package view

import (
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
)

// TestRendersAllocateNothing: a container that reads all the time costs no
// garbage. diskstats and the once-a-second counts of stat are left out.
func TestRendersAllocateNothing(t *testing.T) {
	for _, name := range []string{"v2-limited", "v1-limited"} {
		v := open(t, fixture.Load(t, "../cgroup/testdata/"+name+".txtar"), Options{})
		b := make([]byte, 0, 64<<10)
		for i := range Files {
			f := &Files[i]
			if f.Path == "proc/diskstats" || !rendered(v, f) {
				continue
			}
			n := testing.AllocsPerRun(100, func() {
				due(v)
				if _, err := v.Append(f, b); err != nil {
					t.Fatal(err)
				}
			})
			t.Logf("%s: %s: %v allocations", name, f.Path, n)
			if n > 0 {
				t.Errorf("%s: %s allocates %v times", name, f.Path, n)
			}
		}
	}
}
