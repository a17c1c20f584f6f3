package view

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// PSI triggers: psi_write and psi_trigger_create in kernel/sched/psi.c;
// docs/views.md, "pressure".

// MaxTrigger is how many bytes the kernel takes of what is written to
// /proc/pressure/*, the last of which it makes a zero.
const MaxTrigger = 32

// Triggers reports whether PSI triggers are written to the file.
func (f *File) Triggers() bool { return f.Reach == AttachGroupFile }

// TriggerFile returns the kernel's file for a trigger that was written to f: the file
// whose pressure the view shows. The error is ErrGone for a container that ended.
func (v *View) TriggerFile(f *File) (string, error) {
	limited := true
	if v.Number == 0 {
		var err error
		if limited, err = v.limitedRecently(); err != nil {
			return "", err
		}
	}
	if limited {
		name, err := f.groupFile(v)
		if !errors.Is(err, os.ErrNotExist) {
			return name, err
		}
		if v.removed() {
			return "", ErrGone
		}
	}
	return filepath.Join(v.host.root, hostPaths[f.host]), nil
}

// MayTrigger returns the kernel's error if a thread may not open the host's file for
// writing, and reports whether the thread's triggers are privileged: windows other than
// multiples of 2 s are allowed. The daemon opens the file with no more capabilities than
// the thread has. Since Linux 6.4 (and 6.1.y) everybody may open it (torvalds/linux
// d82caa273565); before, that needs the capability in the initial user namespace.
func (r *Registry) MayTrigger(f *File, pid uint32) (privileged bool, err error) {
	name := filepath.Join(r.host.root, hostPaths[f.host])
	privileged = r.host.hasResource(pid)
	fd, err := openWith(false, name)
	if errors.Is(err, unix.EPERM) && privileged && r.host.sharesUserNS(pid) {
		fd, err = openWith(true, name)
	}
	if err != nil {
		return false, err
	}
	unix.Close(fd) //nolint:errcheck // nothing was written
	return privileged, nil
}

// OpenTrigger opens a pressure file and writes a trigger to it, as a process with
// CAP_SYS_RESOURCE (privileged) or without. The trigger lives as long as the
// descriptor.
func OpenTrigger(name string, text []byte, privileged bool) (fd int, err error) {
	fd, err = openWith(privileged, name)
	if err != nil {
		return -1, err
	}
	if _, err := unix.Write(fd, text); err != nil {
		unix.Close(fd) //nolint:errcheck // it has no trigger
		return -1, &os.PathError{Op: "write a trigger to", Path: name, Err: err}
	}
	return fd, nil
}

// openWith opens a file for writing, with CAP_SYS_RESOURCE in effect (if the daemon has
// it) or without. The kernel checks the credentials of the opener (psi_open,
// psi_trigger_create).
func openWith(resource bool, name string) (fd int, err error) {
	open := func() {
		fd, err = unix.Open(name, unix.O_RDWR|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	}
	if resource {
		open()
	} else if errCaps := withoutResource(open); errCaps != nil {
		return -1, errCaps
	}
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return fd, nil
}

// withoutResource runs a function without CAP_SYS_RESOURCE in effect. Capabilities
// are a thread's.
func withoutResource(do func()) error {
	const bit = 1 << unix.CAP_SYS_RESOURCE
	runtime.LockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	err := unix.Capget(&header, &caps[0])
	if err == nil && caps[0].Effective&bit != 0 {
		less := caps
		less[0].Effective &^= bit
		if err = unix.Capset(&header, &less[0]); err == nil {
			do()
			if err = unix.Capset(&header, &caps[0]); err != nil {
				// The thread stays locked, and ends with the goroutine.
				return fmt.Errorf("raise CAP_SYS_RESOURCE again: %w", err)
			}
		}
	} else if err == nil {
		do()
	}
	runtime.UnlockOSThread()
	if err != nil {
		return fmt.Errorf("lower CAP_SYS_RESOURCE: %w", err)
	}
	return nil
}

// hasResource reports whether a thread has CAP_SYS_RESOURCE in effect, false for a
// thread that can't be seen.
func (h *Host) hasResource(tid uint32) bool {
	b, err := os.ReadFile(filepath.Join(h.root, "proc", strconv.FormatUint(uint64(tid), 10), "status"))
	return err == nil && effective(b)&(1<<unix.CAP_SYS_RESOURCE) != 0
}

// effective returns the effective capabilities in a /proc/<pid>/status
// (proc_pid_status(5)), none if it does not list them.
func effective(status []byte) uint64 {
	for line := range bytes.Lines(status) {
		if value, ok := bytes.CutPrefix(line, []byte("CapEff:")); ok {
			caps, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 16, 64)
			if err == nil {
				return caps
			}
		}
	}
	return 0
}

// sharesUserNS reports whether a thread is in the daemon's user namespace.
func (h *Host) sharesUserNS(tid uint32) bool {
	own, err := os.Readlink(filepath.Join(h.root, "proc/self/ns/user"))
	theirs, errTheirs := os.Readlink(filepath.Join(h.root, "proc", strconv.FormatUint(uint64(tid), 10), "ns/user"))
	return err == nil && errTheirs == nil && own == theirs
}
