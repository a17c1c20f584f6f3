package fdstore

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// maxKept is how many descriptors a Keeper takes.
const maxKept = 16

// Keeper keeps descriptors for one service, as its service manager.
type Keeper struct {
	conn *net.UnixConn
	path string
	lock *os.File // keeps a second Keeper from the socket
	// Ready is called for READY=1 and the other messages that are not ours.
	forward func(state string)

	mu    sync.Mutex
	files []namedFile
}

type namedFile struct {
	name string
	file *os.File
}

// NewKeeper listens on a socket, which only root may write to. What the service
// tells of its state goes to forward.
func NewKeeper(socket string, forward func(state string)) (*Keeper, error) {
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of the notify socket: %w", err)
	}
	lock, err := lockSocket(socket)
	if err != nil {
		return nil, err
	}
	// A socket found here is a dead Keeper's.
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, errors.Join(fmt.Errorf("remove an old notify socket: %w", err), lock.Close())
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make the notify socket: %w", err), lock.Close())
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("make the notify socket: %w", err), conn.Close(), lock.Close())
	}
	return &Keeper{conn: conn, path: socket, lock: lock, forward: forward}, nil
}

// lockSocket takes the socket's path for this process; the kernel gives it back
// when the process ends, however it ends.
func lockSocket(socket string) (*os.File, error) {
	f, err := os.OpenFile(socket+".lock", os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the notify socket: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("another lxcfs-nri supervise has %s: stop that one, or choose another --run-dir (and --mountpoint)", socket)
		}
		return nil, fmt.Errorf("lock the notify socket %s: %w", socket, err)
	}
	return f, nil
}

// Serve takes messages until Close.
func (k *Keeper) Serve() error {
	buf, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4*8))
	for {
		n, oobn, _, _, err := k.conn.ReadMsgUnix(buf, oob)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the notify socket: %w", err)
		}
		k.message(string(buf[:n]), rights(oob[:oobn]))
	}
}

// rights gives the descriptors that came with a message.
func rights(oob []byte) (files []*os.File) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "kept"))
		}
	}
	return files
}

// message takes one message: assignments, one a line (sd_notify(3)). A
// descriptor that is not to be stored is closed: for BARRIER=1 that is the answer.
func (k *Keeper) message(state string, files []*os.File) {
	var store, remove bool
	name := "stored"
	var others []string
	for line := range strings.SplitSeq(state, "\n") {
		key, value, _ := strings.Cut(line, "=")
		switch {
		case line == "FDSTORE=1":
			store = true
		case line == "FDSTOREREMOVE=1":
			remove = true
		case key == "FDNAME":
			name = value
		case key == "READY", key == "STOPPING", key == "STATUS", key == "RELOADING":
			others = append(others, line)
		}
	}
	k.mu.Lock()
	if remove {
		k.removeLocked(name)
	}
	for _, f := range files {
		if store && len(k.files) < maxKept && goodName(name) {
			k.files = append(k.files, namedFile{name, f})
		} else {
			f.Close()
		}
	}
	k.mu.Unlock()
	if len(others) > 0 {
		k.forward(strings.Join(others, "\n"))
	}
}

// goodName refuses what could not be told in LISTEN_FDNAMES.
func goodName(name string) bool {
	return name != "" && len(name) <= 255 && !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' })
}

func (k *Keeper) removeLocked(name string) {
	k.files = slices.DeleteFunc(k.files, func(f namedFile) bool {
		if f.name == name {
			f.file.Close()
		}
		return f.name == name
	})
}

// Next is what the next process of the service is to be started with: its
// files, to come after the standard ones, and environment. The files are copies,
// to be closed once it has started.
func (k *Keeper) Next() (files []*os.File, env []string, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	names := make([]string, 0, len(k.files))
	for _, f := range k.files {
		fd, err := unix.FcntlInt(f.file.Fd(), unix.F_DUPFD_CLOEXEC, firstFD)
		if err != nil {
			Close(files)
			return nil, nil, fmt.Errorf("copy descriptor %s: %w", f.name, err)
		}
		files = append(files, os.NewFile(uintptr(fd), f.name))
		names = append(names, f.name)
	}
	return files, []string{
		"NOTIFY_SOCKET=" + k.path,
		"LISTEN_PID=" + ofParent(os.Getpid()),
		fmt.Sprintf("LISTEN_FDS=%d", len(files)),
		"LISTEN_FDNAMES=" + strings.Join(names, ":"),
	}, nil
}

// Close closes what Next gave.
func Close(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// Close gives up what is kept.
func (k *Keeper) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, f := range k.files {
		f.file.Close()
	}
	k.files = nil
	return errors.Join(k.conn.Close(), k.lock.Close())
}
