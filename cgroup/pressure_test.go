package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestTakesTriggers: only where cgroup namespaces are boundaries does one of the
// container's own keep triggers from the group's file.
func TestTakesTriggers(t *testing.T) {
	const host, other = "cgroup:[4026531835]", "cgroup:[4026532835]"
	for name, c := range map[string]struct {
		options, init, delegate string
		want                    bool
	}{
		"own namespace":             {"rw,nsdelegate,memory_recursiveprot", other, "cgroup.procs\n", false},
		"host's namespace":          {"rw,nsdelegate", host, "cgroup.procs\n", true},
		"no boundary":               {"rw,memory_recursiveprot", other, "cgroup.procs\n", true},
		"the file is delegated":     {"rw,nsdelegate", other, "cgroup.procs\ncpu.pressure\n", true},
		"another file is delegated": {"rw,nsdelegate", other, "io.pressure\n", false},
		"an option that begins so":  {"rw,nsdelegated", other, "", true},
		"without namespaces at all": {"rw", "", "", true},
	} {
		root := t.TempDir()
		put(t, root, "proc/self/mountinfo", "31 23 0:28 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 "+c.options+"\n")
		put(t, root, "sys/fs/cgroup/cgroup.controllers", "cpu\n")
		if c.delegate != "" {
			put(t, root, "sys/kernel/cgroup/delegate", c.delegate)
		}
		for at, ns := range map[string]string{"proc/self/ns": host, "proc/77/ns": c.init} {
			put(t, root, at+"/mnt", "")
			if err := os.Symlink(ns, filepath.Join(root, at, "cgroup")); err != nil && ns != "" {
				t.Fatal(err)
			}
		}
		fs, err := Open(root)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := fs.TakesTriggers(77, "/sys/fs/cgroup/a/cpu.pressure"); got != c.want || err != nil {
			t.Errorf("%s: got %v, %v, want %v", name, got, err, c.want)
		}
		if _, err := fs.TakesTriggers(78, "/sys/fs/cgroup/a/cpu.pressure"); name == "own namespace" && !errors.Is(err, ErrGone) {
			t.Errorf("a process that ended: %v", err)
		}
	}
}

func put(t *testing.T, root, name, content string) {
	t.Helper()
	name = filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
