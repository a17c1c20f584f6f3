package fdstore

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

const firstFD = 3 // SD_LISTEN_FDS_START

// Available says that there is a service manager which may keep descriptors.
func Available() bool { return os.Getenv("NOTIFY_SOCKET") != "" }

// Received gives the descriptors that this process was started with, by name.
// They are to be closed by whoever takes them; none is inherited by children.
func Received() (map[string]int, error) {
	defer func() {
		for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
			os.Unsetenv(name) //nolint:errcheck // fails for bad names only
		}
	}()
	return received(os.Getenv, os.Getpid(), os.Getppid())
}

// ofParent stands in LISTEN_PID for the child of that process: Keeper can't
// know the number of a process that it has yet to start.
func ofParent(pid int) string { return "child-of-" + strconv.Itoa(pid) }

func received(getenv func(string) string, pid, ppid int) (map[string]int, error) {
	if p := getenv("LISTEN_PID"); p != strconv.Itoa(pid) && p != ofParent(ppid) {
		return nil, nil // none, or another process's
	}
	n, err := strconv.Atoi(getenv("LISTEN_FDS"))
	if err != nil || n < 0 || n > 1000 {
		return nil, fmt.Errorf("LISTEN_FDS is %.20q, not a number of descriptors", getenv("LISTEN_FDS"))
	}
	var names []string
	if s := getenv("LISTEN_FDNAMES"); s != "" {
		names = strings.Split(s, ":")
	}
	if len(names) != n {
		return nil, fmt.Errorf("LISTEN_FDNAMES has %d names for %d descriptors", len(names), n)
	}
	fds := make(map[string]int, n)
	var errs []error
	for i, name := range names {
		fd := firstFD + i
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
			errs = append(errs, fmt.Errorf("descriptor %d (%.80q): %w", fd, name, err))
			continue
		}
		if _, twice := fds[name]; twice {
			unix.Close(fd) //nolint:errcheck // the first of that name counts
			continue
		}
		fds[name] = fd
	}
	return fds, errors.Join(errs...)
}

// Store has a descriptor kept under a name, and returns when the service
// manager has it.
func Store(name string, fd int) error {
	// FDPOLL=0: what is kept is not to be dropped when it is ready to be read.
	err := send("FDSTORE=1\nFDNAME="+name+"\nFDPOLL=0", unix.UnixRights(fd))
	if err == nil {
		// Messages of a process that has ended meanwhile are dropped.
		err = barrier(5 * time.Second)
	}
	if err != nil {
		return fmt.Errorf("have descriptor %s kept: %w", name, err)
	}
	return nil
}

// barrier waits until the service manager has read all messages before it: it
// closes the descriptor that comes with this one.
func barrier(patience time.Duration) error {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	defer unix.Close(p[0]) //nolint:errcheck // nothing is read from it
	err := send("BARRIER=1", unix.UnixRights(p[1]))
	unix.Close(p[1]) //nolint:errcheck // nothing is written to it
	for deadline := time.Now().Add(patience); err == nil; {
		poll := []unix.PollFd{{Fd: int32(p[0])}}
		n, perr := unix.Poll(poll, int(time.Until(deadline).Milliseconds()))
		switch {
		case errors.Is(perr, unix.EINTR):
		case perr != nil:
			err = perr
		case n > 0:
			return nil
		default:
			err = fmt.Errorf("the service manager does not answer within %v", patience)
		}
	}
	return err
}

// Remove has what is kept under a name given up.
func Remove(name string) error {
	if err := send("FDSTOREREMOVE=1\nFDNAME="+name, nil); err != nil {
		return fmt.Errorf("have descriptor %s given up: %w", name, err)
	}
	return nil
}

// send sends a message to the service manager, on a socket that is not
// connected: WriteMsgUnix of package net sends descriptors on others only.
func send(state string, rights []byte) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return errors.New("there is no service manager (NOTIFY_SOCKET is not set)")
	}
	if path[0] == '@' {
		path = "\x00" + path[1:]
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // what was sent was sent
	return unix.Sendmsg(fd, []byte(state), rights, &unix.SockaddrUnix{Name: path}, 0)
}

// Notify tells the service manager of the service's state, as "READY=1"; where
// there is none, nobody.
func Notify(state string) error {
	if _, err := daemon.SdNotify(false, state); err != nil {
		return fmt.Errorf("tell the service manager %q: %w", state, err)
	}
	return nil
}
