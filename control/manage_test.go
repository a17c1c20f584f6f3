package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/attach"
	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// box is a process with a mount namespace and a procfs of its own.
func box(t *testing.T) int {
	t.Helper()
	pid, _ := fixture.Process(t, 0, "mount -t proc proc /proc")
	return pid
}

// attacher has a tmpfs with the files of containers in place of the file
// system, which is told from others by its source.
func attacher(t *testing.T, ids ...string) (a *Attacher, log *bytes.Buffer) {
	t.Helper()
	dir := t.TempDir()
	source := "lxcfs-nri-test:" + dir
	if err := unix.Mount(source, dir, "tmpfs", 0, "mode=755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	for _, id := range ids {
		for _, file := range []string{view.ContainerPath(id, "proc/meminfo"), view.ContainerPath(id, "proc/uptime"), "proc/meminfo"} {
			name := filepath.Join(dir, file)
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, []byte("ours\n"), 0o444); err != nil {
				t.Fatal(err)
			}
		}
	}
	groups, err := cgroup.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	log = &bytes.Buffer{}
	l := slog.New(slog.NewTextHandler(log, nil))
	registry := view.NewRegistry(view.NewHost("/"), groups, l, view.Options{})
	t.Cleanup(registry.Close)
	files := registry.Mountable(func(path string) bool { return path == "proc/meminfo" || path == "proc/uptime" })
	return &Attacher{
		Mountpoint: dir, Ours: attach.Ours{FSType: "tmpfs", Source: source}, Files: files, Registry: registry, Log: l,
	}, log
}

func register(t *testing.T, a *Attacher, id string, pid int) *view.View {
	t.Helper()
	v, err := a.Registry.Add(view.Container{ID: id, Namespace: "shop", Pod: "web-0", Name: "web", PID: pid})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// serve has a socket for an attacher, and gives its run directory.
func serve(t *testing.T, a *Attacher) string {
	t.Helper()
	dir := t.TempDir()
	s, err := Listen(dir, func() Status { return Status{} })
	if err != nil {
		t.Fatal(err)
	}
	s.Manage(a)
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), <-served); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// ours says whether a process sees the files of the tests.
func ours(t *testing.T, pid int) bool {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/root/proc/meminfo", pid))
	if err != nil {
		t.Error(err)
	}
	return string(b) == "ours\n"
}

func TestAttachAndDetach(t *testing.T) {
	a, _ := attacher(t, "abcd1", "abcd2")
	one, two := box(t), box(t)
	register(t, a, "abcd1", one)
	register(t, a, "abcd2", two)
	register(t, a, "created", 0)
	dir, ctx := serve(t, a), t.Context()
	for _, c := range []struct {
		what       func(context.Context, string, Request) (Outcome, error)
		req        Request
		containers int
		mounts     int
		one, two   bool
	}{
		{Attach, Request{ID: "abcd1"}, 1, 2, true, false},
		{Attach, Request{ID: "abcd1"}, 1, 0, true, false},
		{Attach, Request{All: true}, 2, 2, true, true},
		{Detach, Request{ID: "abcd2"}, 1, 2, true, false},
		{Detach, Request{All: true}, 2, 2, false, false},
		{Detach, Request{All: true}, 2, 0, false, false},
	} {
		o, err := c.what(ctx, dir, c.req)
		if err = errors.Join(err, o.Err()); err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, changed := range o.Containers {
			n += changed.Mounts
		}
		if len(o.Containers) != c.containers || n != c.mounts || o.Others != 0 || ours(t, one) != c.one || ours(t, two) != c.two {
			t.Errorf("%+v: %+v; files of ours: %t, %t", c.req, o, ours(t, one), ours(t, two))
		}
	}
	// What was put there for a container that nobody knows goes with the rest.
	if _, err := attach.Ensure(two, "tmpfs", []attach.Mount{{Source: a.Mountpoint + "/proc/meminfo", Target: "/proc/meminfo"}}); err != nil {
		t.Fatal(err)
	}
	a.Registry.Remove("abcd2")
	if o, err := Detach(ctx, dir, Request{All: true}); err != nil || o.Others != 1 || ours(t, two) {
		t.Errorf("%+v, %v, want one more", o, err)
	}
}

// TestDetachedStaysSo: only who asks for it gets files again.
func TestDetachedStaysSo(t *testing.T) {
	a, log := attacher(t, "abcd1")
	pid := box(t)
	v := register(t, a, "abcd1", pid)
	views := []*view.View{v, register(t, a, "created", 0)}
	a.Existing(views)
	if !ours(t, pid) || !strings.Contains(log.String(), "container=shop/web-0/web id=abcd1 mounts=2") || strings.Contains(log.String(), "WARN") {
		t.Errorf("a container that runs already has not been attached to: %s", log)
	}
	if _, err := a.Detach(v); err != nil {
		t.Fatal(err)
	}
	a.Existing(views)
	if ours(t, pid) {
		t.Error("a detached container has files again")
	}
	if _, err := a.Attach(v); err != nil || !ours(t, pid) {
		t.Errorf("asked for, it has no files (%v)", err)
	}
	a.Existing(views)
	if _, err := a.Detach(v); err != nil {
		t.Fatal(err)
	}
	a.Start(v) // the id of a container that is started once more
	a.Existing(views)
	if !ours(t, pid) {
		t.Error("a container that was started anew has no files")
	}
	if _, err := a.Detach(v); err != nil {
		t.Fatal(err)
	}
	a.Registry.Remove("abcd1")
	if _, err := a.Detach(register(t, a, "other", pid)); err != nil || len(a.detached) != 1 {
		t.Errorf("remembered: %v, %v, want the other one alone", a.detached, err)
	}
}

func TestFaultsNameContainers(t *testing.T) {
	a, log := attacher(t)
	v := register(t, a, "abcd1", box(t)) // of which there are no files
	a.Existing([]*view.View{v})
	if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "abcd1/proc/meminfo") {
		t.Errorf("logged: %s", log)
	}
	o, err := Attach(t.Context(), serve(t, a), Request{All: true})
	if err != nil || len(o.Containers) != 1 || !strings.Contains(o.Containers[0].Error, "abcd1/proc/meminfo") || o.Err() == nil {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestRefusedRequests(t *testing.T) {
	a, _ := attacher(t)
	for _, id := range []string{"abcdef", "abcdxx", "created"} {
		register(t, a, id, 0)
	}
	dir, ctx := serve(t, a), t.Context()
	for _, c := range []struct {
		body   string
		status int
		says   string
	}{
		{``, 400, "EOF"},
		{`{`, 400, "EOF"},
		{`[]`, 400, "array"},
		{`{}`, 400, "either"},
		{`{"id": "abcdef", "all": true}`, 400, "either"},
		{`{"all": false}`, 400, "either"},
		{`{"ids": ["abcdef"]}`, 400, `unknown field \"ids\"`},
		{`{"id": "abcdef"} x`, 400, "follows"},
		{`{"id": "../../etc"}`, 400, "begins with"},
		{`{"id": "` + strings.Repeat("a", 129) + `"}`, 400, "129 bytes"},
		{`{"id": "` + strings.Repeat("a", maxRequest) + `"}`, 400, "too large"},
		{`{"id": "abc"}`, 404, "4 characters"},
		{`{"id": "abcdefg"}`, 404, "lxcfs-nri status"},
		{`{"id": "abcd"}`, 409, "abcdef and abcdxx"},
		{`{"id": "crea"}`, 200, "no process yet"},
	} {
		for _, what := range []string{"attach", "detach"} {
			client := http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
				return net.Dial("unix", filepath.Join(dir, SocketName))
			}}}
			res, err := client.Post("http://x/v1/"+what, "application/json", strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			var answer bytes.Buffer
			answer.ReadFrom(res.Body) //nolint:errcheck // what is missing is seen
			res.Body.Close()
			client.CloseIdleConnections()
			if res.StatusCode != c.status || !strings.Contains(answer.String(), c.says) {
				t.Errorf("%s %.60s: %d %s, want %d and %q", what, c.body, res.StatusCode, &answer, c.status, c.says)
			}
		}
	}
	if _, err := Attach(ctx, dir, Request{ID: "nobody"}); err == nil || !strings.Contains(err.Error(), "no container nobody is registered") {
		t.Errorf("the client tells: %v", err)
	}
	if _, err := Detach(ctx, t.TempDir(), Request{All: true}); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("without a daemon: %v", err)
	}
}

func FuzzRequest(f *testing.F) {
	for _, s := range []string{`{"id":"abcd"}`, `{"all":true}`, `{"id":"a","all":true}`, `{"ID":"x"}`, `{"id":"\u0000"}`, `{}{}`, `null`, `{"id":null,"all":true} `} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := decode(bytes.NewReader(b))
		if err != nil {
			return
		}
		if got.All == (got.ID != "") || !got.All && view.CheckID(got.ID) != nil {
			t.Errorf("%q is taken for %+v", b, got)
		}
		again, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		if same, err := decode(bytes.NewReader(again)); err != nil || same != got {
			t.Errorf("%s: %+v, %v, want %+v", again, same, err, got)
		}
	})
}

// TestContainers lists no id that somebody has merely asked for.
func TestContainers(t *testing.T) {
	a, _ := attacher(t)
	a.Registry.Lookup(strings.Repeat("0", 64))
	if _, err := a.Registry.Add(view.Container{ID: "told", Runtime: "docker"}); err != nil {
		t.Fatal(err)
	}
	if all := Containers(a.Registry); len(all) != 1 || all[0].ID != "told" || all[0].Error == "" {
		t.Errorf("%+v", all)
	}
}
