package attach

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/internal/mounttable"
)

// Mount is a file or directory that a container shall have.
type Mount struct {
	Source string // in the caller's mount namespace
	Target string // in the container: an absolute path without symbolic links
	// Writable leaves out "ro": a PSI trigger is written to the file it is polled on.
	Writable bool
}

// Ensure gives the mount namespace of a process those mounts that it lacks.
// Where a target has a mount of fsType whose daemon died, it is replaced; what
// somebody else mounted there is left alone, and so are targets that are not in
// a procfs or sysfs of the container's own. It returns how many were made.
// Errors of single mounts are joined; ErrGone says that the process ended.
func Ensure(pid int, fsType string, mounts []Mount) (made int, err error) {
	p, err := open(pid)
	if err != nil {
		return 0, err
	}
	defer p.close()
	return p.ensure(fsType, mounts)
}

func (p *process) ensure(fsType string, mounts []Mount) (made int, err error) {
	var todo []change
	var errs []error
	for _, m := range mounts {
		c, err := p.plan(fsType, m)
		if err != nil {
			errs = append(errs, err)
		} else if c.mount != nil {
			todo = append(todo, c)
		}
	}
	if len(todo) == 0 {
		return 0, errors.Join(errs...)
	}
	err = p.change(todo)
	for i := range todo {
		if todo[i].err != nil {
			errs = append(errs, todo[i].err)
		} else if err == nil {
			made++
		}
	}
	return made, errors.Join(append(errs, err)...)
}

// Remove takes all mounts of fsType, and what else Ensure has put there, from
// those targets: what is below them, the kernel's own files, is back. It returns
// how many mounts went.
func Remove(pid int, fsType string, targets []string) (gone int, err error) {
	p, err := open(pid)
	if err != nil {
		return 0, err
	}
	defer p.close()
	return p.remove(targets, func(m *mountinfo.Info) bool { return ours(fsType, m) })
}

// remove takes what is meant from the top of targets. What somebody has
// mounted on it keeps it where it is.
func (p *process) remove(targets []string, meant func(*mountinfo.Info) bool) (gone int, err error) {
	var todo []change
	for _, target := range targets {
		if n := onTop(p.at(target), meant); n > 0 {
			todo = append(todo, change{target: target, remove: n})
		}
	}
	if len(todo) == 0 {
		return 0, nil
	}
	err = p.change(todo)
	errs := []error{err}
	for i := range todo {
		if todo[i].err != nil {
			errs = append(errs, todo[i].err)
		} else if err == nil {
			gone += todo[i].remove
		}
	}
	return gone, errors.Join(errs...)
}

// change is what is done at one target.
type change struct {
	target string
	remove int    // mounts on top that go
	mount  *Mount // nil: none comes
	err    error
}

// plan says what a mount needs; nothing where it is there, or must not be.
func (p *process) plan(fsType string, m Mount) (change, error) {
	none := change{}
	if err := checkPath(m.Target); err != nil {
		return none, fmt.Errorf("attach to %.80q: %w", m.Target, err)
	}
	on := p.at(m.Target)
	if len(on) == 0 || isKernels(on[len(on)-1]) {
		if !p.inKernelFiles(m.Target) {
			return none, nil
		}
		return change{target: m.Target, mount: &m}, nil
	}
	top := on[len(on)-1]
	if !ours(fsType, top) || top.FSType != fsType || !p.dead(top) {
		return none, nil
	}
	// A dead one may lie on another.
	return change{
		target: m.Target, mount: &m,
		remove: onTop(on, func(m *mountinfo.Info) bool { return ours(fsType, m) }),
	}, nil
}

// checkPath refuses what leads elsewhere than it says.
func checkPath(name string) error {
	if !path.IsAbs(name) || path.Clean(name) != name || name == "/" || strings.ContainsRune(name, 0) {
		return errors.New("not a clean absolute path")
	}
	return nil
}

// onTop counts the mounts on one target, from the topmost down, that are meant.
func onTop(on []*mountinfo.Info, meant func(*mountinfo.Info) bool) (n int) {
	for n < len(on) && meant(on[len(on)-1-n]) {
		n++
	}
	return n
}

// ours says that a mount was made by Ensure, or by a runtime for us.
func ours(fsType string, m *mountinfo.Info) bool {
	return m.FSType == fsType || isPressure(m)
}

// isPressure says that a mount is of a group's own file of pressure.
func isPressure(m *mountinfo.Info) bool {
	return m.FSType == "cgroup2" && strings.HasSuffix(m.Root, ".pressure")
}

// isKernels says that a mount is of the file that is there without it: a runtime
// has made it from a path of ours that led to the kernel's own file, since
// nothing was mounted there.
func isKernels(m *mountinfo.Info) bool {
	return m.FSType == "proc" && "/proc"+m.Root == m.Mountpoint || m.FSType == "sysfs" && "/sys"+m.Root == m.Mountpoint
}

// inKernelFiles says that a target is in a whole procfs or sysfs: the
// container's own files, not something that its author has mounted over them.
func (p *process) inKernelFiles(target string) bool {
	var on *mountinfo.Info
	for _, m := range p.mounts {
		if m.Mountpoint == "/" || strings.HasPrefix(target, m.Mountpoint+"/") {
			if on == nil || len(m.Mountpoint) >= len(on.Mountpoint) {
				on = m
			}
		}
	}
	return on != nil && on.Root == "/" && (on.FSType == "proc" || on.FSType == "sysfs") && !sharedWithHost(on)
}

// sharedWithHost says that what is mounted on a mount appears on the host, too:
// a bind mount of the host's /sys can be so ("rshared").
func sharedWithHost(on *mountinfo.Info) bool {
	group := peerGroup(on)
	if group == "" {
		return false // the usual case
	}
	for _, pid := range []string{"self", "1"} {
		f, err := os.Open("/proc/" + pid + "/mountinfo")
		if err != nil {
			return true
		}
		found, err := mounttable.Read(f, func(m *mountinfo.Info) (skip, stop bool) {
			return peerGroup(m) != group, peerGroup(m) == group
		})
		f.Close()
		if err != nil || len(found) > 0 {
			return true
		}
	}
	return false
}

// peerGroup is the mount's "shared:N" (proc_pid_mountinfo(5)), "" for a private one.
func peerGroup(m *mountinfo.Info) string {
	for field := range strings.FieldsSeq(m.Optional) {
		if strings.HasPrefix(field, "shared:") {
			return field
		}
	}
	return ""
}

// How long a daemon may take to answer for a file of its own, and how long a
// namespace may take to be changed: its paths may lead through file systems
// whose daemons are the container's.
const (
	patience   = 2 * time.Second
	patienceIn = 10 * time.Second
)

// dead says that the daemon of a FUSE file is no more. One that does not answer
// is not dead.
func (p *process) dead(m *mountinfo.Info) bool {
	answer := make(chan error, 1)
	go func() {
		fd, err := p.resolve(m.Mountpoint)
		if err != nil {
			answer <- err
			return
		}
		defer unix.Close(fd) //nolint:errcheck // an O_PATH descriptor has nothing to lose
		var st unix.Statx_t
		// Without the flag a dead daemon's attributes are told from the cache.
		answer <- unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_FORCE_SYNC, unix.STATX_TYPE, &st)
	}()
	select {
	case err := <-answer:
		return errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED)
	case <-time.After(patience):
		p.stuck = true
		return false
	}
}
