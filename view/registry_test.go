package view

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
)

func newRegistry(t *testing.T) (*Registry, fixture.Case) {
	t.Helper()
	c := fixture.Load(t, "../cgroup/testdata/v2-limited.txtar")
	groups, err := cgroup.Open(c.Root)
	if err != nil {
		t.Fatal(err)
	}
	r := NewRegistry(NewHost(c.Root), groups, slog.New(slog.DiscardHandler), Options{})
	t.Cleanup(r.Close)
	return r, c
}

func TestCheckID(t *testing.T) {
	for _, good := range []string{"a", strings.Repeat("0af", 20), "my-container_1.x"} {
		if err := CheckID(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", ".", "..", "../x", "a/b", "/a", "a\x00", "a\nb", "-rf", strings.Repeat("a", 4096), "ä", "a b"} {
		if err := CheckID(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestAdd(t *testing.T) {
	r, c := newRegistry(t)
	const spec = "/kubepods/burstable/pod1234/ctr"
	v, err := r.Add(Container{ID: "a", CgroupsPath: spec})
	if err != nil {
		t.Fatal(err)
	}
	// Created, not started: the path is enough.
	if f, err := v.Figures(); err != nil || f.MemTotal != 64<<20 || f.Cgroup != spec {
		t.Errorf("before the start: %+v, %v", f, err)
	}
	started, err := r.Add(Container{ID: "a", PID: c.PID, Name: "n"})
	if err != nil || started != v {
		t.Errorf("the start made another view (%v)", err)
	}
	if got := v.Container(); got.PID != c.PID || got.CgroupsPath != spec || got.Name != "n" {
		t.Errorf("after the start: %+v", got)
	}
	if f, err := v.Figures(); err != nil || f.Governing != spec || f.CPUs != 1 {
		t.Errorf("after the start: %+v, %v", f, err)
	}
	if r.ByNumber(v.Number) != v || r.Get("a") != v || v.Number == 0 {
		t.Error("the view can't be found")
	}
	again, err := r.Add(Container{ID: "a", PID: c.PID + 1})
	if err != nil || again == v || again.Number == v.Number {
		t.Errorf("another init is the same run of the container (%v)", err)
	}
	if _, err := v.Append(&Files[0], nil); !errors.Is(err, ErrGone) || r.ByNumber(v.Number) != nil {
		t.Errorf("the first run is still shown: %v", err)
	}
	for _, bad := range []Container{{ID: "../x"}, {ID: "b", CgroupsPath: "/../x"}} {
		if _, err := r.Add(bad); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

func TestContainerWithoutGroup(t *testing.T) {
	r, _ := newRegistry(t)
	for _, c := range []Container{{ID: "a"}, {ID: "b", CgroupsPath: "/not/there"}, {ID: "c", PID: 4999999}} {
		v, err := r.Add(c)
		if err != nil {
			t.Fatal(err)
		}
		for i := range Files {
			if Files[i].Append == nil {
				continue
			}
			if b, err := v.Append(&Files[i], nil); !errors.Is(err, ErrGone) {
				t.Errorf("%+v: %s is %q, %v; want ErrGone", c, Files[i].Path, b, err)
			}
		}
	}
}

func TestKeep(t *testing.T) {
	r, _ := newRegistry(t)
	for _, c := range []Container{{ID: "a", Runtime: "x"}, {ID: "b", Runtime: "x"}, {ID: "c", Runtime: "y"}} {
		if _, err := r.Add(c); err != nil {
			t.Fatal(err)
		}
	}
	r.Keep("x", map[string]bool{"b": true})
	var ids []string
	for _, v := range r.List() {
		ids = append(ids, v.Container().ID)
	}
	if got := strings.Join(ids, " "); got != "b c" {
		t.Errorf("%q are left, want b and c", got)
	}
}

func TestNumbersAreNotGivenAgainSoon(t *testing.T) {
	r, _ := newRegistry(t)
	r.next = slots - 2
	seen := map[uint32]bool{}
	for i := range 400 {
		v, err := r.Add(Container{ID: fmt.Sprint("c", i)})
		if err != nil {
			t.Fatal(err)
		}
		if seen[v.Number] || v.Number%slots == 0 {
			t.Fatalf("number %d is given a second time, or is none", v.Number)
		}
		seen[v.Number] = true
		r.Remove(v.Container().ID)
	}
}

func TestConcurrentEvents(t *testing.T) {
	r, c := newRegistry(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 200 {
				id := fmt.Sprint("c", (i+j)%4)
				v, err := r.Add(Container{ID: id, PID: c.PID * (j % 2)})
				if err != nil {
					t.Error(err)
					return
				}
				b, err := v.Append(&Files[j%6], nil)
				if err != nil && !errors.Is(err, ErrGone) || err == nil && len(b) == 0 {
					t.Errorf("%q, %v", b, err)
				}
				if j%3 == 0 {
					r.Remove(id)
				}
			}
		})
	}
	wg.Wait()
}
