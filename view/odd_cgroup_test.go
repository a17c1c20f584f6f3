package view

import (
	"bytes"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
)

// TestEachCgroupFileOdd: whichever file of a group, or of an ancestor, is missing, empty or
// odd, every file is served, and no limit shrinks by it.
func TestEachCgroupFileOdd(t *testing.T) {
	for _, name := range []string{"v1-pod-limit", "v2-hugetlb", "hybrid"} {
		c := fixture.Load(t, "../cgroup/testdata/"+name+".txtar")
		want := shownBy(t, open(t, c, Options{}))
		tried := 0
		err := filepath.WalkDir(filepath.Join(c.Root, "sys/fs/cgroup"), func(file string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			content, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			if err := os.Remove(file); err != nil {
				return err
			}
			v := open(t, c, Options{}) // with descriptors of its own
			for _, odd := range []string{"missing", "", "odd\n\n", "-1\n"} {
				if odd != "missing" {
					if err := os.WriteFile(file, []byte(odd), 0o600); err != nil {
						return err
					}
				}
				v.tasks.set = false
				got := shownBy(t, v)
				if got.memory < want.memory || got.cpus < want.cpus || got.swap < want.swap || got.free == 0 && want.free > 0 {
					t.Errorf("%s %q: got %+v, want at least %+v", file, odd, got, want)
				}
				tried++
			}
			v.close()
			return os.WriteFile(file, content, 0o600)
		})
		if err != nil || tried < 100 {
			t.Errorf("%s: %d tried: %v", name, tried, err)
		}
	}
}

// sums is what a view shows, summed up.
type sums struct {
	memory, free, swap int64 // kB
	cpus               int
}

// shownBy reads all files of a view.
func shownBy(t *testing.T, v *View) (s sums) {
	t.Helper()
	for i := range Files {
		if !rendered(v, &Files[i]) {
			continue
		}
		b, err := v.Append(&Files[i], nil)
		if err != nil {
			t.Errorf("%s: %v", Files[i].Path, err)
		}
		switch Files[i].Path {
		case "proc/meminfo":
			for line := range bytes.Lines(b) {
				f := strings.Fields(string(line))
				n, err := strconv.ParseInt(f[1], 10, 64)
				if err != nil {
					t.Error(err)
				}
				switch f[0] {
				case "MemTotal:":
					s.memory = n
				case "MemFree:":
					s.free = n
				case "SwapTotal:":
					s.swap = n
				}
			}
		case "proc/cpuinfo":
			s.cpus = bytes.Count(b, []byte("processor\t"))
		}
	}
	return s
}

// oddCgroup is a machine of cgroup2 with a pod that is limited to 128 MiB, of
// which 32 are used, and a container in it that is known by its process.
func oddCgroup(t *testing.T) (v *View, dir string, log *bytes.Buffer) {
	t.Helper()
	c := fixture.Load(t, "../cgroup/testdata/v2-limited.txtar")
	pod := group(t, c, "pods", 128<<20)
	write(t, filepath.Join(pod, "memory.current"), []byte("33554432\n"))
	dir = group(t, c, "pods/one", 64<<20)
	groups, err := cgroup.Open(c.Root)
	if err != nil {
		t.Fatal(err)
	}
	log = &bytes.Buffer{}
	r := NewRegistry(NewHost(c.Root), groups, slog.New(slog.NewTextHandler(log, nil)), Options{})
	t.Cleanup(r.Close)
	return add(t, r, Container{ID: "c", PID: c.PID}), dir, log
}

// TestNoMemoryOfItsOwn: a group whose parent does not delegate memory, or a threaded
// one, has its pod's limit, what the pod has free, and nothing is wrong with it.
func TestNoMemoryOfItsOwn(t *testing.T) {
	v, dir, log := oddCgroup(t)
	for _, name := range []string{"memory.max", "memory.current", "memory.stat"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if got := shownBy(t, v); got.memory != 128<<10 || got.free != 96<<10 {
		t.Errorf("got %+v, want 128 MiB, 96 free", got)
	}
	if f, err := v.Figures(); err != nil || f.Governing != "/pods" || f.Cgroup != "/pods/one" {
		t.Errorf("governing level %+v, %v", f, err)
	}
	if log.Len() > 0 {
		t.Errorf("logged: %s", log)
	}
}

// TestOddLimit: a limit that can't be read is none, and is told of once; use that can't
// be read is 0.
func TestOddLimit(t *testing.T) {
	v, dir, log := oddCgroup(t)
	write(t, filepath.Join(dir, "memory.max"), []byte("lots\n"))
	if got := shownBy(t, v); got.memory != 128<<10 || got.free != 96<<10 {
		t.Errorf("with a limit of \"lots\": got %+v, want the pod's", got)
	}
	write(t, filepath.Join(dir, "memory.max"), []byte("67108864\n"))
	write(t, filepath.Join(dir, "memory.current"), []byte("some\n"))
	if got := shownBy(t, v); got.memory != 64<<10 || got.free != 64<<10 {
		t.Errorf("with a use of \"some\": got %+v, want 64 MiB, all free", got)
	}
	if n := strings.Count(log.String(), "a cgroup file can't be read"); n != 1 || !strings.Contains(log.String(), "one/memory.max") {
		t.Errorf("logged %d times: %s", n, log)
	}
}

// TestWithoutHierarchies: if no hierarchy can be reached, containers see the host's
// figures.
func TestWithoutHierarchies(t *testing.T) {
	c := fixture.Load(t, "../cgroup/testdata/v2-limited.txtar")
	write(t, filepath.Join(c.Root, "proc/self/mountinfo"), []byte("22 27 0:21 / /proc rw - proc proc rw\n"))
	v := open(t, c, Options{})
	host := hostsOwn(t, c, "proc/meminfo")
	if got := render(t, v, "proc/meminfo"); !bytes.Equal(got, host) {
		t.Errorf("meminfo: got %q, want the host's", got)
	}
	if got := shownBy(t, v); got.cpus != 2 {
		t.Errorf("got %+v, want the host's 2 CPUs", got)
	}
	if f, err := v.Figures(); err != nil || f.Governing != "host" {
		t.Errorf("got %+v, %v", f, err)
	}
	// By a path alone, as between a container's creation and its start.
	v.container.PID, v.container.CgroupsPath, v.group = 0, "/kubepods/other", nil
	if got := render(t, v, "proc/meminfo"); !bytes.Equal(got, host) {
		t.Errorf("meminfo by a path: got %q, want the host's", got)
	}
	if n := v.faults.Load(); n != 0 {
		t.Errorf("%d faults", n)
	}
}
