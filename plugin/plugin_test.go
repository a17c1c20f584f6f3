package plugin

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/containerd/nri/pkg/api"
	"github.com/google/go-cmp/cmp"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
	"github.com/lxcfs-nri/lxcfs-nri/config"
	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
	"github.com/lxcfs-nri/lxcfs-nri/view"
)

const ctrPath = "/kubepods/burstable/pod1234/ctr"

type machine struct {
	plugin   *Plugin
	registry *view.Registry
	log      *bytes.Buffer
	pid      int
	root     string
	created  []string
	started  []string
	listed   [][]string
}

func (m *machine) tell() Tell {
	return Tell{
		Started: func(v *view.View) { m.started = append(m.started, v.Container().ID) },
		Created: func(v *view.View) { m.created = append(m.created, v.Container().ID) },
		Synchronized: func(_ string, _ map[string]bool, views []*view.View) {
			var ids []string
			for _, v := range views {
				ids = append(ids, v.Container().ID)
			}
			m.listed = append(m.listed, ids)
		},
	}
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	c := fixture.Load(t, "../cgroup/testdata/v2-limited.txtar")
	for i := range view.Files { // the kernel has them all; not all were worth capturing
		if view.Files[i].Append == nil {
			continue
		}
		name := filepath.Join(c.Root, view.Files[i].Path)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(name, os.O_CREATE, 0o444)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	groups, err := cgroup.Open(c.Root)
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{log: &bytes.Buffer{}, pid: c.PID, root: c.Root}
	log := slog.New(slog.NewTextHandler(m.log, nil))
	m.registry = view.NewRegistry(view.NewHost(c.Root), groups, log, view.Options{})
	t.Cleanup(m.registry.Close)
	m.plugin = New(config.Default(), m.registry, log, m.tell())
	if _, err := m.plugin.Configure(t.Context(), "", "containerd", "v2"); err != nil {
		t.Fatal(err)
	}
	return m
}

func pod(annotations map[string]string) *api.PodSandbox {
	return &api.PodSandbox{Id: "p1", Name: "web-0", Namespace: "shop", Annotations: annotations}
}

func ctr(id string, pid int) *api.Container {
	return &api.Container{
		Id: id, PodSandboxId: "p1", Name: "web", Pid: uint32(pid), Mounts: usual(),
		Linux: &api.LinuxContainer{
			CgroupsPath: ctrPath,
			Namespaces:  []*api.LinuxNamespace{{Type: "pid"}, {Type: "mount"}},
		},
	}
}

func TestLifeOfAContainer(t *testing.T) {
	m, ctx := newMachine(t), context.Background()
	adjust, _, err := m.plugin.CreateContainer(ctx, pod(nil), ctr("c1", 0))
	if err != nil || len(adjust.GetMounts()) != len(specPaths()) {
		t.Fatalf("CreateContainer: %v, %v", adjust, err)
	}
	v := m.registry.Get("c1")
	if v == nil || v.Container().PID != 0 || v.Container().CgroupsPath != ctrPath {
		t.Fatalf("registered: %+v", v)
	}
	if err := m.plugin.StartContainer(ctx, pod(nil), ctr("c1", m.pid)); err != nil {
		t.Fatal(err)
	}
	if m.registry.Get("c1") != v || v.Container().PID != m.pid {
		t.Errorf("after StartContainer: %+v", v.Container())
	}
	if diff := cmp.Diff([][]string{{"c1"}, {"c1"}}, [][]string{m.created, m.started}); diff != "" {
		t.Errorf("told of at its creation and its start: %s", diff)
	}
	if _, err := m.plugin.StopContainer(ctx, pod(nil), ctr("c1", m.pid)); err != nil || m.registry.Get("c1") != v {
		t.Errorf("the files go while the container's processes run (%v)", err)
	}
	if err := os.RemoveAll(filepath.Join(m.root, "proc", strconv.Itoa(m.pid))); err != nil {
		t.Fatal(err)
	}
	if _, err := m.plugin.StopContainer(ctx, pod(nil), ctr("c1", m.pid)); err != nil || m.registry.Get("c1") != nil {
		t.Errorf("the view outlives the container (%v)", err)
	}
	if err := m.plugin.RemoveContainer(ctx, pod(nil), ctr("c1", 0)); err != nil || len(m.plugin.told) != 0 {
		t.Errorf("something is remembered of a removed container (%v)", err)
	}
	if got := strings.Count(m.log.String(), "msg=decided"); got != 1 || !strings.Contains(m.log.String(), "container=shop/web-0/web") {
		t.Errorf("the decision is logged %d times, want once:\n%s", got, m.log)
	}
}

// TestNoPID: CRI-O before version 1.36 tells none at any event.
func TestNoPID(t *testing.T) {
	m, ctx := newMachine(t), context.Background()
	running := ctr("c1", 0)
	running.State = api.ContainerState_CONTAINER_RUNNING
	known := func(when string, pid int) *view.View {
		t.Helper()
		v := m.registry.Get("c1")
		if v == nil || v.Container().PID != pid {
			t.Fatalf("%s: %v, want process %d", when, v, pid)
		}
		return v
	}
	if _, _, err := m.plugin.CreateContainer(ctx, pod(nil), ctr("c1", 0)); err != nil {
		t.Fatal(err)
	}
	v := known("created", 0)
	if err := m.plugin.StartContainer(ctx, pod(nil), ctr("c1", 0)); err != nil {
		t.Fatal(err)
	}
	known("started", m.pid)
	// Another process is there, with a lower number.
	procs := filepath.Join(m.root, "sys/fs/cgroup", ctrPath, "cgroup.procs")
	if err := os.WriteFile(procs, fmt.Appendf(nil, "2\n%d\n", m.pid), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := m.plugin.Synchronize(ctx, []*api.PodSandbox{pod(nil)}, []*api.Container{running}); err != nil {
		t.Fatal(err)
	}
	if known("listed", m.pid) != v {
		t.Error("it is taken for another run of the container")
	}
	if _, err := m.plugin.StopContainer(ctx, pod(nil), running); err != nil {
		t.Fatal(err)
	}
	known("asked to stop", m.pid)

	m = newMachine(t)
	if _, err := m.plugin.Synchronize(ctx, []*api.PodSandbox{pod(nil)}, []*api.Container{running}); err != nil {
		t.Fatal(err)
	}
	known("found running", m.pid)
}

func TestLeftAlone(t *testing.T) {
	hostPID := ctr("c1", 0)
	hostPID.Linux.Namespaces = hostPID.Linux.Namespaces[1:]
	joined := ctr("c1", 0) // as containerd has it
	joined.Linux.Namespaces[0].Path = "/proc/self/ns/pid"
	badID := ctr("../../etc", 0)
	badPath := ctr("c1", 0)
	badPath.Linux.CgroupsPath = "/../../etc"
	kata := pod(nil)
	kata.RuntimeHandler = "kata-qemu"
	for name, c := range map[string]struct {
		pod *api.PodSandbox
		ctr *api.Container
	}{
		"opted out":            {pod(map[string]string{"lxcfs.nri.io/inject": "false"}), ctr("c1", 0)},
		"kube-system":          {&api.PodSandbox{Namespace: "kube-system"}, ctr("c1", 0)},
		"host PID namespace":   {pod(nil), hostPID},
		"host's by its pod":    {pod(nil), joined},
		"kata":                 {kata, ctr("c1", 0)},
		"an id that is a path": {pod(nil), badID},
		"a path that leads up": {pod(nil), badPath},
	} {
		m := newMachine(t)
		adjust, update, err := m.plugin.CreateContainer(context.Background(), c.pod, c.ctr)
		if err != nil || len(adjust.GetMounts()) != 0 || len(update) != 0 || len(m.registry.List()) != 0 {
			t.Errorf("%s: adjustment %v, error %v, %d registered", name, adjust, err, len(m.registry.List()))
		}
		if !strings.Contains(m.log.String(), "container=") {
			t.Errorf("%s: nothing is logged", name)
		}
		m.plugin.cfg.Required = true
		_, _, err = m.plugin.CreateContainer(context.Background(), c.pod, c.ctr)
		if cant := c.ctr == badID || c.ctr == badPath; (err != nil) != cant {
			t.Errorf("%s, and the files are required: %v", name, err)
		}
	}
}

// TestCRIOsAnnotations: CRI-O tells a pod's annotations as the containers', too. Their
// order is that of containerd.
func TestCRIOsAnnotations(t *testing.T) {
	const key, webhook = "lxcfs.nri.io/inject", "mutating.lxcfs-admission-webhook.io/enable"
	for _, c := range []struct {
		pod, container map[string]string
		want           bool
	}{
		{map[string]string{key: "false", key + "/pod": "true"}, nil, true},
		{map[string]string{key: "true", "inject.lxcfs.nri.io/pod": "false"}, nil, false},
		{map[string]string{key: "false", key + "/container.web": "true"}, nil, true},
		{map[string]string{key: "true", key + "/pod": "true"}, map[string]string{key: "false"}, false},
		{map[string]string{key: "false", key + "/pod": "false"}, map[string]string{key: "true"}, true},
		{map[string]string{key: "false"}, nil, false},
		{map[string]string{webhook: "false"}, nil, false},
		{map[string]string{webhook: "false", key: "true"}, nil, true},
		{nil, map[string]string{webhook: "false"}, false},
	} {
		created := map[string]bool{}
		for runtime, annotations := range map[string]map[string]string{"containerd": c.container, "cri-o": fixture.CRIO(t, c.pod, c.container)} {
			m, ctx, ctr := newMachine(t), context.Background(), ctr("c1", 0)
			if _, err := m.plugin.Configure(ctx, "", runtime, "1"); err != nil {
				t.Fatal(err)
			}
			ctr.Annotations = annotations
			adjust, _, err := m.plugin.CreateContainer(ctx, pod(c.pod), ctr)
			if err != nil {
				t.Fatal(err)
			}
			created[runtime] = len(adjust.GetMounts()) > 0
			if strings.Contains(m.log.String(), "on the container") != (c.container != nil) {
				t.Errorf("%s: pod %v, container %v: the reason is %s", runtime, c.pod, c.container, m.log)
			}
		}
		if created["containerd"] != c.want || created["cri-o"] != c.want {
			t.Errorf("pod %v, container %v: %v, want %t", c.pod, c.container, created, c.want)
		}
	}
}

// TestDockersLabels: with Docker they are as good as annotations, of which it
// has few.
func TestDockersLabels(t *testing.T) {
	c := ctr("c1", 0)
	c.Labels = map[string]string{"lxcfs.nri.io/inject": "false"}
	for runtime, want := range map[string]bool{Docker: false, "containerd": true} {
		m, ctx := newMachine(t), context.Background()
		if _, err := m.plugin.Configure(ctx, "", runtime, "1"); err != nil {
			t.Fatal(err)
		}
		if adjust, _, err := m.plugin.CreateContainer(ctx, pod(nil), c); err != nil || len(adjust.GetMounts()) > 0 != want {
			t.Errorf("%s: %v, %v", runtime, adjust, err)
		}
	}
}

func TestSynchronize(t *testing.T) {
	m, ctx := newMachine(t), context.Background()
	stopped := ctr("stopped", 0)
	stopped.State = api.ContainerState_CONTAINER_STOPPED
	running := ctr("running", m.pid)
	running.State = api.ContainerState_CONTAINER_RUNNING
	for _, c := range []string{"gone", "stopped"} {
		if _, _, err := m.plugin.CreateContainer(ctx, pod(nil), ctr(c, 0)); err != nil {
			t.Fatal(err)
		}
	}
	optedOut := ctr("out", m.pid)
	optedOut.PodSandboxId = "p2"
	other := pod(map[string]string{"lxcfs.nri.io/inject": "false"})
	other.Id = "p2"
	for range 2 { // and once more after a reconnect
		if _, err := m.plugin.Synchronize(ctx, []*api.PodSandbox{pod(nil), other}, []*api.Container{stopped, running, optedOut}); err != nil {
			t.Fatal(err)
		}
	}
	all := m.registry.List()
	if len(all) != 1 || all[0].Container().ID != "running" || all[0].Container().PID != m.pid {
		t.Errorf("%d are registered, want the running one", len(all))
	}
	if diff := cmp.Diff([][]string{{"running"}, {"running"}}, m.listed); diff != "" {
		t.Errorf("told of at each synchronization: %s", diff)
	}
	if f, err := all[0].Figures(); err != nil || f.MemTotal != 64<<20 {
		t.Errorf("it shows %+v, %v", f, err)
	}
}
