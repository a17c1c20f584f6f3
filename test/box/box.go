// Package box runs programs in the plainest of containers: a cgroup, a PID
// namespace and a mount namespace, in which the caller-resolved files are
// mounted onto /proc and /sys one by one, as people do with -v.
package box

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// Box is a running container.
type Box struct {
	Group *fixture.Group
	PID   int // of its init
}

// initScript mounts and then lives on. Its own number is 1 where it is.
const initScript = `
mount --make-rprivate /
mount -t proc proc /proc
from=$1; shift
for f; do
	[ ! -e "/$f" ] || mount --bind "$from/$f" "/$f"
done
echo ready
exec sleep infinity
`

// New starts a container in a group, which has the files of a daemon's mount
// point, all of them or those that are named.
func New(t testing.TB, g *fixture.Group, mountpoint string, files ...string) *Box {
	t.Helper()
	if len(files) == 0 {
		files = view.Paths()
	}
	return start(t, g, mountpoint, files)
}

// Bare starts a container in a group, which has the kernel's own files.
func Bare(t testing.TB, g *fixture.Group) *Box {
	t.Helper()
	return start(t, g, "", nil)
}

func start(t testing.TB, g *fixture.Group, mountpoint string, files []string) *Box {
	t.Helper()
	cmd := g.Command("sh", append([]string{"-euc", initScript, "sh", mountpoint}, files...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	fixture.Start(t, cmd)
	return &Box{Group: g, PID: cmd.Process.Pid}
}

// Command is a command that runs in the container.
func (b *Box) Command(name string, args ...string) *exec.Cmd {
	return b.Group.Command("nsenter", append([]string{"-t", strconv.Itoa(b.PID), "-m", "-p", "--", name}, args...)...)
}

// Output runs a program in the container and gives what it prints.
func (b *Box) Output(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := Run(b.Command(name, args...))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Run runs a command and gives what it prints; what it prints on standard error
// is in the error.
func Run(cmd *exec.Cmd) (string, error) {
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args[4:], " "), err, stderr.String())
	}
	return string(out), nil
}
