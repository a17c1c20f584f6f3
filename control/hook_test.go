package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/config"
	"github.com/lxcfs-nri/lxcfs-nri/hook"
	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// hookVar has this program be the hook of the daemon with that run directory.
const hookVar = "LXCFS_NRI_TEST_HOOK"

func TestMain(m *testing.M) {
	if Apart() {
		os.Exit(0)
	}
	if dir := os.Getenv(hookVar); dir != "" {
		h := hook.Hook{RunDir: dir, Mountpoint: dir, Required: true, Timeout: time.Minute}
		line, err := h.Run(os.Stdin)
		if err != nil {
			line = err.Error()
		}
		fmt.Fprintln(os.Stdout, line)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// bundle is a container's, whose root to be has a place for a procfs.
func bundle(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.MkdirAll(dir+"/rootfs/proc", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/config.json", []byte(`{"root":{"path":"rootfs"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// creating is a process whose root will be that of a bundle. It runs a script
// before it says that it is ready, and gives what that prints.
func creating(t *testing.T, bundle, script string) (pid int, said string) {
	t.Helper()
	return fixture.Process(t, 0, "mount -t proc proc "+bundle+"/rootfs/proc; "+script)
}

func hooks(t *testing.T, ids ...string) (h *Hooks, log fmt.Stringer, runDir string) {
	t.Helper()
	a, _ := attacher(t, ids...)
	l := &lockedLog{}
	a.Log = slog.New(slog.NewTextHandler(l, nil))
	h = &Hooks{Policy: config.Default().Policy, Attacher: a}
	dir := t.TempDir()
	s, err := Listen(dir, func() Status { return Status{} })
	if err != nil {
		t.Fatal(err)
	}
	s.Hook(h)
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), <-served); err != nil {
			t.Error(err)
		}
	})
	return h, l, dir
}

// lockedLog is read while the daemon writes.
type lockedLog struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func tell(t *testing.T, runDir string, pid int, bundle, status, annotations string) string {
	t.Helper()
	h := hook.Hook{RunDir: runDir, Mountpoint: runDir, Required: true, Timeout: time.Minute}
	line, err := h.Run(strings.NewReader(fmt.Sprintf(`{"ociVersion":"1.0.2","id":"c1","pid":%d,"bundle":%q,"status":%q,"annotations":{%s}}`, pid, bundle, status, annotations)))
	if err != nil {
		return err.Error()
	}
	return line
}

func created(t *testing.T, pid int, bundle string) bool {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/root%s/rootfs/proc/meminfo", pid, bundle))
	if err != nil {
		t.Error(err)
	}
	return string(b) == "ours\n"
}

// TestHookFromOutside is the stages createRuntime and prestart: the runtime
// names the process.
func TestHookFromOutside(t *testing.T) {
	h, log, dir := hooks(t, "c1")
	b := bundle(t)
	pid, _ := creating(t, b, ":")
	for _, want := range []string{"2 files", "0 files"} { // as with prestart and createRuntime
		if got := tell(t, dir, pid, b, "creating", ""); !strings.Contains(got, want) || !created(t, pid, b) {
			t.Errorf("%s, mounted: %t, want %s", got, created(t, pid, b), want)
		}
	}
	v := h.Attacher.Registry.Get("c1")
	if v == nil || v.Container().PID != pid || v.Container().Runtime != byHook {
		t.Fatalf("registered: %+v", v)
	}
	tell(t, dir, 0, "", "stopped", "")
	if h.Attacher.Registry.Get("c1") == nil {
		t.Error("a container that runs was forgotten")
	}
	if n := strings.Count(log.String(), "msg=decided"); n != 1 {
		t.Errorf("%d decisions logged, want 1: %s", n, log)
	}
	syscall.Kill(pid, syscall.SIGKILL) //nolint:errcheck // it is ours
	syscall.Wait4(pid, nil, 0, nil)    //nolint:errcheck // it has ended
	tell(t, dir, 0, "", "stopped", "") // also one that ended twice
	tell(t, dir, 0, "", "stopped", "")
	if h.Attacher.Registry.Get("c1") != nil {
		t.Error("a container that has ended is still registered")
	}
}

// TestHookFromInside is the stage createContainer: the hook is a child of the
// container's init, whose number it can't know.
func TestHookFromInside(t *testing.T) {
	h, _, dir := hooks(t, "c1")
	b := bundle(t)
	state := fmt.Sprintf(`{"ociVersion":"1.0.2","id":"c1","pid":1,"bundle":%q,"status":"creating"}`, b)
	for _, script := range []string{
		fmt.Sprintf("echo '%s' | %s=%s %s", state, hookVar, dir, os.Args[0]),
		fmt.Sprintf("cd %s/rootfs; echo '%s' | %s=%s %s", b, strings.ReplaceAll(state, b, "/nothing"), hookVar, dir, os.Args[0]),
		fmt.Sprintf("echo '%s' | sh -c '%s=%s %s; :'", state, hookVar, dir, os.Args[0]), // by a script
	} {
		pid, said := creating(t, b, script)
		if !strings.Contains(said, "2 files mounted") || !created(t, pid, b) {
			t.Errorf("%s: %s, mounted: %t", script, said, created(t, pid, b))
		}
		if v := h.Attacher.Registry.Get("c1"); v == nil || v.Container().PID != pid {
			t.Errorf("registered: %+v, want pid %d", v, pid)
		}
	}
}

func TestHookAsksThePolicy(t *testing.T) {
	h, log, dir := hooks(t, "c1")
	b := bundle(t)
	pid, _ := creating(t, b, ":")
	for _, c := range []struct{ annotations, says string }{
		{`"lxcfs.nri.io/inject":"false"`, "annotation lxcfs.nri.io/inject=false"},
		{`"io.kubernetes.pod.namespace":"kube-system","io.kubernetes.pod.name":"dns"`, "namespace kube-system"},
		{`"io.kubernetes.cri-o.RuntimeHandler":"kata-qemu"`, "runtime handler kata-qemu"},
		{`"io.kubernetes.cri-o.ContainerType":"sandbox"`, "pod's sandbox"},
		{`"io.kubernetes.container.name":"web","inject.lxcfs.nri.io/container.web":"false"`, "container.web=false"},
	} {
		got := tell(t, dir, pid, b, "creating", c.annotations)
		if !strings.Contains(got, "left alone: ") || !strings.Contains(got, c.says) || created(t, pid, b) || h.Attacher.Registry.Get("c1") != nil {
			t.Errorf("%s: %s, mounted: %t", c.annotations, got, created(t, pid, b))
		}
		tell(t, dir, 0, "", "stopped", "")
	}
	if n := strings.Count(log.String(), "msg=decided"); n != 5 || !strings.Contains(log.String(), "kube-system") {
		t.Errorf("%d decisions logged, want 5: %s", n, log)
	}
	// A process in the host's PID namespace.
	host := exec.Command("unshare", "--mount", "sh", "-euc", "mount -t proc proc "+b+"/rootfs/proc; echo; exec sleep infinity")
	out, err := host.StdoutPipe()
	if err == nil {
		err = host.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		host.Process.Kill() //nolint:errcheck // it is ours, and is waited for
		host.Wait()         //nolint:errcheck // ended by a signal
	}()
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if got := tell(t, dir, host.Process.Pid, b, "creating", ""); !strings.Contains(got, "host's PID namespace") {
		t.Error(got)
	}
	if got := tell(t, dir, host.Process.Pid, b, "creating", `"lxcfs.nri.io/inject":"true"`); !strings.Contains(got, "2 files") {
		t.Error(got)
	}
}

// TestHookOnCRIO: the policy is asked about the annotations of pod and container, which
// the hook is handed as one.
func TestHookOnCRIO(t *testing.T) {
	h, _, dir := hooks(t, "c1")
	b := bundle(t)
	pid, _ := creating(t, b, ":")
	const key, webhook = "lxcfs.nri.io/inject", "lxcfs-admission-webhook.aliyun.com/mutate"
	for _, c := range []struct {
		pod, container map[string]string
		says           string
	}{
		{map[string]string{key: "true", key + "/pod": "false"}, nil, "left alone: annotation " + key + "/pod=false on the pod"},
		{map[string]string{key: "true", key + "/container.web": "false"}, nil, "container.web=false on the pod"},
		{map[string]string{key + "/pod": "true"}, map[string]string{key: "false"}, "left alone: annotation " + key + "=false on the container"},
		{map[string]string{webhook: "no"}, nil, "left alone: annotation " + webhook + "=no on the pod"},
		{map[string]string{}, map[string]string{webhook: "no"}, "left alone: annotation " + webhook + "=no on the container"},
		{map[string]string{key: "false", key + "/pod": "true"}, nil, "2 files mounted"},
	} {
		all, err := json.Marshal(fixture.CRIO(t, c.pod, c.container))
		if err != nil {
			t.Fatal(err)
		}
		annotations := strings.TrimSuffix(strings.TrimPrefix(string(all), "{"), "}")
		if got := tell(t, dir, pid, b, "creating", annotations); !strings.Contains(got, c.says) {
			t.Errorf("pod %v, container %v: %s", c.pod, c.container, got)
		}
	}
	if v := h.Attacher.Registry.Get("c1"); v == nil || v.Container().Namespace != "shop" || v.Container().Name != "web" {
		t.Errorf("registered: %+v", v)
	}
}

// TestHookBesideNRI: what the runtime has told itself stays known.
func TestHookBesideNRI(t *testing.T) {
	h, _, dir := hooks(t, "c1")
	b := bundle(t)
	pid, _ := creating(t, b, "mount --bind "+h.Attacher.Mountpoint+"/containers/c1/proc/meminfo "+b+"/rootfs/proc/meminfo")
	v, err := h.Attacher.Registry.Add(view.Container{ID: "c1", Runtime: "cri-o", Namespace: "shop", Pod: "web-0", Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	if got := tell(t, dir, pid, b, "creating", ""); !strings.Contains(got, "1 files") {
		t.Errorf("%s, want the one that NRI has not mounted", got)
	}
	if c := v.Container(); h.Attacher.Registry.Get("c1") != v || c.Pod != "web-0" || c.PID != pid {
		t.Errorf("%+v", c)
	}
}

func TestHookIsRefused(t *testing.T) {
	h, log, dir := hooks(t, "c1")
	b := bundle(t)
	pid, _ := creating(t, bundle(t), ":") // another's
	if got := tell(t, dir, pid, b, "creating", ""); !strings.Contains(got, "no procfs") || !strings.Contains(log.String(), "level=WARN") {
		t.Errorf("%s\n%s", got, log)
	}
	if got := tell(t, dir, 1<<30, b, "creating", ""); !strings.Contains(got, "no such file") {
		t.Error(got)
	}
	if got := tell(t, dir, os.Getpid(), b, "creating", `"lxcfs.nri.io/inject":"true"`); !strings.Contains(got, "own mount namespace") {
		t.Error(got)
	}
	_, err := h.answer(hook.Request{ID: "c1", Rootfs: b}, func() (int, error) { return os.Getpid(), nil })
	if err == nil || !strings.Contains(err.Error(), "in no container") {
		t.Errorf("who asks is in no container: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, SocketName)); err != nil {
		t.Error(err)
	}
}
