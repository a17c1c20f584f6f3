package hook

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// errNoDaemon says that nobody has been asked, since nobody listens, or
// listens to us.
var errNoDaemon = errors.New("no daemon")

// socketName is control.SocketName, whose package brings a whole HTTP server.
const socketName = "control.sock"

// ask asks the daemon that has a run directory. It gives up at the deadline,
// whatever the daemon does: the container's start waits.
func ask(runDir string, req Request, deadline time.Time) (Answer, error) {
	path := filepath.Join(runDir, socketName)
	b, err := frame(req)
	if err != nil {
		return Answer{}, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return Answer{}, fmt.Errorf("make a socket: %w", err)
	}
	defer unix.Close(fd) //nolint:errcheck // all that was to be read was
	c := conn{fd, deadline}
	switch err := c.connect(path); {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission), errors.Is(err, unix.ECONNREFUSED):
		return Answer{}, fmt.Errorf("%w at %s: %w", errNoDaemon, path, err)
	case err != nil:
		return Answer{}, fmt.Errorf("connect to the daemon at %s: %w", path, err)
	}
	if err := c.write(b); err != nil {
		return Answer{}, fmt.Errorf("ask the daemon at %s: %w", path, err)
	}
	answer, err := c.read(maxAnswer)
	if err != nil {
		return Answer{}, fmt.Errorf("wait for the daemon at %s: %w", path, err)
	}
	return parseAnswer(answer)
}

// conn is a connection with a deadline. Package net would double the binary.
type conn struct {
	fd       int
	deadline time.Time
}

// limit gives the next call of one direction the time that is left.
func (c conn) limit(option int) error {
	left := time.Until(c.deadline)
	if left <= 0 {
		return os.ErrDeadlineExceeded
	}
	tv := unix.NsecToTimeval(max(left, time.Millisecond).Nanoseconds())
	return unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, option, &tv)
}

// again makes a call until it is not interrupted, and in time.
func (c conn) again(option int, call func() (int, error)) (int, error) {
	for {
		if err := c.limit(option); err != nil {
			return 0, err
		}
		n, err := call()
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return n, os.ErrDeadlineExceeded
		default:
			return n, err
		}
	}
}

// connect waits where the daemon's queue is full.
func (c conn) connect(path string) error {
	_, err := c.again(unix.SO_SNDTIMEO, func() (int, error) {
		return 0, unix.Connect(c.fd, &unix.SockaddrUnix{Name: path})
	})
	return err
}

func (c conn) write(b []byte) error {
	for len(b) > 0 {
		n, err := c.again(unix.SO_SNDTIMEO, func() (int, error) { return unix.SendmsgN(c.fd, b, nil, nil, unix.MSG_NOSIGNAL) })
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// read reads up to the end of the stream.
func (c conn) read(most int) ([]byte, error) {
	var all []byte
	buf := make([]byte, 4096)
	for {
		n, err := c.again(unix.SO_RCVTIMEO, func() (int, error) { return unix.Read(c.fd, buf) })
		if err != nil || n <= 0 {
			return all, err
		}
		if all = append(all, buf[:n]...); len(all) > most {
			return nil, fmt.Errorf("its answer has more than %d bytes", most)
		}
	}
}
