package oracle

import (
	"math"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
	"github.com/lxcfs-nri/lxcfs-nri/test/box"
	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

// TestStealReadSeldom has three spinners under a quota of a fifth of a CPU for 20 s, then
// none for 10 s. A daemon whose file is read each second and one whose file is read
// once, at the end, show the same: no more steal than what the periods in which the
// quota ran out can withhold, and as used what the kernel reports. Tolerance: 2 %
// of the time for the moments at which the two are read.
func TestStealReadSeldom(t *testing.T) {
	t.Parallel()
	seldom, err := rig.Serve(t.Context(), t.TempDir(), binary, "", rig.NoRuntime)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := seldom.Stop(); err != nil {
			t.Error(err)
		}
	}()
	g := fixture.NewGroup(t)
	g.Set(t, "memory.max", "memory.limit_in_bytes", strconv.Itoa(64*mib))
	g.Set(t, "cpu.max", "cpu.cfs_quota_us", "20000")
	b := box.New(t, g, daemon.Mountpoint)
	read := func(mountpoint string) stat {
		return readStat(t, g.Command("nsenter", "-t", strconv.Itoa(b.PID), "-p", "--", "cat", mountpoint+"/proc/stat"))
	}
	w := newWorker(t, b, "burn", "3")
	w.do()
	for begun := time.Now(); time.Since(begun) < 20*time.Second; {
		time.Sleep(time.Second)
		read(daemon.Mountpoint)
	}
	w.end()
	for range 10 {
		time.Sleep(time.Second)
		read(daemon.Mountpoint)
	}
	often, once := read(daemon.Mountpoint).cpus["cpu"], read(seldom.Mountpoint).cpus["cpu"]
	var all float64
	for _, c := range once {
		all += c
	}
	for column, name := range map[int]string{user: "user", system: "system", idle: "idle", steal: "steal"} {
		if math.Abs(often[column]-once[column]) > all*0.02 {
			t.Errorf("%s: %.0f ticks of %.0f if read each second, %.0f if read once", name, often[column], all, once[column])
		}
	}
	file := g.File("cpu.stat")
	if v1 := g.File("cpu.cfs_quota_us"); v1 != "" {
		file = filepath.Join(filepath.Dir(v1), "cpu.stat")
	}
	periods := keyed(t, file, "nr_throttled")
	if most := periods * 8; once[steal] > most+1 || periods < 20 {
		t.Errorf("%.0f ticks of steal, at most %.0f were withheld in %.0f periods", once[steal], most, periods)
	}
	if once[idle] < 900 {
		t.Errorf("%.0f ticks of idle, the container rested for 10 s", once[idle])
	}
	if got := once[user] + once[system]; math.Abs(got-used(t, g)) > 3 {
		t.Errorf("%.0f ticks are shown as used, the kernel reports %.0f", got, used(t, g))
	}
}
