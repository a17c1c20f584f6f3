package hook

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// daemon listens in place of one, and does what it is told to with each
// connection. It gives the run directory.
func daemon(t *testing.T, answer func(net.Conn)) string {
	t.Helper()
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, socketName))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan bool)
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			answer(c)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return dir
}

// says answers every request alike.
func says(text string) func(net.Conn) {
	return func(c net.Conn) {
		c.Read(make([]byte, 4096)) //nolint:errcheck // what is asked is tested with the real daemon
		c.Write([]byte(text))      //nolint:errcheck // the hook's errors tell
	}
}

func TestAsk(t *testing.T) {
	soon := func() time.Time { return time.Now().Add(time.Minute) }
	req := Request{ID: "a", Rootfs: "/r"}
	if _, err := ask(t.TempDir(), req, soon()); !errors.Is(err, errNoDaemon) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no socket: %v", err)
	}
	dead := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dead, socketName))
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if _, err := ask(dead, req, soon()); !errors.Is(err, errNoDaemon) {
		t.Errorf("a dead daemon's socket: %v", err)
	}
	a, err := ask(daemon(t, says("HTTP/1.0 200 OK\r\n\r\n{\"inject\":true,\"mounts\":9}")), req, soon())
	if err != nil || a.Mounts != 9 {
		t.Errorf("%+v, %v", a, err)
	}
	for what, c := range map[string]struct{ answer, says string }{
		"an endless answer": {"HTTP/1.0 200 OK\r\n\r\n" + strings.Repeat("x", maxAnswer), "more than"},
		"nothing":           {"", "can't be read"},
	} {
		if _, err := ask(daemon(t, says(c.answer)), req, soon()); err == nil || !strings.Contains(err.Error(), c.says) || errors.Is(err, errNoDaemon) {
			t.Errorf("%s: %v, want %q", what, err, c.says)
		}
	}
	if _, err := ask(strings.Repeat("x", 200), req, soon()); err == nil || errors.Is(err, errNoDaemon) {
		t.Errorf("a path that no socket has: %v", err)
	}
	large := Request{ID: "a", Rootfs: "/r", Annotations: map[string]string{"lxcfs": strings.Repeat("x", MaxRequest)}}
	if _, err := ask(dead, large, soon()); err == nil || !strings.Contains(err.Error(), "are possible") {
		t.Errorf("a large request: %v", err)
	}
}

// TestAskInTime: a daemon that hangs costs no more than the time that is given.
// It has been asked, so that nobody else may mount meanwhile.
func TestAskInTime(t *testing.T) {
	held := make(chan bool)
	dir := daemon(t, func(net.Conn) { <-held })
	defer close(held)
	for range 2 { // the second one is not even accepted
		_, err := ask(dir, Request{ID: "a", Rootfs: "/r"}, time.Now().Add(50*time.Millisecond))
		if !errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, errNoDaemon) {
			t.Errorf("got %v, want that the time is over", err)
		}
	}
	if _, err := ask(dir, Request{ID: "a"}, time.Now().Add(-time.Second)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a deadline that is over: %v", err)
	}
}
