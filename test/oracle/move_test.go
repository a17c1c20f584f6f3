package oracle

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
	"github.com/lxcfs-nri/lxcfs-nri/test/box"
)

// readOn prints MemTotal and the CPU counters again and again, and what fails.
const readOn = `
while :; do
	m=$(grep MemTotal /proc/meminfo) && c=$(head -n 1 /proc/stat) && u=$(cat /proc/uptime) || { echo failed; continue; }
	echo "$m" $c
	sleep 0.05
done 2>&1`

// move moves all processes of a group, the init first.
func move(t *testing.T, from, to *fixture.Group) {
	t.Helper()
	for left := true; left; {
		left = false
		for i, dir := range from.Dirs() {
			for pid := range strings.FieldsSeq(readFile(t, dir+"/cgroup.procs")) {
				left = true
				err := os.WriteFile(to.Dirs()[i]+"/cgroup.procs", []byte(pid), 0)
				if err != nil && !errors.Is(err, unix.ESRCH) {
					t.Fatal(err)
				}
			}
		}
	}
}

// TestMove has a container's processes moved to another group, and the old one removed,
// while a process of the container reads: no read fails, the new limit shows within a
// second, and no counter falls.
func TestMove(t *testing.T) {
	var groups []*fixture.Group
	for i := range 4 {
		g := fixture.NewGroup(t)
		g.Set(t, "memory.max", "memory.limit_in_bytes", strconv.Itoa((64+i)*mib))
		groups = append(groups, g)
	}
	b := box.New(t, groups[0], daemon.Mountpoint)
	reader := b.Command("sh", "-c", readOn)
	out, err := reader.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := reader.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		reader.Process.Kill() //nolint:errcheck // it is ours
		reader.Wait()         //nolint:errcheck // ended by a signal
	}()
	lines := bufio.NewScanner(out)
	var before []string
	until := func(mib int) {
		t.Helper()
		from := time.Now()
		for lines.Scan() {
			f := strings.Fields(lines.Text())
			if len(f) < 5 || f[0] != "MemTotal:" {
				t.Fatalf("%q", lines.Text())
			}
			for i := range before {
				if number(t, f[4+i]) < number(t, before[i]) {
					t.Errorf("CPU counters went from %v to %v", before, f[4:])
				}
			}
			before = f[4:]
			if f[1] == fmt.Sprint(mib<<10) {
				t.Logf("%d MiB are seen after %v", mib, time.Since(from))
				return
			}
			if time.Since(from) > 4*time.Second { // emulated processors are slow
				t.Fatalf("%s, want %d MiB", lines.Text(), mib)
			}
		}
	}
	until(64)
	for i, next := range groups[1:] {
		move(t, groups[i], next)
		if i > 0 { // first, the old one stays for a while
			groups[i].Remove(t)
		}
		until(64 + i + 1)
		groups[i].Remove(t)
		time.Sleep(200 * time.Millisecond)
		until(64 + i + 1)
	}
}
