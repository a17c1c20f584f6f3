package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"

	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

// hooked gives every container the OCI hook as it is packaged, as runtimes do that
// read hooks.d, and counts whom. containerd has no hooks of its own.
type hooked struct {
	hooks *api.Hooks
	given atomic.Int32
}

func (h *hooked) CreateContainer(context.Context, *api.PodSandbox, *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	h.given.Add(1)
	adjust := &api.ContainerAdjustment{}
	adjust.AddHooks(h.hooks)
	return adjust, nil, nil
}

// hook has the hook run in all containers until the test ends.
func hook(ctx context.Context, t *testing.T) *hooked {
	t.Helper()
	b, err := os.ReadFile("../../packaging/hooks.d/lxcfs-nri.json")
	if err != nil {
		t.Fatal(err)
	}
	var packaged struct {
		Hook   struct{ Args []string }
		Stages []string
	}
	if err := json.Unmarshal(b, &packaged); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(packaged.Stages, " "), "createRuntime poststop"; got != want {
		t.Fatalf("the packaged hook's stages: got %s, want %s", got, want)
	}
	one := []*api.Hook{{
		Path: filepath.Join(filepath.Dir(setup.binary), "lxcfs-nri-hook"),
		Args: append(packaged.Hook.Args, "--run-dir", rig.RunDir(setup.rig.Dir), "--mountpoint", setup.daemon.Mountpoint, "--timeout", "30s"),
	}}
	h := &hooked{hooks: &api.Hooks{CreateRuntime: one, Poststop: one}}
	s, err := stub.New(h, stub.WithPluginName("hooks"), stub.WithPluginIdx("99"), stub.WithSocketPath(setup.rig.NRISocket), stub.WithOnClose(func() {}))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return h
}

// TestHookBesideNRI: a container that has its files by both has each of them once,
// and is forgotten after its end; with neither it starts.
func TestHookBesideNRI(t *testing.T) {
	ctx := begin(t)
	h := hook(ctx, t)
	for _, o := range []rig.PodOptions{{}, {Userns: true}} {
		p := runPod(ctx, t, o)
		c := start(ctx, t, p, rig.ContainerOptions{Limits: half})
		injected(ctx, t, c)
		sees(ctx, t, c, half.Memory, 1)
		listed(ctx, t, c, half.Memory, 1)
		once(ctx, t, c)
		if log := setup.daemon.Log(); !strings.Contains(log, "id="+c.ID+` by="OCI hook" inject=true`) {
			t.Errorf("the hook has not asked for %s", c.ID)
		}
		if err := c.Remove(ctx); err != nil {
			t.Fatal(err)
		}
		forgotten(ctx, t, setup.daemon, c)
	}
	// The hook alone.
	if err := setup.daemon.Stop(); err != nil {
		t.Fatal(err)
	}
	d, err := rig.Serve(ctx, setup.rig.Dir, setup.binary, "", rig.NoRuntime)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Stop() }) //nolint:errcheck // where the test has not come to it
	c := startLimited(ctx, t, half)
	injected(ctx, t, c)
	once(ctx, t, c)
	sees(ctx, t, c, half.Memory, 1)
	if err := c.Remove(ctx); err != nil {
		t.Error(err)
	}
	forgotten(ctx, t, d, c)
	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}
	untouched(ctx, t, startLimited(ctx, t, half))
	if n := h.given.Load(); n != 4 {
		t.Errorf("%d containers were given the hook, want 4", n)
	}
}

// forgotten checks that the daemon knows nothing of a container that has ended.
func forgotten(ctx context.Context, t *testing.T, d *rig.Daemon, c *rig.Container) {
	t.Helper()
	s, err := d.Status(ctx)
	if got, known := s.Container(c.ID); err != nil || known {
		t.Errorf("registered after its end: %+v, %v", got, err)
	}
}

// once checks that nothing is mounted twice on one place, by us or over us.
func once(ctx context.Context, t *testing.T, c *rig.Container) {
	t.Helper()
	times := map[string]int{}
	mounts := output(ctx, t, c, "cat", "/proc/self/mountinfo")
	for line := range strings.Lines(mounts) {
		times[strings.Fields(line)[4]]++
	}
	for at, n := range times {
		if n > 1 && (strings.HasPrefix(at, "/proc/") || strings.HasPrefix(at, "/sys/devices/")) {
			t.Errorf("%s is mounted %d times in %s\n%s", at, n, c.ID, mounts)
		}
	}
}
