package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
)

// TestHiddenCgroups: where a mount hides /sys/fs/cgroup, the hierarchies are found at
// another mount, and without one the daemon starts all the same and shows the host's figures.
func TestHiddenCgroups(t *testing.T) {
	const hide = `mount --make-rprivate /; %s mount -t tmpfs none /sys/fs/cgroup; exec "$0" "$@"`
	for name, c := range map[string]struct {
		first, want string
		warns       bool
	}{
		"everywhere":          {want: firstLine(t, "/proc/meminfo"), warns: true},
		"and mounted again":   {first: `mkdir -p "$TMPDIR/cgroups"; mount --rbind /sys/fs/cgroup "$TMPDIR/cgroups";`, want: "MemTotal:          65536 kB"},
		"and the host's /sys": {first: `mkdir -p "$TMPDIR/sys"; mount --rbind /sys "$TMPDIR/sys";`, want: "MemTotal:          65536 kB"},
	} {
		t.Run(name, func(t *testing.T) {
			mountpoint, runDir := dirs(t)
			serve := command(serveArgs(mountpoint, runDir)...)
			serve.Args = append([]string{"unshare", "-m", "sh", "-ec", fmt.Sprintf(hide, c.first), serve.Path}, serve.Args[1:]...)
			serve.Path = "/usr/bin/unshare"
			serve.Env = append(serve.Env, "TMPDIR="+t.TempDir())
			log := startCommand(t, serve, mountpoint)
			if warns := strings.Contains(log, "no cgroup hierarchy can be reached"); warns != c.warns {
				t.Errorf("logged %s", log)
			}
			g := fixture.NewGroup(t)
			g.Set(t, "memory.max", "memory.limit_in_bytes", "67108864")
			out, err := g.Command("cat", fmt.Sprintf("/proc/%d/root%s/proc/meminfo", serve.Process.Pid, mountpoint)).CombinedOutput()
			if got, _, _ := strings.Cut(string(out), "\n"); err != nil || got != c.want {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

func firstLine(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return line
}
