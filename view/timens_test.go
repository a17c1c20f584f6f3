package view

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
)

func TestParseBootOffset(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"monotonic           0         0\nboottime            0         0\n": 0,
		"monotonic  172800         0\nboottime   604800         500\n":       604800*time.Second + 500,
		"1 0 0\n7 -4300 999999999\n":                                         -4300*time.Second + 999999999,
		"raw 5 0\n\nboottime 1 0 0\nboottime 9 0\n":                          9 * time.Second,
	} {
		if got, err := parseBootOffset([]byte(text)); err != nil || got != want {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "monotonic 0 0\n", "boottime x 0\n", "boottime 1 y\n", "boottime 99999999999999999999 0\n"} {
		if got, err := parseBootOffset([]byte(text)); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func FuzzBootOffset(f *testing.F) {
	f.Add([]byte("monotonic           0         0\nboottime        -3000 900000000\n"))
	f.Add([]byte("7 99999999999999999999 0\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		offset, err := parseBootOffset(b)
		if err == nil && offset.Abs() > 1<<33*time.Second {
			t.Errorf("%q: %v", b, offset)
		}
	})
}

// TestTimeNamespace: an init with another time namespace is shown that
// namespace's boot, with the parts of a second that both have.
func TestTimeNamespace(t *testing.T) {
	c := fixture.Load(t, "../cgroup/testdata/v2-limited.txtar")
	v := open(t, c, Options{})
	v.host.bootFraction = func() time.Duration { return 700 * time.Millisecond }
	now := v.host.now()
	figures := func() (up, btime string) {
		v.timeNS.set = false // else it is known for a second
		up, _, _ = strings.Cut(string(render(t, v, "proc/uptime")), " ")
		_, rest, _ := strings.Cut(string(render(t, v, "proc/stat")), "\nbtime ")
		btime, _, _ = strings.Cut(rest, "\n")
		return up, btime
	}
	up, btime := figures()
	host := strings.Split(string(hostsOwn(t, c, "proc/stat")), "\nbtime ")[1]
	if host, _, _ = strings.Cut(host, "\n"); btime != host {
		t.Errorf("btime %s, the host's is %s", btime, host)
	}
	enter := func(pid, ns, offset string) {
		dir := filepath.Join(c.Root, "proc", pid)
		if err := os.MkdirAll(filepath.Join(dir, "ns"), 0o755); err != nil {
			t.Fatal(err)
		}
		link := filepath.Join(dir, "ns/time")
		os.Remove(link) //nolint:errcheck // it may not exist
		if err := os.Symlink(ns, link); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "timens_offsets"), []byte("monotonic 0 0\nboottime "+offset+"\n"))
	}
	pid := strconv.Itoa(c.PID)
	enter("self", "time:[1]", "0 0")
	enter(pid, "time:[1]", "0 0")
	if u, b := figures(); u != up || b != btime {
		t.Errorf("in the host's time namespace: uptime %s, btime %s, want %s, %s", u, b, up, btime)
	}
	for _, offset := range []struct {
		text      string
		boottime  time.Duration
		bootLater int // s
	}{{"0 0", 0, 0}, {"100 0", 100 * time.Second, -100}, {"100 800000000", 100800 * time.Millisecond, -101}, {"-3 0", -3 * time.Second, 3}} {
		enter(pid, "time:[2]", offset.text)
		u, b := figures()
		want := strings.Fields(string(appendHundredths(nil, uint64((now+offset.boottime)/tick))))[0]
		shift := number(t, b) - number(t, btime)
		if u != want || shift != offset.bootLater {
			t.Errorf("offset %s: uptime %s, btime moved by %d s, want %s and %d", offset.text, u, shift, want, offset.bootLater)
		}
	}
	if n := v.faults.Load(); n != 0 {
		t.Errorf("%d faults", n)
	}
}
