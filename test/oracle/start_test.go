package oracle

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
	"github.com/lxcfs-nri/lxcfs-nri/test/box"
	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

// sinceBoot is now, as the kernel counts when processes start.
func sinceBoot(t testing.TB) float64 {
	t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		t.Fatal(err)
	}
	return float64(ts.Nano()) / 1e9
}

// TestStart compares uptime and btime with when the container's init was
// started, also after the daemon was killed and started anew.
func TestStart(t *testing.T) {
	dir := t.TempDir()
	d, err := rig.Serve(t.Context(), dir, binary, "", rig.NoRuntime)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
	}()
	g := fixture.NewGroup(t)
	g.Set(t, "memory.max", "memory.limit_in_bytes", strconv.Itoa(64*mib))
	before := sinceBoot(t)
	b := box.New(t, g, d.Mountpoint)
	after := sinceBoot(t)
	// In the container's PID namespace, but with the host's mounts: those of
	// the container end with the daemon.
	read := func(file string) string {
		out, err := box.Run(g.Command("nsenter", "-t", strconv.Itoa(b.PID), "-p", "--", "cat", d.Mountpoint+"/"+file))
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	host := keyed(t, "/proc/stat", "btime")
	var btime float64
	for i := range 2 {
		from := sinceBoot(t)
		up := number(t, strings.Fields(read("proc/uptime"))[0])
		to := sinceBoot(t)
		if up < from-after-0.02 || up > to-before+0.02 {
			t.Errorf("uptime %.2f s, started %.2f to %.2f s ago", up, from-after, to-before)
		}
		_, rest, _ := strings.Cut(read("proc/stat"), "\nbtime ")
		word, _, _ := strings.Cut(rest, "\n")
		got := number(t, word)
		if got < host+math.Floor(before) || got > host+math.Ceil(after) {
			t.Errorf("btime %.0f, want the host's and %.0f", got, before)
		}
		if i > 0 && got != btime {
			t.Errorf("btime went from %.0f to %.0f with the daemon", btime, got)
		}
		btime = got
		if i > 0 {
			break
		}
		if err := d.Kill(); err != nil {
			t.Fatal(err)
		}
		if d, err = rig.Serve(t.Context(), dir, binary, "", rig.NoRuntime); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLastPID: the number is that of the container's own PID namespace.
func TestLastPID(t *testing.T) {
	b := box.New(t, fixture.NewGroup(t), daemon.Mountpoint)
	b.Group.Set(t, "memory.max", "memory.limit_in_bytes", strconv.Itoa(64*mib))
	time.Sleep(1100 * time.Millisecond) // tasks are counted once a second
	out := b.Output(t, "sh", "-c", "cat /proc/loadavg; echo $$")
	var a [3]float64
	var running, all, last, shell int
	if _, err := fmt.Sscanf(out, "%f %f %f %d/%d %d\n%d", &a[0], &a[1], &a[2], &running, &all, &last, &shell); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	if last < shell || last > shell+2 {
		t.Errorf("last pid %d, but the reader is number %d", last, shell+1)
	}
	// init, shell and cat.
	if all < 2 || all > 4 || running > all {
		t.Errorf("%d of %d tasks run", running, all)
	}
}
