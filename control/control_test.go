package control_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lxcfs-nri/lxcfs-nri/control"
)

func listen(t *testing.T, dir string) *control.Server {
	t.Helper()
	s, err := control.Listen(dir, func() control.Status {
		return control.Status{Version: "v1", Containers: []control.Container{{ID: "c", CPUs: 2}}}
	})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	t.Cleanup(func() {
		s.Close() //nolint:errcheck // tests close it twice
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestAsk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	if _, err := control.Ask(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "start it") {
		t.Errorf("without a daemon: %v", err)
	}
	s := listen(t, dir)
	got, err := control.Ask(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	want := control.Status{Version: "v1", Containers: []control.Container{{ID: "c", CPUs: 2}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	st, err := os.Stat(filepath.Join(dir, control.SocketName))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the socket's mode is %v (%v), want 0600", st.Mode(), err)
	}
	if _, err := control.Listen(dir, nil); err == nil || !strings.Contains(err.Error(), "another lxcfs-nri runs") {
		t.Errorf("a second daemon on one run directory: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	listen(t, dir) // given free
}

func TestASocketLeftByADeadDaemonIsReplaced(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, control.SocketName))
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	listen(t, dir)
	if _, err := control.Ask(t.Context(), dir); err != nil {
		t.Error(err)
	}
}

func TestUnknownRequestsAreRefused(t *testing.T) {
	dir := t.TempDir()
	listen(t, dir)
	client := http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", filepath.Join(dir, control.SocketName))
	}}}
	for _, c := range []struct {
		method, path string
		want         int
	}{{"GET", "/", 404}, {"POST", "/v1/status", 405}, {"GET", "/v1/../etc/passwd", 404}} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, "http://x"+c.path, strings.NewReader("{"))
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body) //nolint:errcheck // only the status counts
		res.Body.Close()
		if res.StatusCode != c.want {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, res.StatusCode, c.want)
		}
	}
	conn, err := net.Dial("unix", filepath.Join(dir, control.SocketName))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("\x00\xff not HTTP\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(conn); err != nil || !strings.Contains(string(b), "400") {
		t.Errorf("nonsense is answered by %q, %v", b, err)
	}
}
