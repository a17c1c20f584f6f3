package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// peerKey is of a request's context: its connection.
type peerKey struct{}

func withPeer(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, c)
}

// peer is the process at the other end of a request's connection, as this
// process sees it, wherever that one is.
func peer(ctx context.Context) (int, error) {
	c, ok := ctx.Value(peerKey{}).(*net.UnixConn)
	if !ok {
		return 0, errors.New("BUG: a request without a connection")
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(err, credErr); err != nil {
		return 0, err
	}
	if cred.Pid == 0 {
		return 0, errors.New("it can't be seen from the daemon's PID namespace: give the daemon the host's")
	}
	return int(cred.Pid), nil
}

// maxAncestors bounds how far up an init is looked for.
const maxAncestors = 16

// initOf is the init of the container in whose mount namespace a process is:
// the outermost of its ancestors that has it, too.
func initOf(pid int) (int, error) {
	if ours, err := same(pid, "mnt"); err != nil || ours {
		return 0, errors.Join(err, fmt.Errorf("process %d is in no container", pid))
	}
	for range maxAncestors {
		parent, err := parentOf(pid)
		if err != nil {
			return 0, err
		}
		if parent == 0 {
			return pid, nil
		}
		if both, err := shared(pid, parent, "mnt"); err != nil || !both {
			return pid, err
		}
		pid = parent
	}
	return 0, fmt.Errorf("process %d has %d ancestors in its container", pid, maxAncestors)
}

func parentOf(pid int) (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, "PPid:"); ok {
			return strconv.Atoi(strings.TrimSpace(value))
		}
	}
	return 0, fmt.Errorf("/proc/%d/status names no parent", pid)
}

// same says that a process is in one of this process's namespaces, by its name in /proc/<pid>/ns.
func same(pid int, namespace string) (bool, error) { return shared(os.Getpid(), pid, namespace) }

// shared says that two processes are in the same namespace.
func shared(a, b int, namespace string) (bool, error) {
	one, err := os.Stat(fmt.Sprintf("/proc/%d/ns/%s", a, namespace))
	if err != nil {
		return false, err
	}
	other, err := os.Stat(fmt.Sprintf("/proc/%d/ns/%s", b, namespace))
	if err != nil {
		return false, err
	}
	return os.SameFile(one, other), nil
}
