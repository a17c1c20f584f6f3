package attach

import (
	"cmp"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// self is the caller's name in /proc. Its number is of no use there where a
// runtime has given it a PID namespace before a procfs.
const self = "self"

// EnsureIn is Ensure for a container that is being created: what will be its
// root is a directory of its mount namespace still, rootfs, which must have its
// procfs already. A pid of 0 is the caller, which has the container's namespace.
func EnsureIn(pid int, rootfs, fsType string, mounts []Mount) (made int, err error) {
	var p *process
	if pid == 0 {
		p, err = opened(&process{pid: os.Getpid(), root: -1, ns: -1}, self)
	} else {
		p, err = open(pid)
	}
	if err != nil {
		return 0, err
	}
	defer p.close()
	if err := p.into(rootfs); err != nil {
		return 0, fmt.Errorf("process %d, root directory %.300q to be: %w", p.pid, rootfs, err)
	}
	return p.ensure(fsType, mounts)
}

// into takes a directory for the process's root.
func (p *process) into(rootfs string) error {
	if err := checkPath(rootfs); err != nil {
		return err
	}
	mounts := p.mounts[:0]
	for _, m := range p.mounts {
		if below, ok := strings.CutPrefix(m.Mountpoint, rootfs); ok && (below == "" || below[0] == '/') {
			m.Mountpoint = cmp.Or(below, "/")
			mounts = append(mounts, m)
		}
	}
	p.mounts = mounts
	// Else it is another process, or another directory, than was meant.
	if !p.inKernelFiles("/proc/self") {
		return fmt.Errorf("%w: no procfs of its own is mounted there", os.ErrNotExist)
	}
	root, err := p.resolve(rootfs)
	if err != nil {
		return err
	}
	unix.Close(p.root) //nolint:errcheck // an O_PATH descriptor has nothing to lose
	p.root = root
	return nil
}
