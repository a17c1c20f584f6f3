package view

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
)

// TestARemovedGroupIsNoFault: who reads a group's files last, or has its load
// sampled, is told that it is gone; nobody has to look into it.
func TestARemovedGroupIsNoFault(t *testing.T) {
	fs, err := cgroup.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	r := NewRegistry(NewHost("/"), fs, slog.New(slog.NewTextHandler(&log, nil)), Options{})
	t.Cleanup(r.Close)
	read := map[string]func(v *View) error{
		"the load's sample": func(v *View) error {
			v.sampleLoad()
			_, err := v.cgroup()
			return err
		},
	}
	for i := range Files {
		if f := &Files[i]; f.Append != nil && r.HostHas(f) {
			read[f.Path] = func(v *View) error {
				_, err := v.Append(f, nil)
				return err
			}
		}
	}
	for name, read := range read {
		made := fixture.NewGroup(t)
		v := r.newView(0, Container{ID: made.Name, CgroupsPath: made.Name})
		t.Cleanup(v.close)
		if err := read(v); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, dir := range made.Dirs() {
			if err := unix.Rmdir(dir); err != nil {
				t.Fatal(err)
			}
		}
		v.tasks.set = false // else they are known for a second
		err := read(v)
		if name != "proc/slabinfo" && !errors.Is(err, ErrGone) { // slabinfo reads nothing
			t.Errorf("%s of a removed group: %v, want %v", name, err, ErrGone)
		}
		if log.Len() > 0 {
			t.Errorf("%s: logged: %s", name, &log)
			log.Reset()
		}
	}
}

// TestAFileThatIsMissingIsAFault of a group that is there; it is logged once.
func TestAFileThatIsMissingIsAFault(t *testing.T) {
	c := fixture.Load(t, "../cgroup/testdata/v2-limited.txtar")
	fs, err := cgroup.Open(c.Root)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	r := NewRegistry(NewHost(c.Root), fs, slog.New(slog.NewTextHandler(&log, nil)), Options{})
	t.Cleanup(r.Close)
	group(t, c, "pods", 128<<20)
	dir := group(t, c, "pods/one", 64<<20)
	v := add(t, r, Container{ID: "c", PID: c.PID})
	if err := os.Remove(filepath.Join(dir, "memory.stat")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if b, err := v.Append(&Files[0], nil); err != nil || !strings.HasPrefix(string(b), "MemTotal:          65536 kB\n") {
			t.Errorf("%.40q, %v", b, err)
		}
	}
	if n := strings.Count(log.String(), "a cgroup file can't be read"); n != 1 || !strings.Contains(log.String(), "one/memory.stat") {
		t.Errorf("logged %d times: %s", n, &log)
	}
}
