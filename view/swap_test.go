package view

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
)

// TestSwapV1 holds the rules for one limit of memory and swap together, at a
// container and its pod; all in MiB. The machine has swap MiB of swap.
func TestSwapV1(t *testing.T) {
	const none, swap, more = -1, 512 - 4.0/1024, 1 << 20
	type level struct{ memory, memsw, used int }
	for name, c := range map[string]struct {
		pod, ctr    level
		total, used float64
		host        bool
	}{
		"no limit":                        {level{none, none, 90}, level{none, none, 40}, swap, 0, true},
		"memory only":                     {level{none, none, 90}, level{96, none, 40}, swap, 40, false},
		"the container's":                 {level{none, none, 90}, level{96, 160, 40}, 64, 40, false},
		"the pod's is smaller":            {level{128, 128, 20}, level{96, 160, 10}, 32, 20, false},
		"equal ones: the innermost":       {level{160, 160, 90}, level{96, 160, 40}, 64, 40, false},
		"more is used than allowed now":   {level{none, none, 90}, level{96, 100, 40}, 40, 40, false},
		"beyond the machine's memory":     {level{none, none, 90}, level{more, more, 40}, swap, 0, true},
		"the host governs memory":         {level{none, none, 90}, level{hostMiB + 10, hostMiB + 10, 7}, 10, 7, false},
		"the host governs memory, of pod": {level{hostMiB + 10, hostMiB + 20, 15}, level{none, none, 7}, 20, 15, false},
		"no swap beside memory":           {level{none, none, 90}, level{96, 96, 0}, 0, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := fixture.Load(t, "../cgroup/testdata/hybrid.txtar")
			for dir, l := range map[string]level{"pod1234": c.pod, "pod1234/ctr": c.ctr} {
				dir = filepath.Join(f.Root, "sys/fs/cgroup/memory", dir)
				write(t, filepath.Join(dir, "memory.limit_in_bytes"), v1Limit(l.memory))
				write(t, filepath.Join(dir, "memory.memsw.limit_in_bytes"), v1Limit(l.memsw))
				write(t, filepath.Join(dir, "memory.stat"), fmt.Appendf(nil, "swap 1\ntotal_swap %d\n", l.used<<20))
				// The difference of these is not what is swapped out.
				write(t, filepath.Join(dir, "memory.memsw.usage_in_bytes"), []byte("4096\n"))
			}
			v := open(t, f, Options{})
			host, err := v.host.meminfo.get(0)
			if err != nil {
				t.Fatal(err)
			}
			m := parse(t, v).meminfo
			total, used := float64(*m.SwapTotal)/1024, float64(*m.SwapTotal-*m.SwapFree)/1024
			if c.host {
				c.used = float64(host.swapTotal-host.swapFree) / 1024
			}
			if math.Abs(total-c.total) > 0.1 || used != c.used {
				t.Errorf("got %.1f MiB of swap, %.1f used; want %.1f, %.1f", total, used, c.total, c.used)
			}
			shown := strings.Contains(string(render(t, v, "proc/swaps")), "virtual")
			if want := !c.host && total > 0; shown != want {
				t.Errorf("/proc/swaps has the line of a limited view: %v, want %v", shown, want)
			}
			if n := v.faults.Load(); n != 0 {
				t.Errorf("%d faults", n)
			}
		})
	}
}

// hostMiB is the memory of the machine in hybrid.txtar, 28 kB more.
const hostMiB = 973

// v1Limit is a limit as a v1 kernel prints it.
func v1Limit(mib int) []byte {
	if mib < 0 {
		return []byte("9223372036854771712\n")
	}
	return []byte(strconv.Itoa(mib<<20) + "\n")
}

// TestSwapV1Uncounted: a kernel without swap accounting has no memsw files.
func TestSwapV1Uncounted(t *testing.T) {
	for limit, want := range map[int]swap{96: {}, -1: {total: 512<<10 - 4, host: true}} {
		f := fixture.Load(t, "../cgroup/testdata/v1-no-swap-accounting.txtar")
		v := open(t, f, Options{})
		g, err := v.cgroup()
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(f.Root, "sys/fs/cgroup/memory", g.Path(), "memory.limit_in_bytes"), v1Limit(limit))
		host, err := v.host.meminfo.get(0)
		if err != nil {
			t.Fatal(err)
		}
		gov, err := v.governing(g, host.total)
		if err != nil {
			t.Fatal(err)
		}
		got := v.readSwap(g, &host, gov, nil, &cgroup.MemoryStat{})
		got.used = 0
		if got != want {
			t.Errorf("limit %d: got %+v, want %+v", limit, got, want)
		}
		if _, err := os.Stat(filepath.Join(f.Root, "sys/fs/cgroup/memory", g.Path(), "memory.memsw.limit_in_bytes")); err == nil {
			t.Error("the fixture counts swap")
		}
	}
}
