package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"text/template"
	"time"
)

// HandlerUserns is the runtime handler for pods with a user namespace.
const HandlerUserns = "runc-userns"

// config is containerd's. Everything it would do outside of the folder is off,
// as is what a container or a CI machine may lack: AppArmor, lowering OOM
// scores, CNI (all pods share the host's network).
var config = template.Must(template.New("containerd.toml").Parse(`version = 3
root = "{{.Dir}}/root"
state = "{{.Dir}}/state"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.blockfile", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]

[grpc]
  address = "{{.Dir}}/containerd.sock"

[ttrpc]
  address = "{{.Dir}}/containerd.sock.ttrpc"

[plugins."io.containerd.nri.v1.nri"]
  disable = false
  socket_path = "{{.NRISocket}}"
  plugin_path = "{{.Dir}}/nri-plugins"
  plugin_config_path = "{{.Dir}}/nri-conf"
  [plugins."io.containerd.nri.v1.nri".default_validator]
    enable = true

[plugins."io.containerd.internal.v1.opt"]
  path = "{{.Dir}}/opt"

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{{.Pause}}"

[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{{.Dir}}/cni"]
    conf_dir = "{{.Dir}}/cni"
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
{{- range $name, $binary := .Handlers}}
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.{{$name}}]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.{{$name}}.options]
        BinaryName = "{{$binary}}"
        Root = "{{$.Dir}}/{{$name}}"
        SystemdCgroup = false
{{- end}}
`))

func (r *Rig) writeConfig() error {
	handlers := map[string]string{"runc": lookPath("runc")}
	if r.Tools.Runc != "" {
		handlers[HandlerUserns] = r.Tools.Runc
	}
	f, err := os.Create(r.configPath())
	if err != nil {
		return fmt.Errorf("write containerd's configuration: %w", err)
	}
	err = config.Execute(f, map[string]any{"Dir": r.Dir, "NRISocket": r.NRISocket, "Pause": imagePause, "Handlers": handlers})
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write containerd's configuration: %w", err)
	}
	return nil
}

func (r *Rig) configPath() string { return filepath.Join(r.Dir, "containerd.toml") }
func (r *Rig) socket() string     { return filepath.Join(r.Dir, "containerd.sock") }

// ContainerdLog is the file with containerd's output.
func (r *Rig) ContainerdLog() string { return filepath.Join(r.Dir, "containerd.log") }

// startContainerd starts it and waits until its CRI answers.
func (r *Rig) startContainerd(ctx context.Context) error {
	cmd := exec.Command(filepath.Join(r.Tools.Dir, "containerd"), "--config", r.configPath())
	cmd.Env = append(os.Environ(), "PATH="+r.Tools.Dir+":"+os.Getenv("PATH")+":/usr/sbin:/sbin", "NOTIFY_SOCKET=")
	p, err := spawn(r.ContainerdLog(), cmd)
	if err != nil {
		return err
	}
	r.containerd = p
	if r.cri, err = dialCRI(r.socket()); err != nil {
		return err
	}
	err = Poll(ctx, time.Minute, func() error {
		if !p.alive() {
			return nil // looked at below
		}
		return r.cri.ready(ctx)
	})
	if !p.alive() {
		err = errors.New("it ended: " + p.state())
	}
	if err != nil {
		return fmt.Errorf("start containerd: %w\n%s", err, lastLines([]byte(p.output()), 20))
	}
	return nil
}

// StopContainerd stops containerd alone; containers and their shims run on.
func (r *Rig) StopContainerd() error { return r.endContainerd(syscall.SIGTERM) }

// KillContainerd does so without giving it time for anything.
func (r *Rig) KillContainerd() error { return r.endContainerd(syscall.SIGKILL) }

// StartContainerd starts it again, on the same state.
func (r *Rig) StartContainerd(ctx context.Context) error { return r.startContainerd(ctx) }

func (r *Rig) endContainerd(sig syscall.Signal) error {
	if r.containerd == nil {
		return nil
	}
	var err error
	if r.cri != nil {
		err = r.cri.close()
	}
	err = errors.Join(err, r.containerd.end(sig, 20*time.Second))
	r.containerd, r.cri = nil, nil
	return err
}
