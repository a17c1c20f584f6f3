package view

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
)

// TestOfflineIsTheKernels: a view shows what the kernel itself showed once the CPUs
// that are not in the container's cpuset were taken off-line.
func TestOfflineIsTheKernels(t *testing.T) {
	want := offlineMachine(t, "offline")
	got := seenOn(t, offlineMachine(t, "online"), "0,2-3,5\n")
	// Lists that the kernel does not derive from the on-line CPUs are cut as well, and
	// those where it forgets to: of AMD's caches of the third level.
	want[CPUDir+"/enabled"] = "0,2-3,5\n"
	for name, content := range want {
		if strings.Contains(name, "/cache/index3/") {
			want[name] = strings.NewReplacer("0-3", "0,2-3", "0f", "0d", "4-7", "5", "f0", "20").Replace(content)
		}
	}
	// The kernel measures them.
	for _, files := range []map[string]string{want, got} {
		files["proc/cpuinfo"] = withoutLine(files["proc/cpuinfo"], "cpu MHz")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestAllCPUsAreTheHosts: without a limit on CPUs nothing is cut, even if the host
// has CPUs off-line.
func TestAllCPUsAreTheHosts(t *testing.T) {
	want := offlineMachine(t, "offline")
	if diff := cmp.Diff(want, seenOn(t, want, "0-7\n")); diff != "" {
		t.Error(diff)
	}
}

// offlineMachine are the files of the machine of testdata/offline.txtar.
func offlineMachine(t *testing.T, state string) map[string]string {
	t.Helper()
	a, err := txtar.ParseFile("testdata/offline.txtar")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, f := range a.Files {
		if name, ok := strings.CutPrefix(f.Name, state+"/"); ok {
			files[name] = string(f.Data)
		}
	}
	if len(files) < 100 {
		t.Fatalf("%d files, want more", len(files))
	}
	return files
}

// seenOn are the same files as a container sees them on such a machine.
func seenOn(t *testing.T, host map[string]string, cpuset string) map[string]string {
	t.Helper()
	c := fixture.Load(t, testdata+"v2-unlimited.txtar")
	if err := os.RemoveAll(filepath.Join(c.Root, CPUDir)); err != nil {
		t.Fatal(err)
	}
	for name, content := range host {
		write(t, filepath.Join(c.Root, name), []byte(content))
	}
	err := filepath.WalkDir(filepath.Join(c.Root, "sys/fs/cgroup"), func(p string, _ os.DirEntry, err error) error {
		if filepath.Base(p) == "cpuset.cpus.effective" {
			write(t, p, []byte(cpuset))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	v := open(t, c, Options{})
	files := map[string]string{"proc/cpuinfo": string(render(t, v, "proc/cpuinfo"))}
	walkCPUs(t, v, TopCPUNode, CPUDir, files)
	return files
}

// walkCPUs collects the content of all files below a directory.
func walkCPUs(t *testing.T, v *View, n CPUNode, dir string, files map[string]string) {
	t.Helper()
	entries, err := v.CPUList(n)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		child, name := n.Child(e.Name), dir+"/"+e.Name
		switch {
		case e.Type.IsDir():
			walkCPUs(t, v, child, name, files)
		case slices.ContainsFunc(Files, func(f File) bool { return f.Path == name }):
			files[name] = string(render(t, v, name))
		default:
			b, err := v.AppendCPUFile(child, nil)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			files[name] = string(b)
		}
	}
}

func withoutLine(text, key string) string {
	lines := slices.Collect(strings.Lines(text))
	return strings.Join(slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, key) }), "")
}
