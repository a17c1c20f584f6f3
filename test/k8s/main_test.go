// Package k8s tests the chart, and what it installs, on a cluster of one node: the
// real programs of Kubernetes beside the containerd of the other tests. The node is
// a set of namespaces with folders of its own for what an installation changes, and
// ends with its first process.
package k8s

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

// This program runs as three processes: outside, which builds, makes the node and
// removes it; the node's first process; and below that the tests.
const (
	roleVar = "LXCFS_NRI_K8S_ROLE"
	dirVar  = "LXCFS_NRI_K8S_DIR" // folder of the node
)

// folderPrefix is followed by the number of the outside process.
const folderPrefix = "lxk-"

// setup is what the tests share; it is set before the first of them.
var setup struct {
	dir     string // folder of the node
	rig     *rig.Rig
	cluster *cluster
}

func TestMain(m *testing.M) {
	var code int
	var err error
	switch os.Getenv(roleVar) {
	case "":
		code, err = outside()
	case "init":
		code, err = first()
	default:
		code, err = inside(m)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "k8s:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// outside makes a node, runs the tests on it and removes it.
func outside() (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := sweep(); err != nil {
		return 1, err
	}
	if err := rig.Prerequisites(ctx, rig.Options{Log: os.Stderr}); err != nil {
		return 1, err
	}
	dir, err := os.MkdirTemp("", folderPrefix+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, remove(dir)) }()
	if err := build(ctx, dir); err != nil {
		return 1, err
	}
	if err := makeGroup(group(os.Getpid())); err != nil {
		return 1, err
	}
	runtime.LockOSThread() // the node ends with this thread
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), roleVar+"=init", dirVar+"="+dir, "TMPDIR="+filepath.Join(dir, "t"))
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL, Setpgid: true,
	}
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("start the node: %w", err)
	}
	over := make(chan error, 1)
	go func() { over <- cmd.Wait() }()
	select {
	case err = <-over:
	case <-ctx.Done():
		cmd.Process.Kill() //nolint:errcheck // it may have ended
		err = errors.Join(ctx.Err(), <-over)
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// node makes the namespaces a node: what an installation changes has a layer of
// its own. $1 is the folder for it. Settings of the kernel's that have no namespace
// are files that say what the kubelet would write there (setupKernelTunables in
// pkg/kubelet/cm/container_manager_linux.go).
const node = `
mount --make-rprivate /
mount -t proc proc /proc
for d in usr etc var; do
	mkdir -p "$1/$d/upper" "$1/$d/work"
	mount -t overlay overlay -o "lowerdir=/$d,upperdir=$1/$d/upper,workdir=$1/$d/work" "/$d"
done
for s in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
	file=$1/sysctl/${s%=*}
	mkdir -p "${file%/*}"
	echo "${s#*=}" >"$file"
	mount --bind "$file" "/proc/sys/${s%=*}"
done
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/nri "$1/t"
mount --make-rshared /
hostname node1
ip link set lo up
ip address add 10.98.0.1/32 dev lo
ip route add default via 10.98.0.1 dev lo
echo 1 >/proc/sys/net/ipv4/ip_forward
`

// first is the node's first process: it starts the tests and waits for whatever
// ends on the node.
func first() (code int, err error) {
	if out, err := exec.Command("sh", "-euc", node, "sh", os.Getenv(dirVar)).CombinedOutput(); err != nil {
		return 1, fmt.Errorf("make the node: %w\n%s", err, out)
	}
	if err := os.Setenv(roleVar, "tests"); err != nil {
		return 1, err
	}
	tests, err := os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{Files: []*os.File{nil, os.Stdout, os.Stderr}})
	if err != nil {
		return 1, err
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 1, os.NewSyscallError("wait4", err)
		case pid == tests.Pid && status.Exited():
			return status.ExitStatus(), nil
		case pid == tests.Pid:
			return 1, fmt.Errorf("the tests were ended by %v", status.Signal())
		}
	}
}

// inside brings up the cluster and runs the tests. The node goes with what runs on it.
func inside(m *testing.M) (code int, err error) {
	ctx := context.Background()
	setup.dir = os.Getenv(dirVar)
	begun := time.Now()
	setup.rig, err = rig.Up(ctx, rig.Options{Log: os.Stderr, NRISocket: "/run/nri/nri.sock"})
	if err != nil {
		return 1, err
	}
	outsidePID, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(setup.dir), folderPrefix), "-")
	setup.cluster, err = up(ctx, setup.rig, setup.dir, groupPrefix+outsidePID)
	if err != nil {
		return 1, err
	}
	if err := images(ctx); err != nil {
		return 1, err
	}
	fmt.Fprintf(os.Stderr, "  the node is ready after %v\n", time.Since(begun).Round(time.Second/10))
	return m.Run(), nil
}

// remove removes a node whose processes have ended.
func remove(dir string) error {
	pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), folderPrefix), "-")
	return errors.Join(rig.RemoveCgroups(groupPrefix+pid, 20*time.Second), os.RemoveAll(dir))
}

// sweep removes what runs that were killed have left.
func sweep() error {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), folderPrefix+"*-*"))
	var errs []error
	for _, dir := range dirs {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), folderPrefix), "-")
		if n, err := strconv.Atoi(pid); err == nil && errors.Is(unix.Kill(n, 0), unix.ESRCH) {
			errs = append(errs, remove(dir))
		}
	}
	return errors.Join(append(errs, err)...)
}
