package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// SocketName is the socket's name in the run directory.
const SocketName = "control.sock"

// Server is the daemon's end.
type Server struct {
	http     *http.Server
	mux      *http.ServeMux
	listener net.Listener
	lock     *os.File
}

// Listen makes the run directory and the socket in it. One daemon at a time
// can have a run directory.
func Listen(runDir string, status func() Status) (*Server, error) {
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		return nil, fmt.Errorf("making the run directory: %w", err)
	}
	lock, err := lockDir(runDir)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(runDir, SocketName)
	// The lock is ours: a socket found here is a dead daemon's.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		lock.Close()
		return nil, fmt.Errorf("removing an old control socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("making the control socket: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(status()) //nolint:errcheck // the client went away
	})
	return &Server{
		listener: l,
		lock:     lock,
		mux:      mux,
		http: &http.Server{
			Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10,
			ConnContext: withPeer,
		},
	}, nil
}

// lockDir takes the run directory for this process; the kernel gives it back
// when the process ends, however it ends.
func lockDir(runDir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(runDir, "lock"), os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the run directory: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f, nil
	}
	f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("another lxcfs-nri runs with run directory %s: stop that one, or choose another --run-dir (and --mountpoint)", runDir)
	}
	return nil, fmt.Errorf("locking %s: %w", runDir, err)
}

// Serve answers until Close.
func (s *Server) Serve() error {
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control socket: %w", err)
	}
	return nil
}

// Close ends Serve, removes the socket and gives the run directory free.
func (s *Server) Close() error {
	err := s.http.Close()
	return errors.Join(err, s.lock.Close())
}
