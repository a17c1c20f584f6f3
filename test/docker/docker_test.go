// Package docker tests lxcfs-nri with a real Docker, which has NRI since version
// 29. What a test needs and the machine lacks is a failure, never a skip.
package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/lxcfs-nri/lxcfs-nri/test/gobuild"
	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

const module = "github.com/moby/moby/v2"

// image is made of this machine's files. No registry has that name.
const image = "lxcfs-nri.test/docker-tools:1"

// longest is how long anything may take that takes a second or two.
const longest = 2 * time.Minute

var setup struct {
	rig             *rig.Rig
	dockerd, binary string
}

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "docker:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctx := context.Background()
	if setup.dockerd, err = build(ctx); err != nil {
		return 1, err
	}
	// Docker's containers need a runc newer than Debian 12's.
	if setup.rig, err = rig.Up(ctx, rig.Options{Log: os.Stderr, Userns: true}); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, setup.rig.Close()) }()
	if setup.binary, err = rig.BuildProduct(ctx, setup.rig.Dir, os.Stderr); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// build builds dockerd, of the version in tools/docker.mod, unless it is there.
func build(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache folder: %w: set XDG_CACHE_HOME", err)
	}
	dir, err := gobuild.ModuleDir(ctx)
	if err != nil {
		return "", err
	}
	tools := filepath.Join(filepath.Dir(dir), "tools")
	out, err := exec.CommandContext(ctx, "go", "-C", tools, "list", "-modfile=docker.mod", "-m", "-f", "{{.Version}}", module).Output()
	if err != nil {
		return "", fmt.Errorf("the version of Docker in tools/docker.mod: %w", err)
	}
	version := strings.TrimSpace(string(out))
	b := gobuild.Build{
		Name: "dockerd " + version, Dir: tools, Log: os.Stderr,
		Hint: ": some 1000 packages, minutes the first time, then kept",
		Out:  filepath.Join(cache, "lxcfs-nri", "docker-"+version, "bin"),
		Args: []string{"-modfile=docker.mod", "-tags", "exclude_graphdriver_btrfs,no_libnftables"},
		Pkgs: []string{module + "/cmd/dockerd"},
	}
	return filepath.Join(b.Out, "dockerd"), b.UnlessCached(ctx)
}

// docker is a dockerd with all its files in a folder of the rig's, on the rig's
// containerd.
type docker struct {
	*client.Client
	dir string
	cmd *exec.Cmd
	log string
}

// nriSocket is where plugins of the next dockerd connect.
func (d *docker) nriSocket() string { return filepath.Join(d.dir, "nri.sock") }

func newDocker(t *testing.T) *docker {
	t.Helper()
	dir, err := os.MkdirTemp(setup.rig.Dir, "docker-")
	if err != nil {
		t.Fatal(err)
	}
	d := &docker{dir: dir, log: filepath.Join(dir, "log")}
	if err := os.WriteFile(filepath.Join(dir, "daemon.json"), []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if d.Client, err = client.New(client.WithHost("unix://" + filepath.Join(dir, "docker.sock"))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.clear(t)
		d.stop(t)
		if t.Failed() {
			b, _ := os.ReadFile(d.log)
			t.Logf("dockerd:\n%s", b[max(0, len(b)-4000):])
		}
	})
	d.start(t)
	tar, err := rig.ToolsTar()
	if err != nil {
		t.Fatal(err)
	}
	res, err := d.ImageImport(t.Context(), client.ImageImportSource{Source: bytes.NewReader(tar), SourceName: "-"}, image, client.ImageImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Close()
	if _, err := io.Copy(io.Discard, res); err != nil {
		t.Fatal(err)
	}
	return d
}

// start starts dockerd. It changes nothing of the machine's network.
func (d *docker) start(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(d.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	d.cmd = exec.Command(setup.dockerd,
		"--config-file", filepath.Join(d.dir, "daemon.json"), "--data-root", filepath.Join(d.dir, "data"), "--exec-root", filepath.Join(d.dir, "exec"),
		"--pidfile", filepath.Join(d.dir, "pid"), "--host", "unix://"+filepath.Join(d.dir, "docker.sock"),
		"--containerd", filepath.Join(setup.rig.Dir, "containerd.sock"),
		"--bridge=none", "--iptables=false", "--ip6tables=false", "--userland-proxy=false",
		"--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", setup.rig.CgroupParent+"/docker",
		"--add-runtime", "new="+setup.rig.Tools.Runc, "--default-runtime", "new", "--default-ulimit", "nofile=1024:1024",
		"--nri-opts", "enable=true,socket-path="+d.nriSocket(),
	)
	d.cmd.Stdout, d.cmd.Stderr = log, log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	within(t, "dockerd answers", func() error {
		_, err := d.Ping(t.Context(), client.PingOptions{NegotiateAPIVersion: true})
		return err
	})
}

// stop ends dockerd, and with it all containers.
func (d *docker) stop(t *testing.T) {
	t.Helper()
	if d.cmd == nil {
		return
	}
	d.cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it may have ended
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("dockerd: %v", err)
	}
	d.cmd = nil
}

// clear removes all containers.
func (d *docker) clear(t *testing.T) {
	t.Helper()
	ctx := context.Background()
	all, err := d.ContainerList(ctx, client.ContainerListOptions{All: true})
	if err != nil {
		t.Error(err)
	}
	for _, c := range all.Items {
		if _, err := d.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true}); err != nil {
			t.Error(err)
		}
	}
}

// create creates a container that sleeps, with limits.
func (d *docker) create(t *testing.T, change func(*container.Config, *container.HostConfig)) (string, error) {
	t.Helper()
	config := &container.Config{Image: image, Cmd: []string{"sleep", "infinity"}}
	host := &container.HostConfig{
		NetworkMode: "host", SecurityOpt: []string{"seccomp=unconfined"}, RestartPolicy: container.RestartPolicy{Name: "always"},
		Resources: container.Resources{Memory: 200 << 20, MemorySwap: 200 << 20, NanoCPUs: 1e9},
	}
	host.Init = new(bool)
	*host.Init = false
	if change != nil {
		change(config, host)
	}
	c, err := d.ContainerCreate(t.Context(), client.ContainerCreateOptions{Config: config, HostConfig: host})
	return c.ID, err
}

// run creates a container and starts it.
func (d *docker) run(t *testing.T, change func(*container.Config, *container.HostConfig)) string {
	t.Helper()
	id, err := d.create(t, change)
	if err == nil {
		_, err = d.ContainerStart(t.Context(), id, client.ContainerStartOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// exec gives what a program prints in a container.
func (d *docker) exec(ctx context.Context, id string, args ...string) (string, error) {
	created, err := d.ExecCreate(ctx, id, client.ExecCreateOptions{Cmd: args, AttachStdout: true, AttachStderr: true})
	if err != nil {
		return "", err
	}
	attached, err := d.ExecAttach(ctx, created.ID, client.ExecAttachOptions{})
	if err != nil {
		return "", err
	}
	defer attached.Close()
	var out, stderr strings.Builder
	if _, err := stdcopy.StdCopy(&out, &stderr, attached.Reader); err != nil {
		return "", err
	}
	if stderr.Len() > 0 {
		return "", fmt.Errorf("%v: %s", args, &stderr)
	}
	return out.String(), nil
}

// within waits for what takes seconds.
func within(t *testing.T, what string, f func() error) {
	t.Helper()
	if err := rig.Poll(context.Background(), longest, f); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
