package control

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/attach"
	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// TestPressureSource: a container is given its group's own file, unless the kernel takes
// no triggers there and the file system does. Both are mounted for writing.
func TestPressureSource(t *testing.T) {
	for _, c := range []struct {
		namespace         string // of the container; the daemon's is 1
		nsdelegate, takes bool
		ours              bool
	}{
		{"cgroup:[2]", true, true, true},
		{"cgroup:[2]", true, false, false},
		{"cgroup:[2]", false, true, false},
		{"cgroup:[1]", true, true, false},
	} {
		machine := fixture.Load(t, "../cgroup/testdata/v2-limited.txtar")
		put := func(name, content string) {
			t.Helper()
			name = filepath.Join(machine.Root, name)
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		options := "rw"
		if c.nsdelegate {
			options += ",nsdelegate"
		}
		put("proc/self/mountinfo", "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 "+options+"\n")
		put("proc/pressure/cpu", "")
		for pid, namespace := range map[string]string{"self": "cgroup:[1]", fmt.Sprint(machine.PID): c.namespace} {
			put("proc/"+pid+"/ns/mnt", "")
			if err := os.Symlink(namespace, filepath.Join(machine.Root, "proc", pid, "ns/cgroup")); err != nil {
				t.Fatal(err)
			}
		}
		own := strings.TrimSpace(strings.TrimPrefix(read(t, filepath.Join(machine.Root, "proc", fmt.Sprint(machine.PID), "cgroup")), "0::"))
		own = filepath.Join("sys/fs/cgroup", own, "cpu.pressure")
		put(own, "")
		groups, err := cgroup.Open(machine.Root)
		if err != nil {
			t.Fatal(err)
		}
		log := slog.New(slog.NewTextHandler(io.Discard, nil))
		registry := view.NewRegistry(view.NewHost(machine.Root), groups, log, view.Options{})
		t.Cleanup(registry.Close)
		a := &Attacher{Mountpoint: "/mnt", Files: registry.Mountable(func(string) bool { return true }), Registry: registry, Triggers: c.takes}
		want := attach.Mount{Source: filepath.Join(machine.Root, own), Target: "/proc/pressure/cpu", Writable: true}
		if c.ours {
			want.Source = "/mnt/containers/c1/proc/pressure/cpu"
		}
		got, err := a.mounts(register(t, a, "c1", machine.PID), func(f *view.File) bool { return f.Reach == view.AttachGroupFile })
		if err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("%+v: got %+v, %v, want %+v", c, got, err, want)
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
