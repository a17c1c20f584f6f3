package view

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
)

const someID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// group makes a cgroup of a captured machine, with its container's process and limits.
func group(t *testing.T, c fixture.Case, at string, memory int) string {
	t.Helper()
	dir := filepath.Join(c.Root, "sys/fs/cgroup", at)
	for name, content := range map[string]string{
		"memory.max": fmt.Sprintln(memory), "memory.current": "4096\n", "memory.stat": "anon 4096\n", "cpu.stat": "usage_usec 1\n",
		"cgroup.procs": fmt.Sprintln(c.PID), "cgroup.threads": fmt.Sprintln(c.PID), "cpu.max": "max 100000\n",
	} {
		write(t, filepath.Join(dir, name), []byte(content))
	}
	write(t, filepath.Join(c.Root, fmt.Sprintf("proc/%d/cgroup", c.PID)), []byte("0::/"+at+"\n"))
	return dir
}

// TestLookup: a container that nobody has told of is found by the name of its
// cgroup, whenever it comes to be, and again after it was stopped and started.
func TestLookup(t *testing.T) {
	r, c := newRegistry(t)
	for _, bad := range []string{"", "abc", strings.ToUpper(someID), someID + "0", "../" + someID[3:]} {
		if v := r.Lookup(bad); v != nil {
			t.Errorf("%q is taken for a container", bad)
		}
	}
	v := r.Lookup(someID)
	if v == nil || r.Lookup(someID) != v || r.ByNumber(v.Number) != v {
		t.Fatalf("%v", v)
	}
	number := v.Number
	total := func() string {
		t.Helper()
		deadline := time.Now().Add(10 * time.Second)
		for {
			b, err := r.ByNumber(number).Append(&Files[0], nil)
			if err == nil || time.Now().After(deadline) {
				line, _, _ := strings.Cut(string(b), "\n")
				return line
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	if b, err := v.Append(&Files[0], nil); err == nil {
		t.Errorf("before it is there: %q", b)
	}
	for i, at := range []string{"docker/" + someID, "system.slice/docker-" + someID + ".scope", "machine.slice/libpod-" + someID + ".scope"} {
		monitor := group(t, c, "machine.slice/libpod-conmon-"+someID+".scope", 1<<20)
		dir := group(t, c, at, 64<<20+i<<20)
		if strings.HasPrefix(at, "machine") { // crun's processes are in a group below
			write(t, filepath.Join(dir, "cgroup.procs"), nil)
			group(t, c, at+"/container", 1<<20)
		}
		if got, want := total(), fmt.Sprintf("MemTotal:       %8d kB", 64<<10+i<<10); got != want {
			t.Errorf("%s: got %q, want %q", at, got, want)
		}
		if up, err := r.ByNumber(number).Append(&Files[4], nil); err != nil || strings.HasPrefix(string(up), "0.00") {
			t.Errorf("%s: uptime %q, %v", at, up, err)
		}
		for dir := filepath.Dir(filepath.Join(dir, "x")); filepath.Base(dir) != "cgroup"; dir = filepath.Dir(dir) {
			os.RemoveAll(dir) //nolint:errcheck // a temporary folder
		}
		os.RemoveAll(monitor) //nolint:errcheck // a temporary folder
		waitFor(t, "another view after "+at, func() bool { return r.ByNumber(number) != v && r.ByNumber(number) != nil })
		v = r.ByNumber(number)
	}
	if r.Lookup(someID) != v {
		t.Error("the id and the number are two views")
	}
}

// TestRunningByItsID: also a container runs of which nobody has told more than its id.
func TestRunningByItsID(t *testing.T) {
	r, c := newRegistry(t)
	v := r.Lookup(someID)
	if v.Running() || v.PID() != 0 {
		t.Errorf("before it is there: running, process %d", v.PID())
	}
	group(t, c, "docker/"+someID, 64<<20)
	waitFor(t, "file", func() bool { _, err := v.Append(&Files[0], nil); return err == nil })
	if !v.Running() || v.PID() != c.PID {
		t.Errorf("running: %t, process %d, want %d", v.Running(), v.PID(), c.PID)
	}
	if err := os.RemoveAll(filepath.Join(c.Root, "proc", fmt.Sprint(c.PID))); err != nil {
		t.Fatal(err)
	}
	if v.Running() {
		t.Error("its process has ended")
	}
}

// TestInitIn: the init is found among what runs in a container's group, and one
// that is known stays.
func TestInitIn(t *testing.T) {
	groups, err := cgroup.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	r := NewRegistry(NewHost("/"), groups, slog.New(slog.DiscardHandler), Options{})
	t.Cleanup(r.Close)
	made := fixture.NewGroup(t)
	for _, path := range []string{"", "/", "/../..", made.Name, made.Name + "/none"} {
		if pid := r.InitIn("c", path); pid != 0 {
			t.Errorf("process %d is in %q", pid, path)
		}
	}
	// unshare is in the group, too, but not in the PID namespace.
	cmd := made.Command("unshare", "--pid", "--fork", "--kill-child", "sleep", "infinity")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() }) //nolint:errcheck // it is killed
	pid := 0
	waitFor(t, "init", func() bool {
		pid = r.InitIn("c", made.Name)
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		return err == nil && string(comm) == "sleep\n"
	})
	add(t, r, Container{ID: "c", PID: pid, CgroupsPath: made.Name})
	if again := r.InitIn("c", ""); again != pid {
		t.Errorf("process %d, was %d", again, pid)
	}
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s", what)
		}
	}
}

// TestUnknownIDsAreBounded: who asks for very many gets as many views as there
// is room for, over restarts, too; containers that a runtime has told of stay.
func TestUnknownIDsAreBounded(t *testing.T) {
	c, name := fixture.Load(t, "../cgroup/testdata/v2-limited.txtar"), filepath.Join(t.TempDir(), "containers")
	r := journaled(t, c, name)
	told := fmt.Sprintf("%064x", 1<<30)
	r.Lookup(told)
	if _, err := r.Add(Container{ID: told, Runtime: "docker"}); err != nil {
		t.Fatal(err)
	}
	for i := range maxUnknown + 100 {
		if i == maxUnknown/2 {
			r.Close()
			r = journaled(t, c, name)
		}
		if r.Lookup(fmt.Sprintf("%064x", i)) == nil {
			t.Fatal("no view")
		}
	}
	t.Cleanup(r.Close)
	if n := len(r.List()); n > maxUnknown+1 {
		t.Errorf("%d views", n)
	}
	if r.Get(told) == nil {
		t.Error("a container that was told of is gone")
	}
}

// TestViewsEndWithTheirGroups: without a word of the runtime, and without a read.
func TestViewsEndWithTheirGroups(t *testing.T) {
	r, c := newRegistry(t)
	dir := group(t, c, "pods/one", 64<<20)
	v := add(t, r, Container{ID: "c", PID: c.PID, CgroupsPath: "/pods/one"})
	if b, err := v.Append(&Files[0], nil); err != nil {
		t.Fatalf("%q, %v", b, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "end", func() bool { return r.Get("c") == nil })
	r.watch.mu.Lock()
	defer r.watch.mu.Unlock()
	if len(r.watch.dirs) != 0 {
		t.Errorf("still watched: %v", r.watch.dirs)
	}
}
