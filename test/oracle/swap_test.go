package oracle

import (
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
	"github.com/lxcfs-nri/lxcfs-nri/test/box"
)

// TestSwap uses more memory than there is: /proc/meminfo, /proc/swaps, free and
// swapon tell of the swap that the kernel says is used, and of the limit as what
// there is. Tolerance: 1 MiB, as pages come and go between two readings. On a
// machine without swap all tell of none.
func TestSwap(t *testing.T) {
	g := fixture.NewGroup(t)
	g.Set(t, "memory.max", "memory.limit_in_bytes", strconv.Itoa(64*mib))
	b := box.New(t, g, daemon.Mountpoint)
	host := parseMeminfo(t, readFile(t, "/proc/meminfo"))["SwapTotal"]
	current := g.File("memory.swap.current")
	var total int64
	if host > 0 && current != "" {
		total = 100 * mib
		g.Set(t, "memory.swap.max", "", strconv.FormatInt(total, 10))
		w := newWorker(t, b, "anon", "100")
		w.do()
	}
	m := meminfo(t, b)
	if m["SwapTotal"] != min(host, total) {
		t.Errorf("SwapTotal: got %d, want %d", m["SwapTotal"], total)
	}
	used := func() float64 {
		if total == 0 {
			return 0
		}
		return number(t, readFile(t, current)) / mib
	}
	if total > 0 && used() < 30 {
		t.Fatalf("only %.1f MiB were swapped out", used())
	}
	// Bare Linux has this swap in use, and that of others.
	if bare := parseMeminfo(t, readFile(t, "/proc/meminfo")); float64(bare["SwapTotal"]-bare["SwapFree"])/mib < used()-1 {
		t.Errorf("bare Linux has %d of %d bytes of swap free, %.1f MiB are used", bare["SwapFree"], bare["SwapTotal"], used())
	}
	within(t, "used by meminfo", used(), 1, func() float64 {
		m := meminfo(t, b)
		return float64(m["SwapTotal"]-m["SwapFree"]) / mib
	})
	// Of each program: what there is and what is used, in kB.
	sum := func(lines []string, size, used int) (n [2]float64) {
		for _, line := range lines {
			f := strings.Fields(line)
			n[0] += number(t, f[size])
			n[1] += number(t, f[used])
		}
		return n
	}
	for name, tell := range map[string]func() [2]float64{
		"/proc/swaps": func() [2]float64 { return sum(lines(b.Output(t, "cat", "/proc/swaps"))[1:], 2, 3) },
		"free":        func() [2]float64 { return sum(lines(b.Output(t, "free", "-k"))[2:], 1, 2) },
		"swapon": func() [2]float64 {
			n := sum(lines(b.Output(t, "swapon", "--show=SIZE,USED", "--bytes", "--noheadings")), 0, 1)
			return [2]float64{n[0] / 1024, n[1] / 1024}
		},
	} {
		before := used()
		told := tell()
		after := used()
		least, most := min(before, after)-1, max(before, after)+1
		if math.Abs(told[0]-float64(total)/1024) > 4 || told[1]/1024 < least || told[1]/1024 > most {
			t.Errorf("%s tells %.0f kB, %.0f used, want %d, %.0f to %.0f", name, told[0], told[1], total/1024, least*1024, most*1024)
		}
	}
}

func lines(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })
}
