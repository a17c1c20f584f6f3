package packages

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
)

// root is a machine's: the files of this one, but what is written there goes to
// memory, and processes and mounts are its own.
type root struct {
	pid int // of its init
}

// rootScript makes the root, and stays. policy-rc.d is what images of containers
// have, lest services be started; and manual pages are not indexed.
const rootScript = `
mount --make-rprivate /
mount -t tmpfs none "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" none "$1/root"
cd "$1/root"
mkdir packages old
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs none run
mount --bind "$2" packages
rm -f usr/sbin/policy-rc.d var/lib/man-db/auto-update
cp "$3" usr/bin/systemctl
chmod 755 usr/bin/systemctl
mkdir -p run/systemd/system run/upper
mount --bind "$1/upper" run/upper
pivot_root . old
umount -l old
echo ready
while sleep 1; do :; done
`

// newRoot makes a root that has the folder built as /packages.
func newRoot(t *testing.T) *root {
	t.Helper()
	stub, err := filepath.Abs("systemctl")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-ec", rootScript, "sh", t.TempDir(), built, stub)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	fixture.Start(t, cmd) // with it all that is in its namespaces ends
	return &root{cmd.Process.Pid}
}

// enter gives the arguments of nsenter for a program that is to run there.
func (r *root) enter(program ...string) []string {
	return append([]string{"-t", strconv.Itoa(r.pid), "-m", "-p", "--"}, program...)
}

// run runs a script there, which must not fail, and gives what it prints.
func (r *root) run(t *testing.T, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "nsenter", r.enter("sh", "-ec", script)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s\n%v\n%s", script, err, out)
	}
	return string(out)
}

// file is what is in a file there; empty where there is none.
func (r *root) file(name string) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/root%s", r.pid, name))
	if err != nil {
		return ""
	}
	return string(b)
}
