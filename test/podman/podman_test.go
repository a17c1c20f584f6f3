// Package podman tests the OCI hook with a real podman. What a test needs and
// the machine lacks is a failure, never a skip.
package podman

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
	"golang.org/x/sys/unix"
)

// crun of Debian 12 refuses a machine with both cgroup versions, hence the choice.
var runtime = flag.String("runtime", "runc", "OCI runtime of the containers")

// hooksOf is the folder with the hooks as they are installed.
const hooksOf = "../../packaging/hooks.d"

// longest is how long anything may take that takes a second or two.
const longest = 2 * time.Minute

// image is made of this machine's files. No registry has that name.
const image = "localhost/lxcfs-nri.test/tools:1"

// Podman is one with all its files in a folder of a test's own.
type Podman struct {
	Dir   string // also the daemon's
	group *fixture.Group
	user  uint32 // 0: root
	hooks string
	args  []string
}

// setup is what the tests share: programs and an image as a tar.
var setup struct{ dir, binary, image string }

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if setup.dir, err = os.MkdirTemp("", "lxn-podman-"); err == nil {
		err = os.Chmod(setup.dir, 0o711) // others run what is in it
	}
	defer os.RemoveAll(setup.dir) //nolint:errcheck // nothing to lose
	if err == nil {
		setup.binary, err = rig.BuildProduct(context.Background(), setup.dir, os.Stderr)
	}
	var b []byte
	if err == nil {
		b, err = rig.ToolsTar()
	}
	if err == nil {
		setup.image = filepath.Join(setup.dir, "image.tar")
		err = os.WriteFile(setup.image, b, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "podman:", err)
		return 1
	}
	return m.Run()
}

// newPodman gives one without containers, which are removed with all that is
// its own at the end of the test.
func newPodman(t *testing.T, user uint32) *Podman {
	t.Helper()
	dir, err := os.MkdirTemp("", "lxn-pm-") // sockets want short paths
	if err == nil {
		err = os.Chmod(dir, 0o711)
	}
	if err != nil {
		t.Fatal(err)
	}
	p := &Podman{Dir: dir, group: fixture.NewGroup(t), user: user, hooks: filepath.Join(dir, "hooks.d")}
	own := filepath.Join(dir, "own")
	for _, d := range []string{own, p.hooks} {
		if err := errors.Join(os.Mkdir(d, 0o711), os.Chown(d, int(user), int(user))); err != nil {
			t.Fatal(err)
		}
	}
	p.args = []string{
		"--root", own + "/root", "--runroot", own + "/run", "--tmpdir", own + "/tmp",
		"--cgroup-manager", "cgroupfs", "--runtime", *runtime, "--events-backend", "file", "--log-level", "error",
	}
	if user != 0 {
		p.args = append(p.args, "--storage-driver", "vfs")
	}
	// Not --hooks-dir: what starts containers again by their policy has other flags.
	conf := fmt.Sprintf("[engine]\nhooks_dir = [%q]\n", p.hooks)
	if err := os.WriteFile(p.conf(), []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.remove(t, own) })
	if user == 0 {
		p.load(t)
	}
	return p
}

func (p *Podman) conf() string { return filepath.Join(p.Dir, "containers.conf") }

// load gets it the image. Rootless podman makes its mount namespace then, in
// which file systems that are mounted later are seen only where / is shared.
func (p *Podman) load(t *testing.T) {
	t.Helper()
	p.run(t, "import", setup.image, image)
}

// remove takes away all that is there of it, also what other podmans would keep.
func (p *Podman) remove(t *testing.T, own string) {
	if out, err := p.command("rm", "--all", "--force", "--time", "0").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	// Rootless podman has a process keep its namespaces.
	if b, err := os.ReadFile(own + "/tmp/pause.pid"); err == nil {
		pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err == nil {
			err = unix.Kill(pid, unix.SIGKILL)
		}
		if err != nil {
			t.Error(err)
		}
	}
	// Not rm's to remove. A conmon ends a moment after its container.
	for _, dir := range p.group.Dirs() {
		err := rig.Poll(context.Background(), longest, func() error {
			if err := unix.Rmdir(dir + "/conmon"); !errors.Is(err, unix.ENOENT) {
				return err
			}
			return nil
		})
		if err != nil {
			t.Errorf("remove %s/conmon: %v", dir, err)
		}
	}
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Error(err)
	}
	for _, line := range slices.Backward(strings.Split(string(b), "\n")) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], p.Dir+"/") {
			if err := unix.Unmount(f[4], unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
				t.Errorf("unmount %s: %v", f[4], err)
			}
		}
	}
	if err := os.RemoveAll(p.Dir); err != nil {
		t.Error(err)
	}
}

// command is podman with some arguments, of its user. Rootless containers have
// the group of whoever starts them, where there is no cgroup2 to be delegated.
func (p *Podman) command(args ...string) *exec.Cmd {
	args = append(slices.Clone(p.args), args...)
	cmd := exec.Command("podman", args...)
	if p.user != 0 {
		user := fmt.Sprint(p.user)
		cmd = p.group.Command("setpriv", append([]string{"--reuid", user, "--regid", user, "--clear-groups", "podman"}, args...)...)
	}
	cmd.Dir = "/"
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "HOME=" + p.Dir + "/own", "XDG_RUNTIME_DIR=" + p.Dir + "/own", "TMPDIR=" + p.Dir + "/own",
		"CONTAINERS_CONF=" + p.conf(),
	}
	return cmd
}

// run gives what podman prints.
func (p *Podman) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := p.try(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (p *Podman) try(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := p.command(args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	end := time.AfterFunc(longest, func() { cmd.Process.Kill() }) //nolint:errcheck // it may have ended
	defer end.Stop()
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("podman %s: %w\n%s%s", strings.Join(args, " "), err, out, &stderr)
	}
	return string(out), nil
}

// limits are those of containers that container starts. RLIMITs can't be
// raised by a sandboxed root.
var limits = []string{
	"--network", "host", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000",
	"--memory", "200m", "--memory-swap", "200m", "--cpus", "1",
}

// container runs one, and gives what it prints.
func (p *Podman) container(t *testing.T, options []string, command ...string) string {
	t.Helper()
	return p.run(t, p.containerArgs(options, command...)...)
}

func (p *Podman) containerArgs(options []string, command ...string) []string {
	args := append([]string{"run"}, options...)
	if p.user == 0 {
		args = append(append(args, limits...), "--cgroup-parent", p.group.Name)
	} else {
		args = append(args, limits[:6]...)
	}
	return append(append(args, image), command...)
}

// hook installs a hook of those that are packaged, for the stages that are
// given or else its own, with more arguments.
func (p *Podman) hook(t *testing.T, name string, stages []string, args ...string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(hooksOf, name))
	if err != nil {
		t.Fatal(err)
	}
	var h map[string]any
	if err := json.Unmarshal(b, &h); err != nil {
		t.Fatal(err)
	}
	to := h["hook"].(map[string]any)
	if !strings.HasSuffix(to["path"].(string), "/lxcfs-nri-hook") {
		t.Errorf("%s runs %s", name, to["path"])
	}
	to["path"] = filepath.Join(filepath.Dir(setup.binary), "lxcfs-nri-hook")
	// Emulated processors are slow.
	to["args"] = append([]string{"lxcfs-nri-hook", "--run-dir", filepath.Join(p.Dir, "daemon"), "--mountpoint", filepath.Join(p.Dir, "fuse"), "--timeout", "30s"}, args...)
	to["timeout"] = 60
	if stages != nil {
		h["stages"] = stages
	}
	if b, err = json.Marshal(h); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.hooks, "hook.json"), b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// serve starts the daemon, which is ended with the test.
func (p *Podman) serve(t *testing.T) *rig.Daemon {
	t.Helper()
	d, err := rig.Serve(t.Context(), p.Dir, setup.binary, "", rig.NoRuntime)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(d.Log())
		}
	})
	return d
}
