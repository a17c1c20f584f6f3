package fusefs_test

import (
	"log/slog"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// mountLive mounts over this machine itself.
func mountLive(t *testing.T) string {
	t.Helper()
	groups, err := cgroup.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	m := &mounted{
		dir:      filepath.Join(t.TempDir(), "mnt"),
		registry: view.NewRegistry(view.NewHost("/"), groups, log, view.Options{}),
	}
	serve(t, m, log)
	return m.dir
}

func output(t *testing.T, c *exec.Cmd) string {
	t.Helper()
	var stderr strings.Builder
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%v: %v: %s", c.Args, err, stderr.String())
	}
	return string(out)
}

// TestCallerDecides reads the caller-resolved files from a limited group,
// within and outside of a PID namespace, and from outside of any group.
func TestCallerDecides(t *testing.T) {
	dir := mountLive(t)
	meminfo := filepath.Join(dir, "proc/meminfo")
	hosts, _, _ := strings.Cut(read(t, "/proc/meminfo"), "\n")

	limited := fixture.NewGroup(t)
	limited.Set(t, "memory.max", "memory.limit_in_bytes", "100663296") // 96 MiB
	other := fixture.NewGroup(t)
	other.Set(t, "memory.max", "memory.limit_in_bytes", "50331648") // 48 MiB
	unlimited := fixture.NewGroup(t)

	const ours, others = "MemTotal:          98304 kB", "MemTotal:          49152 kB"
	for _, c := range []struct {
		name string
		cmd  *exec.Cmd
		want string
	}{
		{"in a limited group", limited.Command("head", "-n1", meminfo), ours},
		{"in another", other.Command("head", "-n1", meminfo), others},
		{"in a PID namespace", limited.Command("unshare", "-pf", "--mount-proc", "head", "-n1", meminfo), ours},
		{"not its init", limited.Command("unshare", "-pf", "sh", "-c", "head -n1 "+meminfo+"; true"), ours},
		{"in a group without a limit", unlimited.Command("head", "-n1", meminfo), hosts},
		{"twice the same", limited.Command("head", "-n1", meminfo), ours},
	} {
		if got := strings.TrimSpace(output(t, c.cmd)); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// TestInitOfTheNamespaceDecides: a process that enters a container's PID
// namespace from a group of its own sees what the container sees.
func TestInitOfTheNamespaceDecides(t *testing.T) {
	dir := mountLive(t)
	limited := fixture.NewGroup(t)
	limited.Set(t, "memory.max", "memory.limit_in_bytes", "100663296")
	other := fixture.NewGroup(t)
	// The init's child moves to another group before it reads.
	moved := `d="` + strings.Join(other.Dirs(), " ") + `"; for g in $d; do sh -c 'echo $PPID >'$g/cgroup.procs; done; `
	got := output(t, limited.Command("unshare", "-pf", "--mount-proc", "sh", "-c",
		`sh -c '`+strings.ReplaceAll(moved, "'", `'\''`)+`exec head -n1 `+filepath.Join(dir, "proc/meminfo")+`'; true`))
	if want := "MemTotal:          98304 kB\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestUnlimitedCallersGetTheHostsFiles(t *testing.T) {
	dir := mountLive(t)
	for _, f := range []string{"proc/cpuinfo", "proc/swaps", "sys/devices/system/cpu/online", "sys/devices/system/cpu/possible"} {
		want, got := read(t, "/"+f), read(t, filepath.Join(dir, f))
		if f == "proc/cpuinfo" { // cpu MHz moves
			want, got = strings.Split(want, "cpu MHz")[0], strings.Split(got, "cpu MHz")[0]
		}
		if got != want {
			t.Errorf("%s is %q, want the host's %q", f, got, want)
		}
	}
}
