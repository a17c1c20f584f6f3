package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
		http:     &http.Server{Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10},
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

// Ask gets the status of the daemon that has this run directory.
func Ask(ctx context.Context, runDir string) (Status, error) {
	path := filepath.Join(runDir, SocketName)
	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://lxcfs-nri/v1/status", nil)
	if err != nil {
		return Status{}, err
	}
	res, err := client.Do(req)
	switch {
	case errors.Is(err, os.ErrPermission):
		return Status{}, fmt.Errorf("asking the daemon at %s: only root may: use sudo", path)
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return Status{}, fmt.Errorf("no daemon answers at %s: start it (lxcfs-nri serve), or name its --run-dir", path)
	case err != nil:
		return Status{}, fmt.Errorf("asking the daemon at %s: %w", path, err)
	}
	defer res.Body.Close()
	var s Status
	if res.StatusCode != http.StatusOK {
		return s, fmt.Errorf("asking the daemon at %s: %s", path, res.Status)
	}
	const most = 64 << 20
	if err := json.NewDecoder(io.LimitReader(res.Body, most)).Decode(&s); err != nil {
		return s, fmt.Errorf("the daemon at %s gave an answer that is not a status: %w", path, err)
	}
	return s, nil
}
