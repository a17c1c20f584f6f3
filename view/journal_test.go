package view

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
)

// journaled gives a registry of a captured machine whose list is kept in a file.
func journaled(t testing.TB, c fixture.Case, name string) *Registry {
	t.Helper()
	groups, err := cgroup.Open(c.Root)
	if err != nil {
		t.Fatal(err)
	}
	j, err := OpenJournal(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() }) //nolint:errcheck // a temporary file
	return NewRegistry(NewHost(c.Root), groups, slog.New(slog.NewTextHandler(io.Discard, nil)), Options{Journal: j})
}

func numbers(r *Registry) map[string]uint32 {
	all := map[string]uint32{}
	for _, v := range r.List() {
		all[v.Container().ID] = v.Number
	}
	return all
}

func add(t testing.TB, r *Registry, c Container) *View {
	t.Helper()
	v, err := r.Add(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestJournal: numbers and containers are the same in the next process, however
// this one ended; what ended meanwhile is not there, and its number is not given
// to another soon.
func TestJournal(t *testing.T) {
	c := fixture.Load(t, "../cgroup/testdata/v2-limited.txtar")
	name := filepath.Join(t.TempDir(), "containers")
	first := journaled(t, c, name)
	full := Container{ID: "lives", Runtime: "r", Namespace: "n", Pod: "p", Name: "c", CgroupsPath: "/a/b", PID: c.PID}
	add(t, first, Container{ID: "lives", CgroupsPath: "/a/b"})
	add(t, first, full)
	add(t, first, Container{ID: "removed", PID: c.PID})
	add(t, first, Container{ID: "created"})
	add(t, first, Container{ID: "ended", PID: 4999999})
	first.Remove("removed")
	want := numbers(first)
	// Not closed: it was killed, in the middle of a line.
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"number":9,"contai`); err != nil {
		t.Fatal(err)
	}
	f.Close()

	second := journaled(t, c, name)
	delete(want, "ended")
	got := numbers(second)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := second.Get("lives").Container(); got != full {
		t.Errorf("got %+v, want %+v", got, full)
	}
	if second.ByNumber(want["lives"]) != second.Get("lives") {
		t.Error("not found by its number")
	}
	if v := add(t, second, Container{ID: "new"}); v.Number <= want["created"] {
		t.Errorf("number %d was given before", v.Number)
	}
	second.Close()
	if got := numbers(journaled(t, c, name)); len(got) != 3 {
		t.Errorf("after an orderly end: %v", got)
	}
}

func TestJournalOfOthersIsLeftAlone(t *testing.T) {
	for content, says := range map[string]string{
		"{\"lxcfsNRIContainers\":2,\"boot\":\"x\"}\n": "is of version 2",
		"something else\n": "no list of containers",
	} {
		name := filepath.Join(t.TempDir(), "containers")
		write(t, name, []byte(content))
		if _, err := OpenJournal(name); err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), name) {
			t.Errorf("%q: %v", content, err)
		}
		if b, err := os.ReadFile(name); err != nil || string(b) != content {
			t.Errorf("it is %q now, %v", b, err)
		}
	}
	name := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenJournal(name); err == nil {
		t.Error("a pipe is taken")
	}
	// Of a boot before: its processes are no more.
	name = filepath.Join(t.TempDir(), "containers")
	write(t, name, []byte("{\"lxcfsNRIContainers\":1,\"boot\":\"x\"}\n{\"number\":1,\"container\":{\"ID\":\"a\"}}\n"))
	j, err := OpenJournal(name)
	if err != nil || len(j.live) != 0 {
		t.Errorf("%v, %v", j, err)
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}

// TestJournalOnAFullFileSystem: hundreds of containers more are kept, since
// there is room for them already; after that only the next process lacks them.
func TestJournalOnAFullFileSystem(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	c := fixture.Load(t, "../cgroup/testdata/v2-limited.txtar")
	name := filepath.Join(dir, "containers")
	r := journaled(t, c, name)
	add(t, r, Container{ID: "first"})
	filler, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	for block := make([]byte, 4096); err == nil; {
		_, err = filler.Write(block)
	}
	filler.Close()
	for i := range 300 {
		add(t, r, Container{ID: fmt.Sprintf("%064d", i), Namespace: "some-namespace", Pod: "some-pod-with-a-name", Name: "main"})
	}
	next := journaled(t, c, name) // which can't write a file of its own either
	if got := len(next.List()); got != 301 {
		t.Errorf("the next process knows %d containers, want 301", got)
	}
	for i := range 5000 {
		if v := add(t, next, Container{ID: fmt.Sprintf("more-%064d", i)}); v == nil {
			t.Fatal("a container is refused")
		}
	}
	if err := os.Remove(filepath.Join(dir, "filler")); err != nil {
		t.Fatal(err)
	}
	add(t, next, Container{ID: "room-again"})
	got := numbers(journaled(t, c, name))
	if got["room-again"] != next.Get("room-again").Number || got["first"] == 0 {
		t.Errorf("of %d, room-again is %d, first %d", len(got), got["room-again"], got["first"])
	}
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte("{\"lxcfsNRIContainers\":1,\"boot\":\"b\"}\n{\"number\":1,\"container\":{\"ID\":\"a\"}}\n{\"number\":1,\"gone\":true}\n"))
	f.Add([]byte("\n\n{"))
	f.Fuzz(func(t *testing.T, b []byte) {
		j := &Journal{live: map[uint32]journalLine{}, gone: map[uint32]uint32{}}
		if j.parse(b, journalHead{Version: 1, Boot: "b"}) != nil {
			return
		}
		for n, l := range j.live {
			if n == 0 || n >= MaxNumber || CheckID(l.Container.ID) != nil {
				t.Errorf("%d: %+v", n, l)
			}
		}
	})
}
