package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

// TestContainerdRestart restarts containerd below running containers. Those see
// their limits all the time, and new ones get theirs once it is back.
func TestContainerdRestart(t *testing.T) {
	for name, stop := range map[string]func() error{"stopped": setup.rig.StopContainerd, "killed": setup.rig.KillContainerd} {
		t.Run(name, func(t *testing.T) {
			ctx := begin(t)
			old := startLimited(ctx, t, half)
			pid, err := old.Pid(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			restarted := false
			restart := func(ctx context.Context) {
				if !restarted {
					restarted = true
					if err := setup.rig.StartContainerd(ctx); err != nil {
						t.Fatal(err)
					}
				}
			}
			defer restart(context.WithoutCancel(ctx))
			err = rig.Poll(ctx, 10*time.Second, func() error {
				s, err := setup.daemon.Status(ctx)
				if err == nil && s.Connected() == nil {
					err = errors.New("status says that a runtime is connected")
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
			// Without containerd there is no exec.
			if got := meminfo(t, readHost(t, fmt.Sprintf("/proc/%d/root/proc/meminfo", pid)), "MemTotal"); got != half.Memory {
				t.Errorf("MemTotal while containerd is away: got %d, want %d", got, half.Memory)
			}
			restart(ctx)
			if !setup.daemon.Alive() {
				t.Fatal("the daemon ended with containerd")
			}
			serve(ctx, t)
			sees(ctx, t, old, half.Memory, 1)
			listed(ctx, t, old, half.Memory, 1)
			young := startLimited(ctx, t, rig.Limits{Memory: 128 * mib, Quota: 50_000})
			injected(ctx, t, young)
			sees(ctx, t, young, 128*mib, 1)
			listed(ctx, t, young, 128*mib, 1)
		})
	}
}

// TestDaemonRestart restarts the daemon below running containers: it must know
// them again, with the limits they have now, and serve new ones.
func TestDaemonRestart(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(*rig.Daemon) error
	}{{"stopped", (*rig.Daemon).Stop}, {"killed", (*rig.Daemon).Kill}} {
		t.Run(tt.name, func(t *testing.T) {
			ctx := begin(t)
			old := startLimited(ctx, t, half)
			if err := tt.end(setup.daemon); err != nil {
				t.Fatal(err)
			}
			// Meanwhile a container changes and another comes.
			if err := old.Update(ctx, rig.Limits{Memory: 200 * mib}); err != nil {
				t.Fatal(err)
			}
			meanwhile := startLimited(ctx, t, half)
			untouched(ctx, t, meanwhile)
			serve(ctx, t)
			eventually(ctx, t, old)
			listed(ctx, t, old, 200*mib, 1)
			listed(ctx, t, meanwhile, half.Memory, 1)
			young := startLimited(ctx, t, half)
			injected(ctx, t, young)
			sees(ctx, t, young, half.Memory, 1)
		})
	}
}

// eventually waits until status lists a container: a runtime tells of those
// that run a moment after it is connected.
func eventually(ctx context.Context, t *testing.T, c *rig.Container) {
	t.Helper()
	err := rig.Poll(ctx, 10*time.Second, func() error {
		s, err := setup.daemon.Status(ctx)
		if _, ok := s.Container(c.ID); err == nil && !ok {
			err = fmt.Errorf("status does not list %s/%s, but %+v", c.Pod.Name, c.Name, s.Containers)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestStopped stops the daemon: its mount goes, and containers start without
// it as if it had never been, but for those that require it.
func TestStopped(t *testing.T) {
	ctx := begin(t)
	if err := setup.daemon.Stop(); err != nil {
		t.Fatal(err)
	}
	mounted, err := rig.Mounted(setup.daemon.Mountpoint)
	if err != nil || mounted {
		t.Errorf("mounted after the daemon's end: got %t, %v", mounted, err)
	}
	untouched(ctx, t, startLimited(ctx, t, half))
	requires := runPod(ctx, t, rig.PodOptions{Annotations: map[string]string{"required-plugins.noderesource.dev": "[lxcfs-nri]"}})
	if _, err := requires.Start(ctx, rig.ContainerOptions{Limits: half}); err == nil || !strings.Contains(err.Error(), `required plugin "lxcfs-nri" not present`) {
		t.Errorf("a container that requires the plugin: %v", err)
	}
	serve(ctx, t)
	injected(ctx, t, startLimited(ctx, t, half))
	injected(ctx, t, start(ctx, t, requires, rig.ContainerOptions{Limits: half}))
}
