package oracle

import (
	"strconv"
	"strings"
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
	"github.com/lxcfs-nri/lxcfs-nri/test/box"
)

// TestMemoryOfAnAncestor: a container whose group has no memory files of its own has its
// pod's limit, and what is used there. There is nothing to warn of.
func TestMemoryOfAnAncestor(t *testing.T) {
	for name, prepare := range map[string]func(g *fixture.Group){
		"not delegated": func(g *fixture.Group) { g.DropMemory(t) },
		"threaded": func(g *fixture.Group) {
			if !g.MakeThreaded(t) {
				g.DropMemory(t) // cgroup v1 has no such groups
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			logged := len(daemon.Log())
			pod := fixture.NewGroup(t)
			pod.Set(t, "memory.max", "memory.limit_in_bytes", strconv.Itoa(300*mib))
			g := pod.Child(t)
			prepare(g)
			b := box.New(t, g, daemon.Mountpoint)
			before := meminfo(t, b)
			if before["MemTotal"] != 300*mib || before["MemFree"] < 250*mib {
				t.Errorf("MemTotal %d, MemFree %d, want 300 MiB, almost all of it free", before["MemTotal"], before["MemFree"])
			}
			w := newWorker(t, b, "anon", "100")
			before = meminfo(t, b)
			w.do()
			changed(t, b, before, map[string]float64{"AnonPages": 100, "MemFree": -100, "MemAvailable": -100}, 3)
			for _, file := range []string{"cpuinfo", "stat", "uptime", "loadavg", "diskstats", "swaps"} {
				b.Output(t, "cat", "/proc/"+file)
			}
			if log := daemon.Log()[logged:]; strings.Contains(log, "level=WARN") || strings.Contains(log, "level=ERROR") {
				t.Errorf("logged: %s", log)
			}
		})
	}
}
