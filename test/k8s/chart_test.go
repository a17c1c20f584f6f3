package k8s

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

// installed are files that mode host puts onto the node.
var installed = []string{
	"/usr/bin/lxcfs-nri", "/usr/libexec/lxcfs-nri/lxcfs-nri-hook", "/etc/lxcfs-nri/config.yaml",
	"/usr/lib/systemd/system/lxcfs-nri.service", "/usr/share/containers/oci/hooks.d/lxcfs-nri-annotated.json",
}

// deployHost has the service on the node, and removes it from there at the end.
func deployHost(t *testing.T, values ...string) {
	t.Helper()
	showLogs(t)
	t.Cleanup(func() {
		deployAway(t)
		undeploy(t)
	})
	deploy(t, append([]string{"image.tag=one"}, values...)...)
}

// deployAway has the service removed from the node.
func deployAway(t *testing.T) {
	t.Helper()
	if t.Context().Err() != nil { // in a cleanup
		args := []string{"upgrade", release, chart, "-n", release, "--reuse-values", "--set", "mode=uninstall", "--wait", "--timeout", perStep.String()}
		if _, err := helm(args...); err != nil {
			t.Error(err, chartLogs())
		}
		return
	}
	deploy(t, "image.tag=two", "mode=uninstall")
}

// TestAccepted has the API server check what the chart makes, in all its modes.
func TestAccepted(t *testing.T) {
	for _, mode := range []string{"host", "pod", "uninstall"} {
		out, err := helm("template", release, chart, "-n", "default", "--set", "mode="+mode,
			"--set", "config.policy.namespaces.include={a,b}", "--set", "imagePullSecrets[0].name=x", "--set", "podLabels.a=b", "--set", "podAnnotations.a=b")
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "manifest.yaml")
		if err := os.WriteFile(file, []byte(out), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Log(kubectl(t, "apply", "--dry-run=server", "--validate=strict", "-f", file))
	}
}

// TestHost installs the service onto the node, upgrades it and removes it, while a
// container reads.
func TestHost(t *testing.T) {
	deployHost(t)
	ns := namespace(t)
	run(t, ns, "reader", "", readerSpec())
	flawless(t, ns)
	service := supervisor(t)

	t.Log("deleting the chart's pod")
	kubectl(t, "-n", release, "delete", "pod", "--all", "--wait")
	kubectl(t, "-n", release, "rollout", "status", "daemonset/"+release)
	if now := supervisor(t); now != service {
		t.Errorf("the service was process %d before the chart's pod was deleted, and is %d now", service, now)
	}
	flawless(t, ns)

	t.Log("upgrading")
	deploy(t, "image.tag=two", "config.log.level=debug")
	eventually(t, func() error {
		out, err := output(exec.Command("/usr/bin/lxcfs-nri", "status", "--json"))
		if err == nil && !strings.Contains(out, `"two"`) {
			err = fmt.Errorf("version two does not serve: %s", out)
		}
		return err
	})
	flawless(t, ns)
	if now := supervisor(t); now != service {
		t.Errorf("the service was process %d before the upgrade, and is %d now", service, now)
	}

	t.Log("uninstalling")
	run(t, ns, "web", "", one)
	deployAway(t)
	if got, want := total(t, ns, "web"), hostTotal(t); got != want {
		t.Errorf("after the uninstall a container has %d MiB, want the machine's %d", got, want)
	}
	for _, path := range append(installed, "/var/lib/lxcfs-nri", "/run/lxcfs-nri", "/var/log/lxcfs-nri.log", "/etc/lxcfs-nri") {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", path, err)
		}
	}
}

// supervisor is the process of the service, outside of the pod's cgroups.
func supervisor(t *testing.T) int {
	t.Helper()
	pids := processes(t, "supervise")
	if len(pids) != 1 {
		t.Fatalf("there are %d services: %v", len(pids), pids)
	}
	dir := filepath.Join("/proc", strconv.Itoa(pids[0]))
	for _, file := range []string{"cgroup", "ns/mnt", "ns/net"} {
		if got, want := read(t, dir, file), read(t, "/proc/1", file); got != want {
			t.Errorf("the service's %s is %s, want that of process 1: %s", file, got, want)
		}
	}
	return pids[0]
}

// processes are those of a command of lxcfs-nri, without arguments.
func processes(t *testing.T, command string) (pids []int) {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		if cmdline, _ := os.ReadFile(filepath.Join(dir, "cmdline")); string(cmdline) == "/usr/bin/lxcfs-nri\x00"+command+"\x00" {
			pid, err := strconv.Atoi(filepath.Base(dir))
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

// read reads a file or a link of /proc.
func read(t *testing.T, dir, file string) string {
	t.Helper()
	path := filepath.Join(dir, file)
	if link, err := os.Readlink(path); err == nil {
		return link
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestPod has the daemon in its pod.
func TestPod(t *testing.T) {
	showLogs(t)
	t.Cleanup(func() { undeploy(t) })
	deploy(t, "image.tag=one", "mode=pod")
	ns := namespace(t)
	run(t, ns, "web", "", one)
	if got := total(t, ns, "web"); got != 256 {
		t.Errorf("got %d MiB, want 256", got)
	}
	seen := func(want int) func() error {
		return func() error {
			got, err := freeTotal(t.Context(), ns, "web")
			if err == nil && got != want {
				err = fmt.Errorf("got %d MiB, want %d", got, want)
			}
			return err
		}
	}

	t.Log("replacing the pod")
	deploy(t, "image.tag=two", "mode=pod")
	eventually(t, seen(256))

	t.Log("killing all in the pod")
	for _, command := range []string{"supervise", "serve"} {
		for _, pid := range processes(t, command) {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				t.Fatal(err)
			}
		}
	}
	eventually(t, func() error {
		out, err := setup.cluster.kubectl(t.Context(), "-n", release, "get", "pods", "-o", "jsonpath={.items[*].status.containerStatuses[*].restartCount}")
		if err == nil && out == "0" {
			err = errors.New("not started again")
		}
		return err
	})
	eventually(t, seen(256))

	t.Log("uninstalling")
	undeploy(t)
	if got, want := total(t, ns, "web"), hostTotal(t); got != want {
		t.Errorf("after the uninstall a container has %d MiB, want the machine's %d", got, want)
	}
	if mounted, err := rig.Mounted("/var/lib/lxcfs-nri/fs"); err != nil || mounted {
		t.Errorf("the file system is still mounted (%v)", err)
	}
}

func mustOutput(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := output(exec.Command(name, args...))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestPackaged leaves a node alone that has the package.
func TestPackaged(t *testing.T) {
	const status = "/var/lib/dpkg/status"
	before, err := os.ReadFile(status)
	if err != nil {
		t.Fatal(err)
	}
	entry := "\nPackage: lxcfs-nri\nStatus: install ok installed\nMaintainer: nobody <nobody@lxcfs-nri.test>\nArchitecture: all\nVersion: 1\nDescription: as if it were installed\n"
	if err := os.WriteFile(status, append(before, entry...), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		undeploy(t)
		if err := os.WriteFile(status, before, 0o644); err != nil {
			t.Error(err)
		}
	})
	if _, err := helm("upgrade", "--install", release, chart, "-n", release, "--create-namespace",
		"--set", "image.repository="+repository, "--set", "image.tag=one", "--set", "image.pullPolicy=Never"); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		out, err := setup.cluster.kubectl(t.Context(), "-n", release, "logs", "daemonset/"+release)
		if err == nil && !strings.Contains(out, "by=dpkg") {
			err = fmt.Errorf("it does not say so: %s", out)
		}
		return err
	})
	for _, path := range installed {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s was installed: %v", path, err)
		}
	}
}
