package cgroup

import (
	"errors"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// newTree makes a cgroup2 machine with the given files.
func newTree(t *testing.T, files map[string]string) *FS {
	t.Helper()
	root := t.TempDir()
	all := map[string]string{
		"proc/self/mountinfo":              "31 23 0:28 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n",
		"sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory hugetlb pids\n",
	}
	maps.Copy(all, files)
	for name, content := range all {
		writeFile(t, filepath.Join(root, name), content)
	}
	fs, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return fs
}

func writeFile(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// checkError wants an error that says part, or none where part is "".
func checkError(t *testing.T, in string, err error, part string) {
	t.Helper()
	switch {
	case part == "" && err != nil:
		t.Errorf("%q: %v", in, err)
	case part != "" && (err == nil || !strings.Contains(err.Error(), part)):
		t.Errorf("%q: error %v, want one that says %q", in, err, part)
	}
}

func TestOpenWithoutMountinfo(t *testing.T) {
	_, err := Open(t.TempDir())
	checkError(t, "no mountinfo", err, "mountinfo")
}

func TestSpecPath(t *testing.T) {
	for _, c := range []struct{ in, want, err string }{
		{"/kubepods/burstable/pod1/abc", "/kubepods/burstable/pod1/abc", ""},
		{"docker/abc", "/docker/abc", ""},
		{"/a:b/c:d", "/a:b/c:d", ""},
		{"system.slice:docker:abc", "/system.slice/docker-abc.scope", ""},
		{":cri-containerd:abc", "/system.slice/cri-containerd-abc.scope", ""},
		{"machine.slice::abc", "/machine.slice/abc.scope", ""},
		{
			"kubepods-burstable-pod12_3.slice:cri-containerd:abc",
			"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod12_3.slice/cri-containerd-abc.scope", "",
		},
		{"-.slice:x:abc", "/x-abc.scope", ""},
		{"a.slice::b-c.slice", "/b.slice/b-c.slice", ""},
		{"../../etc", "", "clean absolute path"},
		{"/a/../../b", "", "clean absolute path"},
		{"/a\x00", "", "NUL"},
		{"/" + strings.Repeat("a", 5000), "", "at most"},
	} {
		got, err := SpecPath(c.in)
		checkError(t, c.in, err, c.err)
		if got != c.want {
			t.Errorf("SpecPath(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestCPUBandwidthRoundsUp(t *testing.T) {
	for _, c := range []struct {
		max  string
		want int
	}{
		{"50000 100000", 1},
		{"100000 100000", 1},
		{"100001 100000", 2},
		{"250000 100000", 3},
		{"max 100000", math.MaxInt},
		{"1000 0", math.MaxInt},
	} {
		fs := newTree(t, map[string]string{
			"sys/fs/cgroup/a/cpu.max": c.max + "\n",
		})
		g := fs.GroupAt(Paths{Unified: "/a"})
		got, err := g.CPUBandwidth(0)
		if err != nil || got.CPUs() != c.want {
			t.Errorf("cpu.max %q: %d CPUs (%v), want %d", c.max, got.CPUs(), err, c.want)
		}
	}
}

func TestContainerIgnoresWhatInitDid(t *testing.T) {
	for _, c := range []struct{ at, spec, want string }{
		{"/pod/ctr", "", "/pod/ctr"},
		{"/pod/ctr/init.scope", "", "/pod/ctr"},
		{"/init.scope", "", "/init.scope"}, // the machine's own
		{"/pod/ctr/system.slice/x.service", "/pod/ctr", "/pod/ctr"},
		{"/kind/kubelet/pod/ctr/nested", "/kubelet/pod/ctr", "/kind/kubelet/pod/ctr"},
		{"/pod/ctr2", "/pod/ctr", "/pod/ctr2"},
		{"/elsewhere", "/pod/ctr", "/elsewhere"},
	} {
		if got := (Paths{Unified: c.at}).container(c.spec).Unified; got != c.want {
			t.Errorf("at %q with spec %q: %q, want %q", c.at, c.spec, got, c.want)
		}
	}
}

// groupOf opens the group of a process.
func groupOf(fs *FS, pid int, spec string) (*Group, error) {
	p, err := fs.Process(pid, spec)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	return p.Group(nil)
}

func TestGroupThatGoesAndComesBack(t *testing.T) {
	fs := newTree(t, map[string]string{
		"sys/fs/cgroup/pod/memory.max":     "max\n",
		"sys/fs/cgroup/pod/ctr/memory.max": "1048576\n",
	})
	g, err := fs.GroupOfSpec("/pod/ctr")
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if n, err := g.MemoryLimit(0); n != 1<<20 || err != nil {
		t.Errorf("limit %d (%v), want %d", n, err, 1<<20)
	}
	if n, err := g.MemoryLimit(1); n != NoLimit || err != nil {
		t.Errorf("pod's limit %d (%v), want none", n, err)
	}
	if g.Gone() {
		t.Error("gone, but it exists")
	}
	dir := filepath.Join(fs.root, "sys/fs/cgroup/pod/ctr")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if !g.Gone() {
		t.Error("not gone, but it was removed")
	}
	if _, err := fs.GroupOfSpec("/pod/ctr"); !errors.Is(err, ErrGone) {
		t.Errorf("opening a removed group: %v, want ErrGone", err)
	}
	if _, err := groupOf(fs, 1<<22, ""); !errors.Is(err, ErrGone) {
		t.Errorf("opening the group of no process: %v, want ErrGone", err)
	}
}

func TestFilesAreSharedAndGivenBack(t *testing.T) {
	fs := newTree(t, map[string]string{
		"sys/fs/cgroup/pod/memory.max":   "4096\n",
		"sys/fs/cgroup/pod/a/memory.max": "4096\n",
		"sys/fs/cgroup/pod/b/memory.max": "4096\n",
	})
	a, b := fs.GroupAt(Paths{Unified: "/pod/a"}), fs.GroupAt(Paths{Unified: "/pod/b"})
	for _, g := range []*Group{a, b} {
		for i := range g.MemoryLevels() {
			if _, err := g.MemoryLimit(i); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := fs.kept.Load(); got != 3 {
		t.Errorf("%d descriptors are kept, want 3: the pod's is shared", got)
	}
	a.Close()
	if got := fs.kept.Load(); got != 2 {
		t.Errorf("%d descriptors are kept after one group's end, want 2", got)
	}
	if n, err := b.MemoryLimit(1); n != 4096 || err != nil {
		t.Errorf("the other group's pod: %d (%v)", n, err)
	}
	b.Close()
	if fs.kept.Load() != 0 || len(fs.files) != 0 {
		t.Errorf("%d descriptors, %d files are left", fs.kept.Load(), len(fs.files))
	}
	if n, err := a.MemoryLimit(0); n != 4096 || err != nil || fs.kept.Load() != 0 {
		t.Errorf("a late read of a closed group: %d (%v), %d descriptors kept", n, err, fs.kept.Load())
	}
}

func TestBeyondTheBudgetFilesAreReadButNotKept(t *testing.T) {
	fs := newTree(t, map[string]string{
		"sys/fs/cgroup/a/memory.max":     "4096\n",
		"sys/fs/cgroup/a/memory.current": "1024\n",
	})
	fs.maxKept = 1
	g := fs.GroupAt(Paths{Unified: "/a"})
	for range 3 {
		limit, err1 := g.MemoryLimit(0)
		usage, err2 := g.MemoryUsage(0)
		if limit != 4096 || usage != 1024 || err1 != nil || err2 != nil {
			t.Errorf("limit %d (%v), usage %d (%v)", limit, err1, usage, err2)
		}
	}
	if got := fs.kept.Load(); got != 1 {
		t.Errorf("%d descriptors are kept, want 1", got)
	}
}

func TestLongFilesAreReadWhole(t *testing.T) {
	var want strings.Builder
	for range 5000 {
		want.WriteString("some_key 12345\n")
	}
	fs := newTree(t, map[string]string{"sys/fs/cgroup/a/memory.stat": want.String() + "anon 7\n"})
	var st MemoryStat
	err := fs.GroupAt(Paths{Unified: "/a"}).MemoryStat(0, &st)
	if err != nil || st.Anon != 7 {
		t.Errorf("anon %d (%v), want 7", st.Anon, err)
	}
}

func TestTasksOfTheSubtreeAreBounded(t *testing.T) {
	fs := newTree(t, map[string]string{
		"sys/fs/cgroup/a/cgroup.threads":       "10\n11\n",
		"sys/fs/cgroup/a/b/cgroup.threads":     "12\n",
		"sys/fs/cgroup/a/b/c/cgroup.threads":   "13\n14\n",
		"sys/fs/cgroup/a/pids.current":         "5\n",
		"sys/fs/cgroup/a/b/c/cgroup.something": "x",
	})
	g := fs.GroupAt(Paths{Unified: "/a"})
	got, err := g.Tasks(nil, 100)
	if diff := cmp.Diff([]int{10, 11, 12, 13, 14}, got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	if got, err = g.Tasks(nil, 3); len(got) != 3 || err != nil {
		t.Errorf("with a bound of 3: %v (%v)", got, err)
	}
	if n, err := g.TaskCount(); n != 5 || err != nil {
		t.Errorf("count %d (%v), want 5", n, err)
	}
}
