package view

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
)

// TestPressure: a group is shown its own pressure, and one that has none, as on
// cgroup v1, the host's.
func TestPressure(t *testing.T) {
	const host, own = "some avg10=9.00 avg60=9.00 avg300=9.00 total=9\n", "some avg10=1.00 avg60=0.50 avg300=0.00 total=7\n"
	for name, want := range map[string]string{"v2-limited": own, "v1-limited": host} {
		c := fixture.Load(t, "../cgroup/testdata/"+name+".txtar")
		write(t, filepath.Join(c.Root, "proc/pressure/memory"), []byte(host))
		v := open(t, c, Options{})
		g, err := v.cgroup()
		if err != nil {
			t.Fatal(err)
		}
		if want == own {
			write(t, filepath.Join(c.Root, "sys/fs/cgroup", g.Path(), "memory.pressure"), []byte(own))
		}
		if got := string(render(t, v, "proc/pressure/memory")); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
		f := pressureFile("memory", hostPressureMemory)
		file, err := f.groupFile(v)
		if want == own && (err != nil || file != filepath.Join(c.Root, "sys/fs/cgroup", g.Path(), "memory.pressure")) {
			t.Errorf("%s: the group's file is %q, %v", name, file, err)
		}
		if want == host && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the group's file is %q, %v; want none", name, file, err)
		}
		if n := v.faults.Load(); n != 0 {
			t.Errorf("%s: %d faults", name, n)
		}
	}
}
