package fusefs_test

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
	"github.com/lxcfs-nri/lxcfs-nri/fusefs"
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

// TestCallersOfOneGroupShareATurn, whatever PID namespaces they are in.
func TestCallersOfOneGroupShareATurn(t *testing.T) {
	m, log := machine(t)
	m.registry.Close()
	link := func(ns, name string) {
		t.Helper()
		dir := filepath.Join(m.root, "proc", name, "ns")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(ns, filepath.Join(dir, "pid")); err != nil {
			t.Fatal(err)
		}
	}
	const host, inside = "pid:[1]", "pid:[2]"
	link(host, "self")
	for pid, at := range map[int][2]string{77: {host, "ctr"}, 78: {host, "ctr"}, 80: {inside, "ctr"}, 81: {inside, "ctr/child"}, 82: {host, "other"}} {
		link(at[0], fmt.Sprint(pid))
		write(t, fmt.Sprintf("%s/proc/%d/cgroup", m.root, pid), "0::/"+at[1]+"\n")
		write(t, fmt.Sprintf("%s/sys/fs/cgroup/%s/cgroup.procs", m.root, at[1]), "")
	}
	write(t, m.root+"/proc/80/status", "NSpid:\t80\t1\n")
	groups, err := cgroup.Open(m.root)
	if err != nil {
		t.Fatal(err)
	}
	m.registry = view.NewRegistry(view.NewHost(m.root), groups, log, view.Options{})
	t.Cleanup(m.registry.Close)
	shared, err := fusefs.NewShared()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shared.Close() }) //nolint:errcheck // memory of a test
	fs := fusefs.New(m.registry, log, everything)
	send := protocol(fs, shared)
	turn := func(pid uint32) uint32 {
		t.Helper()
		const opGetattr, meminfo = 3, 1 << 8
		in := requestOf(opGetattr, 0, make([]byte, 16)...)
		binary.NativeEndian.PutUint64(in[16:], meminfo)
		binary.NativeEndian.PutUint32(in[32:], pid)
		send(in)
		return fs.TurnOf(pid)
	}
	ours := turn(77)
	for _, pid := range []uint32{78, 80, 81} {
		if got := turn(pid); got != ours || got == 0 {
			t.Errorf("process %d: turn %d, want %d", pid, got, ours)
		}
	}
	if got := turn(82); got == 0 || got == ours {
		t.Errorf("a process of another group: turn %d, the first one's is %d", got, ours)
	}
	if got := turn(83); got != 0 {
		t.Errorf("a process that is not there: turn %d", got)
	}
}

// TestCallersSizes: what stat(1) tells of a file is its size as the asking container
// reads it, also right after another one asked.
func TestCallersSizes(t *testing.T) {
	cpuinfo := filepath.Join(mountLive(t), "proc/cpuinfo")
	const quota, both = "50000", `stat -c %s "$1"; wc -c <"$1" | tr -d ' '; cat "$1" | wc -c; stat -c %s "$1"`
	one, all := fixture.NewGroup(t), fixture.NewGroup(t)
	one.Set(t, "cpu.max", "cpu.cfs_quota_us", quota)
	sizes := map[*fixture.Group]string{}
	for range 3 {
		for _, g := range []*fixture.Group{one, all} {
			told := strings.Fields(output(t, g.Command("sh", "-c", both, "sh", cpuinfo)))
			if len(told) != 4 || told[0] != told[2] || told[3] != told[2] {
				t.Errorf("stat, wc, cat, stat: %q", told)
			}
			sizes[g] = told[2]
		}
	}
	if sizes[one] == sizes[all] {
		t.Errorf("both have %s bytes: the comparison shows nothing", sizes[one])
	}
}
