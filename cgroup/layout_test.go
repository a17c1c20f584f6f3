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
	"github.com/google/go-cmp/cmp/cmpopts"
)

const (
	rootMount = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
	cgroup2   = "31 1 0:28 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
	hidesIt   = "32 31 0:29 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
	v1Memory  = "35 1 0:32 / /cg/memory rw - cgroup cgroup rw,memory\n"
	v1CPU     = "36 1 0:33 / /cg/cpu rw - cgroup cgroup rw,xattr,cpuacct,cpu,release_agent=/lib/agent,clone_children\n"
	v1CPUSet  = "37 1 0:34 / /cg/cpuset rw - cgroup cgroup rw,cpuset\n"
	v1PIDs    = "38 1 0:35 / /cg/pids rw - cgroup cgroup rw,pids\n"
	v1Systemd = "39 1 0:36 / /cg/systemd rw - cgroup systemd rw,xattr,name=systemd\n"
)

// found is what is found out of a container's group.
type found struct {
	Mode, Path    string
	Memory        []uint64 // limits
	Quota         []int
	CPUs          []int
	Tasks         []int
	Use, PIDs     uint64 // µs, pids.current
	Gone, Root    bool
	Inode, InSpec bool
}

// container2 and container1 are the files of a group of cgroup2, and of v1.
func container2(dir string) map[string]string {
	return prefixed(dir, map[string]string{
		"memory.max": "4096\n", "cpu.max": "200000 100000\n", "cpuset.cpus.effective": "1-2\n",
		"cgroup.threads": "5\n", "cgroup.procs": "5\n", "cpu.stat": "user_usec 7\n", "pids.current": "1\n",
	})
}

func container1(at string) map[string]string {
	return prefixed("cg", map[string]string{
		"memory/" + at + "/memory.limit_in_bytes": "4096\n", "memory/" + at + "/tasks": "5\n", "memory/" + at + "/cgroup.procs": "5\n",
		"cpu/" + at + "/cpu.cfs_quota_us": "200000\n", "cpu/" + at + "/cpu.cfs_period_us": "100000\n", "cpu/" + at + "/cpu.stat": "throttled_time 0\n",
		"cpu/" + at + "/tasks": "5\n", "cpu/" + at + "/cgroup.procs": "5\n",
		"cpu/" + at + "/cpuacct.usage_all": "cpu user system\n0 7000 0\n", "cpu/" + at + "/cpuacct.usage_percpu": "7000\n",
		"cpuset/" + at + "/cpuset.effective_cpus": "1-2\n", "pids/" + at + "/pids.current": "1\n",
	})
}

func prefixed(dir string, files map[string]string) map[string]string {
	all := map[string]string{}
	for name, content := range files {
		all[filepath.Join(dir, name)] = content
	}
	return all
}

func both(all ...map[string]string) map[string]string {
	merged := map[string]string{}
	for _, m := range all {
		maps.Copy(merged, m)
	}
	return merged
}

// TestLayouts: a hierarchy is found where it can be reached; what can't be reached limits
// nothing, and hides no container.
func TestLayouts(t *testing.T) {
	const none = uint64(NoLimit)
	const any = math.MaxInt
	whole := found{Mode: ModeV2, Path: "/a/ctr", Memory: []uint64{4096, none}, Quota: []int{2, any}, CPUs: []int{1, 2}, Tasks: []int{5}, Use: 7, PIDs: 1, Inode: true, InSpec: true}
	with := func(change func(f *found)) found { f := whole; change(&f); return f }
	v1 := func(change func(f *found)) found {
		return with(func(f *found) {
			f.Mode, f.Memory, f.Quota = ModeV1, []uint64{4096, none, none}, []int{2, any, any}
			change(f)
		})
	}
	controllers := func(dir string) map[string]string {
		return map[string]string{dir + "/cgroup.controllers": "cpuset cpu io memory pids\n"}
	}
	dirs := func(all ...string) map[string]string {
		files := map[string]string{}
		for _, dir := range all {
			files["cg/"+dir+"/tasks"] = "1\n"
		}
		return files
	}
	for _, c := range []struct {
		name, mounts, cgroup string
		files                map[string]string
		want                 found
	}{
		{"cgroup2", rootMount + cgroup2, "0::/a/ctr\n", both(controllers("sys/fs/cgroup"), container2("sys/fs/cgroup/a/ctr")), whole},
		{
			"odd lines among the mounts", "odd\n" + cgroup2 + "\n7 odd\n", "0::/a/ctr\n",
			both(controllers("sys/fs/cgroup"), container2("sys/fs/cgroup/a/ctr")), whole,
		},
		{
			"hidden, and mounted elsewhere", rootMount + cgroup2 + hidesIt + "33 1 0:28 / /else rw - cgroup2 cgroup2 rw\n", "0::/a/ctr\n",
			both(controllers("else"), container2("else/a/ctr"), map[string]string{"sys/fs/cgroup/x": ""}), whole,
		},
		{
			"the first of two has no directory", rootMount + strings.Replace(cgroup2, "/sys/fs/cgroup", "/gone", 1) + cgroup2, "0::/a/ctr\n",
			both(controllers("sys/fs/cgroup"), container2("sys/fs/cgroup/a/ctr")), whole,
		},
		{
			"no list of controllers", rootMount + cgroup2, "0::/a/ctr\n", container2("sys/fs/cgroup/a/ctr"), whole,
		},
		{
			"memory is off", rootMount + cgroup2, "0::/a/ctr\n",
			both(map[string]string{"sys/fs/cgroup/cgroup.controllers": "cpuset cpu io pids\n"}, container2("sys/fs/cgroup/a/ctr")),
			with(func(f *found) { f.Memory = nil }),
		},
		{
			"a part is mounted", rootMount + "33 1 0:28 /a /part rw - cgroup2 cgroup2 rw\n", "0::/a/ctr\n",
			both(controllers("part"), container2("part/ctr")), whole,
		},
		{
			"another part is mounted", rootMount + "33 1 0:28 /b /part rw - cgroup2 cgroup2 rw\n", "0::/a/ctr\n",
			controllers("part"),
			found{Mode: ModeV2, Path: "/a/ctr"},
		},
		{
			"a part and the whole", rootMount + "33 1 0:28 /a /part rw - cgroup2 cgroup2 rw\n" + cgroup2, "0::/a/ctr\n",
			both(controllers("sys/fs/cgroup"), container2("sys/fs/cgroup/a/ctr"), controllers("part")), whole,
		},
		{
			"the host's, in a cgroup namespace", rootMount + "33 1 0:28 /../.. /host rw - cgroup2 cgroup2 rw\n" + cgroup2, "0::/../../a/ctr\n",
			both(controllers("host"), container2("host/a/ctr"), controllers("sys/fs/cgroup")),
			with(func(f *found) {
				f.Path, f.Memory, f.Quota = "/../../a/ctr", []uint64{4096, none, none}, []int{2, any, any}
			}),
		},
		{
			"out of reach, in a cgroup namespace", rootMount + cgroup2, "0::/../../a/ctr\n",
			controllers("sys/fs/cgroup"),
			found{Mode: ModeV2, Path: "/../../a/ctr"},
		},
		{
			"v1", rootMount + v1Memory + v1CPU + v1CPUSet + v1PIDs + v1Systemd, "1:name=systemd:/\n5:pids:/a/ctr\n4:cpuset:/a/ctr\n3:cpu,cpuacct:/a/ctr\n2:memory:/a/ctr\n",
			both(container1("a/ctr"), dirs("systemd")), v1(func(*found) {}),
		},
		{
			"without a prefix", rootMount + v1Memory + v1CPU + "37 1 0:34 / /cg/cpuset rw - cpuset none rw,cpuset,noprefix\n" + v1PIDs,
			"5:pids:/a/ctr\n4:cpuset:/a/ctr\n3:cpu,cpuacct:/a/ctr\n2:memory:/a/ctr\n",
			both(container1("a/ctr"), map[string]string{"cg/cpuset/a/ctr/effective_cpus": "2\n", "cg/cpuset/a/ctr/cpus": "0-3\n"}),
			v1(func(f *found) { f.CPUs = []int{2} }),
		},
		{
			"v1 memory hidden", rootMount + v1Memory + strings.Replace(v1Memory, "35 1", "40 35", 1) + "41 40 0:50 / /cg/memory rw - tmpfs none rw\n" + v1CPU,
			"3:cpu,cpuacct:/a/ctr\n2:memory:/a/ctr\n", both(container1("a/ctr")),
			v1(func(f *found) { f.Memory, f.CPUs, f.PIDs = nil, nil, 0 }),
		},
		{
			"v1 memory off", rootMount + v1CPU + v1PIDs, "5:pids:/a/ctr\n3:cpu,cpuacct:/a/ctr\n", container1("a/ctr"),
			v1(func(f *found) { f.Memory, f.CPUs = nil, nil }),
		},
		{
			"memory on v1, the others on cgroup2", rootMount + v1Memory + cgroup2, "2:memory:/a/ctr\n0::/a/ctr\n",
			both(container1("a/ctr"), map[string]string{"sys/fs/cgroup/cgroup.controllers": "cpuset cpu io pids\n"}, container2("sys/fs/cgroup/a/ctr")),
			with(func(f *found) { f.Mode, f.Memory = ModeHybrid, []uint64{4096, none, none} }),
		},
		{
			"cpuacct off, its use on cgroup2", rootMount + v1Memory + strings.Replace(v1CPU, "cpuacct,", "", 1) + cgroup2, "3:cpu:/a/ctr\n2:memory:/a/ctr\n0::/a/ctr\n",
			both(container1("a/ctr"), map[string]string{"sys/fs/cgroup/cgroup.controllers": "\n"}, container2("sys/fs/cgroup/a/ctr")),
			v1(func(f *found) { f.Mode, f.CPUs, f.PIDs = ModeHybrid, nil, 0 }),
		},
		{
			"no group of its own in some hierarchies", rootMount + v1Memory + v1CPU + v1CPUSet + v1PIDs, "5:pids:/\n4:cpuset:/\n3:cpu,cpuacct:/a\n2:memory:/a/ctr\n",
			both(container1("a"), container1(""), map[string]string{
				"cg/memory/a/ctr/memory.limit_in_bytes": "4096\n", "cg/memory/a/ctr/tasks": "5\n", "cg/memory/a/memory.limit_in_bytes": "8192\n",
				"cg/cpu/a/tasks": "5\n6\n", "cg/cpuset/cpuset.effective_cpus": "0-3\n",
			}),
			v1(func(f *found) {
				f.Memory, f.Quota, f.CPUs, f.Use, f.PIDs = []uint64{4096, 8192, 4096}, []int{2, 2}, []int{0, 1, 2, 3}, 0, 0
			}),
		},
		{
			"only in the hierarchy that counts no memory", rootMount + v1Memory + v1CPU, "3:cpu,cpuacct:/a/ctr\n2:memory:/\n", both(container1("a/ctr"), dirs("memory")),
			v1(func(f *found) { f.Memory, f.CPUs, f.PIDs = []uint64{none}, nil, 0 }),
		},
		{
			"a group named as if it was removed", rootMount + cgroup2, "0::/a/ctr (deleted)\n",
			both(controllers("sys/fs/cgroup"), container2("sys/fs/cgroup/a/ctr (deleted)")), with(func(f *found) { f.Path = "/a/ctr (deleted)" }),
		},
		{"a removed group", rootMount + cgroup2, "0::/a/ctr (deleted)\n", controllers("sys/fs/cgroup"), found{Mode: ModeV2, Path: "/a/ctr", Gone: true, Memory: []uint64{none, none}, Quota: []int{any, any}}},
		{"the root", rootMount + cgroup2, "0::/\n", controllers("sys/fs/cgroup"), found{Mode: ModeV2, Path: "/", Root: true, Inode: true, InSpec: true}},
		{"nothing is mounted", rootMount, "2:memory:/a/ctr\n0::/a/ctr\n", nil, found{Mode: ModeNone, Path: "/a/ctr", InSpec: true}},
		{"no line is one", rootMount + cgroup2, "odd\n\n::\n", controllers("sys/fs/cgroup"), found{Mode: ModeV2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs := newMachine(t, c.mounts, both(c.files, map[string]string{"proc/5/cgroup": c.cgroup}))
			g, err := groupOf(fs, 5, "")
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			got := read(g)
			got.Mode = fs.Mode()
			if c.want.InSpec {
				_, inside, _ := strings.Cut(c.want.Path, "/../..")
				if inside == "" {
					inside = c.want.Path
				}
				bySpec, err := fs.GroupOfSpec(inside)
				if err == nil {
					got.InSpec = bySpec.Path() == c.want.Path || fs.Mode() == ModeNone
					bySpec.Close()
				}
			}
			if diff := cmp.Diff(c.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
			if len(c.want.Tasks) > 0 && c.name != "no group of its own in some hierarchies" {
				if pids := fs.Processes(strings.TrimPrefix(c.want.Path, "/../..")); !cmp.Equal(pids, []int{5}) {
					t.Errorf("processes %v, want 5", pids)
				}
			}
		})
	}
}

// newMachine makes a machine with the given mounts and files.
func newMachine(t *testing.T, mounts string, files map[string]string) *FS {
	t.Helper()
	root := t.TempDir()
	writeFile(t, filepath.Join(root, "proc/self/mountinfo"), mounts)
	for name, content := range files {
		writeFile(t, filepath.Join(root, name), content)
	}
	fs, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return fs
}

// read reads a group. A file that is missing is no limit and no use.
func read(g *Group) found {
	f := found{Path: g.Path(), Gone: g.Gone(), Root: g.Root(), Inode: g.Inode() != 0}
	for i := range g.MemoryLevels() {
		n, _ := g.MemoryLimit(i)
		f.Memory = append(f.Memory, n)
	}
	for i := range g.CPULevels() {
		b, _ := g.CPUBandwidth(i)
		f.Quota = append(f.Quota, b.CPUs())
	}
	f.CPUs, _ = g.CPUs(nil)
	f.Tasks, _ = g.Tasks(nil, 9)
	use, _, _ := g.CPUUsage(nil)
	f.Use = use.User
	f.PIDs, _ = g.TaskCount()
	return f
}

// TestMountedLater: hierarchies may be mounted after the daemon is started.
func TestMountedLater(t *testing.T) {
	fs := newMachine(t, rootMount, both(container2("sys/fs/cgroup/a/ctr"), map[string]string{"proc/5/cgroup": "0::/a/ctr\n"}))
	for _, want := range []string{ModeNone, ModeV2} {
		g, err := groupOf(fs, 5, "")
		if err != nil || fs.Mode() != want || g.MemoryLevels() != map[string]int{ModeNone: 0, ModeV2: 2}[want] || g.Gone() {
			t.Errorf("mode %s, %d levels (%v), want mode %s", fs.Mode(), g.MemoryLevels(), err, want)
		}
		writeFile(t, filepath.Join(fs.root, "proc/self/mountinfo"), rootMount+cgroup2)
	}
}

// TestGoneIsTheGroupOnly: not its hierarchy, and not a directory that it never had.
func TestGoneIsTheGroupOnly(t *testing.T) {
	open := func() (*FS, *Group) {
		fs := newMachine(t, rootMount+v1Memory+v1CPU+v1PIDs, both(container1("a/ctr"), map[string]string{"cg/pids/tasks": "1\n"}))
		if err := os.RemoveAll(filepath.Join(fs.root, "cg/pids/a")); err != nil {
			t.Fatal(err)
		}
		g, err := fs.GroupOfSpec("/a/ctr")
		if err != nil {
			t.Fatal(err)
		}
		return fs, g
	}
	fs, g := open()
	if g.Gone() || g.Path() != "/a/ctr" || g.MemoryLevels() != 3 {
		t.Errorf("in two of three hierarchies: gone %v, path %s", g.Gone(), g.Path())
	}
	if err := os.Rename(filepath.Join(fs.root, "cg/cpu"), filepath.Join(fs.root, "cg/else")); err != nil {
		t.Fatal(err)
	}
	if g.Gone() {
		t.Error("gone, since a hierarchy was unmounted")
	}
	if err := os.Mkdir(filepath.Join(fs.root, "cg/cpu"), 0o755); err != nil {
		t.Fatal(err)
	}
	if g.Gone() {
		t.Error("gone, since a hierarchy was hidden")
	}
	if err := os.RemoveAll(filepath.Join(fs.root, "cg/memory/a/ctr")); err != nil {
		t.Fatal(err)
	}
	if !g.Gone() {
		t.Error("not gone, though one of its directories was removed")
	}
	fs, _ = open()
	if g, err := fs.GroupOfSpec("/a/other"); !errors.Is(err, ErrGone) {
		t.Errorf("a group that is nowhere: %v, %v", g, err)
	}
}
