// Package runtimes has OCI runtimes mount the files, without a container manager.
package runtimes

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
	"github.com/lxcfs-nri/lxcfs-nri/view"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// crun of Debian 12 refuses a machine with both cgroup versions, hence the choice.
var runtimes = flag.String("runtimes", "runc", "runtimes to test, `separated` by commas")

const mib = 1 << 20

// script prints what a container sees.
const script = `
cat /proc/meminfo
grep -c ^processor /proc/cpuinfo
grep ^cpu /proc/stat | wc -l
cat /sys/devices/system/cpu/online
ls -d /sys/devices/system/cpu/cpu[0-9]*/topology | wc -l
cat /proc/uptime
cat /proc/self/mountinfo
`

func TestRuntimes(t *testing.T) {
	dir := t.TempDir()
	binary, err := rig.BuildProduct(t.Context(), dir, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	d, err := rig.Serve(t.Context(), dir, binary, "", rig.NoRuntime)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
	})
	for name := range strings.SplitSeq(*runtimes, ",") {
		t.Run(name, func(t *testing.T) {
			// The limits are the runtime's to set, except for that of the pod.
			g := fixture.NewGroup(t)
			for _, c := range []struct {
				name         string
				memory, pod  int64
				want         int64
				quota, nCPUs int64
			}{
				{"container", 200 * mib, 0, 200 * mib, 50_000, 1},
				{"pod", 300 * mib, 150 * mib, 150 * mib, 150_000, 2},
			} {
				t.Run(c.name, func(t *testing.T) {
					if c.pod != 0 {
						g.Set(t, "memory.max", "memory.limit_in_bytes", fmt.Sprint(c.pod))
					}
					out := run(t, name, g.Name+"/"+c.name, d.Mountpoint, c.memory, c.quota)
					sees(t, out, c.want, int(c.nCPUs))
				})
			}
		})
	}
}

// sees checks what script printed.
func sees(t *testing.T, out string, memory int64, cpus int) {
	t.Helper()
	meminfo, rest, _ := strings.Cut(out, "\nDirectMap")
	if rest != "" {
		t.Errorf("meminfo is the host's: %s", out)
	}
	if want := fmt.Sprintf("MemTotal:       %8d kB\n", memory/1024); !strings.HasPrefix(meminfo, want) {
		t.Errorf("meminfo: got %.60q, want it to begin with %q", meminfo, want)
	}
	online := "0"
	if cpus > 1 {
		online = fmt.Sprint("0-", cpus-1)
	}
	if want := fmt.Sprintf("\n%d\n%d\n%s\n%d\n", cpus, cpus+1, online, cpus); !strings.Contains(out, want) {
		t.Errorf("CPUs: got %s\nwant %q in it", out, want)
	}
	for _, file := range mounted() {
		if !strings.Contains(out, " /"+file+" ro,") {
			t.Errorf("/%s is not mounted: %s", file, out)
		}
	}
}

// mounted lists the files that a runtime can mount, and this kernel has.
func mounted() []string {
	return slices.DeleteFunc(view.Paths(), func(file string) bool {
		i := slices.IndexFunc(view.Files, func(f view.File) bool { return f.Path == file })
		_, err := os.Stat("/" + file)
		return err != nil || view.Files[i].Reach != view.SpecMount
	})
}

// run runs script in a container and gives what it printed.
func run(t *testing.T, runtime, cgroup, mountpoint string, memory, quota int64) string {
	t.Helper()
	bundle := t.TempDir()
	if err := os.MkdirAll(bundle+"/rootfs/bin", 0o755); err != nil {
		t.Fatal(err)
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatalf("%v: install the package busybox-static", err)
	}
	b, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(bundle+"/rootfs/bin/busybox", b, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sh", "cat", "grep", "ls", "wc"} {
		if err := os.Symlink("busybox", bundle+"/rootfs/bin/"+name); err != nil {
			t.Fatal(err)
		}
	}
	command(t, runtime, "spec", "--bundle", bundle)
	spec(t, bundle+"/config.json", cgroup, mountpoint, memory, quota)
	id := fmt.Sprintf("lxcfs-nri-test-%d-%s", os.Getpid(), filepath.Base(cgroup))
	t.Cleanup(func() {
		// It is there only if the test was cut short.
		exec.Command(runtime, "--root", bundle+"/state", "delete", "--force", id).Run() //nolint:errcheck // see above
	})
	return command(t, runtime, "--root", bundle+"/state", "run", "--bundle", bundle, id)
}

// spec changes the runtime's sample to a container that runs script.
func spec(t *testing.T, file, cgroup, mountpoint string, memory, quota int64) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var s specs.Spec
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	s.Process.Terminal = false
	s.Process.Args = []string{"sh", "-euc", script}
	s.Process.Rlimits = nil // a sandboxed root may not raise them
	for _, f := range mounted() {
		s.Mounts = append(s.Mounts, specs.Mount{
			Destination: "/" + f, Source: filepath.Join(mountpoint, f), Type: "bind",
			Options: []string{"bind", "ro", "nosuid", "nodev", "noexec"},
		})
	}
	period := uint64(100_000)
	s.Linux.CgroupsPath = cgroup
	s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &memory}
	s.Linux.Resources.CPU = &specs.LinuxCPU{Quota: &quota, Period: &period}
	// On a machine with v1, runc's sample shares the host's.
	if !slices.ContainsFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.CgroupNamespace }) {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	if b, err = json.Marshal(s); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s\n%s", name, strings.Join(args, " "), err, &stderr, out)
	}
	return string(out)
}
