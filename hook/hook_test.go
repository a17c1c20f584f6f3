package hook_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
	"github.com/lxcfs-nri/lxcfs-nri/config"
	"github.com/lxcfs-nri/lxcfs-nri/control"
	"github.com/lxcfs-nri/lxcfs-nri/fusefs"
	"github.com/lxcfs-nri/lxcfs-nri/hook"
	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// TestNames: what is written twice, lest the hook be large, is the same.
func TestNames(t *testing.T) {
	if hook.FSType != fusefs.Type || hook.SocketName != control.SocketName {
		t.Errorf("%s, %s: want %s, %s", hook.FSType, hook.SocketName, fusefs.Type, control.SocketName)
	}
}

// TestAnnotated: without the daemon, annotations mean what the policy takes them for.
func TestAnnotated(t *testing.T) {
	policy := config.Default().Policy
	keys := []string{
		"lxcfs.nri.io/inject/container.web", "inject.lxcfs.nri.io/container.web", "lxcfs.nri.io/inject",
		"lxcfs.nri.io/inject/pod", "inject.lxcfs.nri.io/pod",
		"lxcfs-admission-webhook.aliyun.com/mutate", "mutating.lxcfs-admission-webhook.io/enable",
	}
	values := []string{"", "true", "False", " false ", "no", "x"}
	check := func(a map[string]string) {
		t.Helper()
		want := policy.Decide(config.Target{Container: a[hook.AnnotationContainer], PodAnnotations: a, ContainerAnnotations: a})
		key, inject := hook.Annotated(a)
		if key == "" {
			inject = policy.Inject
		}
		if inject != want.Inject || (key != "") != strings.Contains(want.Reason, "annotation") || !strings.Contains(want.Reason, key) {
			t.Errorf("%q: %q, %t, the policy says %+v", a, key, inject, want)
		}
	}
	for i := range len(keys) * len(keys) * len(values) * len(values) {
		one, other := keys[i%len(keys)], keys[i/len(keys)%len(keys)]
		i /= len(keys) * len(keys)
		value, second := values[i%len(values)], values[i/len(values)]
		check(map[string]string{one: value, other: second})
		check(map[string]string{one: value, other: second, hook.AnnotationContainer: "web"})
	}
}

// TestAnnotatedOnCRIO: what a hook sees of annotations on CRI-O, which hands it those of
// pod and container as one, means what it would mean told apart.
func TestAnnotatedOnCRIO(t *testing.T) {
	policy := config.Default().Policy
	onPod := []string{"lxcfs.nri.io/inject/container.web", "lxcfs.nri.io/inject", "inject.lxcfs.nri.io/pod", "lxcfs-admission-webhook.aliyun.com/mutate"}
	onContainer := []string{"lxcfs.nri.io/inject", "mutating.lxcfs-admission-webhook.io/enable"}
	pick := func(n int, keys []string) map[string]string {
		a, values := map[string]string{}, []string{"", "true", "false"} // "": absent
		for _, key := range keys {
			if value := values[n%len(values)]; value != "" {
				a[key] = value
			}
			n /= len(values)
		}
		return a
	}
	for n := range 3 * 3 * 3 * 3 {
		for m := range 3 * 3 {
			pod, own := pick(n, onPod), pick(m, onContainer)
			for key := range own {
				delete(pod, key) // CRI-O writes the container's over it
			}
			want := policy.Decide(config.Target{Container: "web", PodAnnotations: pod, ContainerAnnotations: own})
			all := fixture.CRIO(t, pod, own)
			key, inject := hook.Annotated(all)
			if key == "" {
				inject = policy.Inject
			}
			if inject != want.Inject || !strings.Contains(want.Reason, key) {
				t.Errorf("pod %v, container %v: %q, %t, the policy says %+v", pod, own, key, inject, want)
			}
			sentPod, sentOwn := hook.Split(hook.Known(all))
			got := policy.Decide(config.Target{Container: "web", PodAnnotations: sentPod, ContainerAnnotations: sentOwn})
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("pod %v, container %v: the daemon decides otherwise: %s", pod, own, diff)
			}
		}
	}
}

// container has a root to be with a procfs, and a bundle. It gives the state
// that a runtime tells of it at the stage createRuntime.
func container(t *testing.T) (pid int, rootfs, state string) {
	t.Helper()
	bundle := t.TempDir()
	rootfs = filepath.Join(bundle, "rootfs")
	if err := os.MkdirAll(rootfs+"/proc", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(bundle+"/config.json", []byte(`{"root":{"path":"rootfs"},"linux":{"namespaces":[{"type":"pid"}]}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	pid, _ = fixture.Process(t, 0, "mount -t proc proc "+rootfs+"/proc")
	return pid, rootfs, stateOf(t, pid, bundle, "creating", nil)
}

func stateOf(t *testing.T, pid int, bundle, status string, annotations map[string]string) string {
	t.Helper()
	b, err := json.Marshal(map[string]any{"ociVersion": "1.0.2", "id": "c1", "status": status, "pid": pid, "bundle": bundle, "annotations": annotations})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// mount has the real file system on a directory, which it gives.
func mount(t *testing.T) string {
	t.Helper()
	groups, err := cgroup.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	registry := view.NewRegistry(view.NewHost("/"), groups, log, view.Options{})
	t.Cleanup(registry.Close)
	shared, err := fusefs.NewShared()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "mnt")
	conn, err := fusefs.New(registry, log, func(path string) bool { return path != "proc/swaps" }).Mount(dir, shared)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- conn.Serve() }()
	t.Cleanup(func() {
		if err := conn.Unmount(); err != nil {
			t.Error(err)
		}
		// With a container that has its files, it lives on until that ends.
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return dir
}

// mounted lists where a process has our files.
func mounted(t *testing.T, pid int, rootfs string) []string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); strings.HasPrefix(f[4], rootfs) && strings.Contains(line, " "+fusefs.Type+" ") {
			all = append(all, strings.TrimPrefix(f[4], rootfs))
		}
	}
	return all
}

// TestWithoutDaemon: who may not ask gets the files that are resolved by their
// reader, each once, and only those that are served.
func TestWithoutDaemon(t *testing.T) {
	h := hook.Hook{RunDir: t.TempDir(), Mountpoint: mount(t), Required: true, Timeout: time.Minute}
	pid, rootfs, state := container(t)
	for range 2 {
		line, err := h.Run(strings.NewReader(state))
		if err != nil || !strings.Contains(line, "resolved by their reader") {
			t.Fatalf("%q, %v", line, err)
		}
		got := strings.Join(mounted(t, pid, rootfs), " ")
		if strings.Count(got, "/proc/meminfo") != 1 || strings.Count(got, "/proc/uptime") != 1 || strings.Contains(got, "swaps") || strings.Contains(got, "/sys") {
			t.Errorf("mounted: %s", got)
		}
	}
	// A process of its own reads: Go polls what it opens, and would wait for an answer of
	// this process while it waits for the poll.
	if b, err := exec.Command("cat", fmt.Sprintf("/proc/%d/root%s/proc/cpuinfo", pid, rootfs)).Output(); err != nil || !strings.Contains(string(b), "processor") {
		t.Errorf("cpuinfo: %q, %v", b, err)
	}
}

func TestLeftAlone(t *testing.T) {
	h := hook.Hook{RunDir: t.TempDir(), Mountpoint: mount(t), Required: true, Timeout: time.Minute}
	pid, rootfs, _ := container(t)
	bundle := filepath.Dir(rootfs)
	check := func(annotations map[string]string, says string, want bool) {
		t.Helper()
		line, err := h.Run(strings.NewReader(stateOf(t, pid, bundle, "created", annotations)))
		if err != nil || !strings.Contains(line, says) || (len(mounted(t, pid, rootfs)) > 0) != want {
			t.Errorf("%q, %v, mounted: %q", line, err, mounted(t, pid, rootfs))
		}
	}
	check(map[string]string{"lxcfs.nri.io/inject": "false"}, "left alone: annotation lxcfs.nri.io/inject", false)
	if err := os.WriteFile(bundle+"/config.json", []byte(`{"root":{"path":"rootfs"},"linux":{"namespaces":[{"type":"mount"}]}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	check(nil, "left alone: shares the host's PID namespace", false)
	check(map[string]string{"lxcfs.nri.io/inject": "true"}, "resolved by their reader", true)
}

// FuzzRequired holds what the hook reads of the configuration against package config:
// a file in which it would see otherwise is one that the daemon refuses.
func FuzzRequired(f *testing.F) {
	for _, src := range []string{
		"required: true\n", "swap: false\r\nrequired:  true \r\n", "\ufeffrequired: true", "required: false\n", "swap: true\n",
		"required: true # hook\n", "{required: true}", "\"required\": true\n", "required:\n  true\n", "required: TRUE\n",
		"policy:\n  podSelector: \"a,\nrequired: true\n\"\n", "swap: true\n...\nrequired: true\n", "policy:\n  required: true\n",
	} {
		f.Add(src)
	}
	f.Fuzz(func(t *testing.T, src string) {
		file := t.TempDir() + "/config.yaml"
		if err := os.WriteFile(file, []byte(src), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(file, nil)
		if err == nil && c.Required != hook.HasRequired(src) {
			t.Errorf("config takes %q for %t, the hook does not", src, c.Required)
		}
	})
}

// TestNothingThere: a container starts in any case, but where files are required.
func TestNothingThere(t *testing.T) {
	pid, rootfs, state := container(t)
	device, hangs := stuck(t)
	closed, dead := stuck(t)
	if err := unix.Close(closed); err != nil {
		t.Fatal(err)
	}
	requiring := t.TempDir() + "/config.yaml"
	if err := os.WriteFile(requiring, []byte("required: true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ mountpoint, says string }{
		{t.TempDir(), "nothing of ours is mounted"},
		{dead, "not connected"},
		{hangs, "timeout"},
	} {
		h := hook.Hook{RunDir: t.TempDir(), Mountpoint: c.mountpoint, Timeout: 300 * time.Millisecond}
		line, err := h.Run(strings.NewReader(state))
		if err != nil || !strings.Contains(line, "has the host's files: no daemon") || !strings.Contains(line, c.says) || strings.Contains(line, "\n") {
			t.Errorf("%s: %q, %v", c.says, line, err)
		}
		h.Config = requiring
		if line, err := h.Run(strings.NewReader(state)); line != "" || err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), requiring) {
			t.Errorf("required by the configuration, %s: %q, %v", c.says, line, err)
		}
		h.Required = true
		if line, err := h.Run(strings.NewReader(state)); line != "" || err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "start lxcfs-nri") {
			t.Errorf("required, %s: %q, %v", c.says, line, err)
		}
		if line, err := h.Run(strings.NewReader(stateOf(t, 0, "/b", "stopped", nil))); line != "" || err != nil {
			t.Errorf("a container that has ended: %q, %v", line, err)
		}
	}
	if got := mounted(t, pid, rootfs); len(got) > 0 {
		t.Errorf("mounted: %q", got)
	}
	unix.Close(device) //nolint:errcheck // ends those who wait
}

// stuck is a file system whose daemon does not answer, and its device.
func stuck(t *testing.T) (device int, dir string) {
	t.Helper()
	dir = t.TempDir()
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("x", dir, fusefs.Type, 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return fd, dir
}

// TestFaults: what can't be understood is nobody's container. It fails none but
// where files are required.
func TestFaults(t *testing.T) {
	bundle := t.TempDir()
	for _, c := range []struct{ state, spec, says string }{
		{"", "", "an OCI runtime is to run this hook"},
		{stateOf(t, 1, bundle, "creating", nil), "", "config.json"},
		{stateOf(t, 1, bundle, "creating", nil), "{", "config.json"},
		{stateOf(t, 0, bundle, "creating", nil), `{"root":{"path":"rootfs"}}`, "names no process"},
	} {
		if err := os.RemoveAll(bundle + "/config.json"); err != nil {
			t.Fatal(err)
		}
		if c.spec != "" {
			if err := os.WriteFile(bundle+"/config.json", []byte(c.spec), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		h := hook.Hook{RunDir: bundle, Mountpoint: bundle, Required: true, Timeout: time.Minute}
		if line, err := h.Run(strings.NewReader(c.state)); line != "" || err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q, %s: %q, %v, want %q", c.state, c.spec, line, err, c.says)
		}
		h.Required = false
		if line, err := h.Run(strings.NewReader(c.state)); err != nil || !strings.Contains(line, c.says) {
			t.Errorf("%q, %s: %q, %v, want the line %q", c.state, c.spec, line, err, c.says)
		}
	}
}
