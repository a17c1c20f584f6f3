package view

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
)

// memoryTexts is what a limited and an unlimited view show of a host's meminfo.
type memoryTexts struct{ Limited, Unlimited, Err string }

func memoryTextsOf(b []byte) (all memoryTexts) {
	l, err := parseMeminfo(b)
	if err != nil {
		return memoryTexts{Err: err.Error()}
	}
	m := meminfo{total: 7, swap: swap{total: l.swapTotal, used: under(l.swapTotal, l.swapFree), host: true}}
	return memoryTexts{Limited: string(m.append(nil, l.lines, true)), Unlimited: string(m.append(nil, l.lines, false))}
}

// TestOddMeminfo: a line that can't be parsed is the host's in a view that the host
// governs, and is left out of another.
func TestOddMeminfo(t *testing.T) {
	const total, shown = "MemTotal:       16314112 kB\n", "MemTotal:              7 kB\n"
	const free, none = "MemFree:         9876543 kB\n", "MemFree:               0 kB\n"
	odd := func(line string) memoryTexts {
		return memoryTexts{Limited: shown + none, Unlimited: total + line + free}
	}
	want := map[string]memoryTexts{
		total + free:                           odd(""),
		total + strings.TrimSuffix(free, "\n"): {Limited: shown + strings.TrimSuffix(none, "\n"), Unlimited: total + strings.TrimSuffix(free, "\n")},
		total + "Later:  12 pages\nBare: 5\nTab:\t\t6 kB\n": {
			Limited: shown + "Later:   0 pages\nBare: 0\nTab:  0 kB\n", Unlimited: total + "Later:  12 pages\nBare: 5\nTab:\t\t6 kB\n",
		},
		"":                          {Err: `line "": no MemTotal`},
		free:                        {Err: `line "MemFree:         9876543 kB": no MemTotal`},
		free + "MemTotal: lots\n":   {Err: `line "MemTotal: lots": no MemTotal`},
		free + "MemTotal:   0 kB\n": {Err: `line "MemTotal:   0 kB": no MemTotal`},
	}
	for _, line := range []string{
		"\n", " \n", "no colon\n", "Key:\n", "Key: \n", "Key: none kB\n", "Key: -5 kB\n", "Key: 1.5 kB\n", "Key: 5kB\n", "Key: 0x10 kB\n",
		"Key: 99999999999999999999 kB\n", ": 5 kB\n", ":\n", "MemFree 5 kB\n", "\x00\n", "Node 0, zone DMA\n",
	} {
		want[total+line+free] = odd(line)
	}
	fixture.Odd(t, memoryTextsOf, want)
}

// statFigures is what is parsed of /proc/stat.
type statFigures struct {
	Intr, Ctxt, Btime, Softirq uint64
	Softirqs                   int
	CPUs                       []int
	Err                        string
}

func statFiguresOf(b []byte) statFigures {
	h, err := parseHostStat(b)
	if err != nil {
		return statFigures{Err: err.Error()}
	}
	cpus, _ := parseStatCPUs(b)
	return statFigures{h.intr, h.ctxt, h.btime, h.softirq, h.softirqs, cpus, ""}
}

func TestOddStat(t *testing.T) {
	const cpus = "cpu  1 2 3\ncpu0 1 2 3\ncpu2 1 2 3\n"
	all := statFigures{Intr: 7, Ctxt: 8, Btime: 9, Softirq: 5, Softirqs: 2, CPUs: []int{0, 2}}
	with := func(change func(h *statFigures)) statFigures { h := all; change(&h); return h }
	fixture.Odd(t, statFiguresOf, map[string]statFigures{
		cpus + "intr 7 0 0\nctxt 8\nbtime 9\nsoftirq 5 2 3\n":                       all,
		cpus + "intr 7 0 0\nctxt 8\nbtime 0\nsoftirq 5 2 3\n":                       with(func(h *statFigures) { h.Btime = 0 }), // a board without a clock
		cpus + "intr 7 0 0\nctxt 8\nsoftirq 5 2 3\n":                                with(func(h *statFigures) { h.Btime = 0 }),
		cpus + "intr 7 0 0\nctxt 8\nbtime -9\nsoftirq 5 2 3\n":                      with(func(h *statFigures) { h.Btime = 0 }), // before 1970
		cpus + "\nintr 7\nodd\npage 1 2\nctxt 8\nbtime 9\nsoftirq 5 2 3":            all,
		cpus + "intr x\nctxt 8\nbtime 9\nsoftirq\n":                                 with(func(h *statFigures) { h.Intr, h.Softirq, h.Softirqs = 0, 0, 0 }),
		"cpu  1 2 3\nintr 7\nctxt 8\nbtime 9\nsoftirq 5 2 3\n":                      with(func(h *statFigures) { h.CPUs = nil }),
		"cpu2 1\ncpux 1\ncpu0 1\ncpu02 1\nintr 7\nctxt 8\nbtime 9\nsoftirq 5 2 3\n": all,
		"intr 7\nctxt 8\n": {Err: `line "intr 7": no cpu line`},
		"":                 {Err: `line "": no cpu line`},
		"intr 7\ncpu x\n":  {Err: `line "cpu x": no cpu line`},
	})
}

// cpuinfoOf is what each CPU's block has, by its number; -1 are lines of none.
func cpuinfoOf(b []byte) map[int]string {
	blocks, err := parseCPUInfo(b)
	if err != nil {
		return map[int]string{-9: err.Error()}
	}
	all := map[int]string{}
	for _, block := range blocks {
		if len(block.lines) > 0 {
			all[block.cpu] += string(block.lines)
		}
	}
	return all
}

func TestOddCPUInfo(t *testing.T) {
	fixture.Odd(t, cpuinfoOf, map[string]map[int]string{
		"processor\t: 0\nMHz : 1\n\nprocessor\t: 1\nMHz : 2\n\n": {0: "processor\t: 0\nMHz : 1\n\n", 1: "processor\t: 1\nMHz : 2\n\n"},
		"processor: 0\nprocessor: 1":                             {0: "processor: 0\n", 1: "processor: 1"},
		// A blank line in a block does not end it; after the last one it does.
		"processor : 0\n\nMHz : 1\n\nprocessor : 1\nMHz : 2\n\nHardware : x\n": {
			0: "processor : 0\n\nMHz : 1\n\n", 1: "processor : 1\nMHz : 2\n\n", -1: "Hardware : x\n",
		},
		"system type : x\n\nprocessor : 0\nodd\n:\n\x00\n": {-1: "system type : x\n\n", 0: "processor : 0\nodd\n:\n\x00\n"},
		// A block without a number is nobody's.
		"processor : x\nMHz : 1\n\nprocessor : 1\nMHz : 2\n\n":       {1: "processor : 1\nMHz : 2\n\n"},
		"processor : 0\nMHz : 1\n\nprocessor : -1\nMHz : 2\n\nA : b": {0: "processor : 0\nMHz : 1\n\n", -1: "A : b"},
		"processor : 99999999999999999999\nprocessor : 1\n":          {1: "processor : 1\n"},
		"processor 0: version = FF\nprocessor x: version = FF\nprocessor 1: version = FF\n": {
			0: "processor 0: version = FF\n", 1: "processor 1: version = FF\n",
		},
		"model name : x\n": {-9: `line "model name : x": no line that numbers a CPU`},
		"a\nprocessor :\n": {-9: `line "processor :": no line that numbers a CPU`},
		"":                 {-9: `line "": no line that numbers a CPU`},
	})
}

func TestOddDiskstats(t *testing.T) {
	fixture.Odd(t, disksOf, map[string][]string{
		"   8       0 sda 1 2 3 4\n":                        {"8:0    8       0 sda +4"},
		"   8       0 sda 1 2 3 4":                          {"8:0    8       0 sda +4"},
		"odd\n\n   8       1 sda1 1 2 3 4\n8 0\n8 0 sdb\n":  {"8:1    8       1 sda1 +4"},
		"8 0 cciss/c0d0:1\\x 1 2 3 4\n":                     {`8:0 8 0 cciss/c0d0:1\x +4`},
		"9 127 md_my disk 1 2 3 4 5 6 7 8 9 10 11\n":        {"9:127 9 127 md_my disk +11"},
		"9 127 md_5 1 2 3\n9 126 7 1 2 3\n":                 {"9:127 9 127 md_5 +3", "9:126 9 126 7 +3"},
		"8 0 sda 1 2 x 4 5 6 7 8\n8 1 sda1 1 2 3 4\n":       {"8:1 8 1 sda1 +4"},
		"8 0 sda x\nx 0 sda 1 2\n8 x sda 1 2\n-8 0 a 1\n":   {},
		"8 0 sda 1 2 3 -4\n8 0 sda 99999999999999999999 \n": {},
		"8\t0\tsda\t1\t2\n":                                 {},
		"":                                                  {},
	})
}

func disksOf(b []byte) (all []string) {
	lines, err := parseDiskstats(b)
	if err != nil {
		return []string{err.Error()}
	}
	for _, l := range lines {
		all = append(all, fmt.Sprintf("%d:%d %s +%d", l.major, l.minor, l.head, l.fields))
	}
	return all
}

func TestOddSwaps(t *testing.T) {
	const today, old = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority", "Filename\tType\tSize"
	fixture.Odd(t, func(b []byte) string { return string(swapsHeader(b)) }, map[string]string{
		today + "\n/dev/sda partition 1 2 3\n": today,
		old + "\n/swap\\040(deleted) file 1\n": old,
		"\nodd\n" + old + "\n":                 old,
		old:                                    old,
		"odd\n":                                today,
		"":                                     today,
	})
	host := []byte("\nodd\n" + old + "\n/a\\040b file 1 2 3\n")
	if got := (swap{host: true}).append(nil, host); !bytes.Equal(got, host) {
		t.Errorf("the host's swap: got %q", got)
	}
	if got := string((swap{}).append(nil, host)); got != old+"\n" {
		t.Errorf("no swap: got %q", got)
	}
}

func TestOddProcesses(t *testing.T) {
	fixture.Odd(t, parseNSpid, map[string][]int{
		"Name:\tx\nNSpid:\t5\t1\n":          {5, 1},
		"NSpid:\t5":                         {5},
		"NSpid:\t5\tx\nNSpid:\t6\n":         {6},
		"NSpid:\nNSpid:\t0\nNStgid:\t5\n\n": nil,
		"Name:\tNSpid:\\n\n":                nil,
		"":                                  nil,
	})
	const before, after = "7 (", " S 1 7 7 0 -1 4194304 4850 0 177 0 18 278 0 0 20 0 5 0 344 1371910144 20484\n"
	type start struct {
		At time.Duration
		OK bool
	}
	fixture.Odd(t, func(b []byte) start { _, at, err := parseProcessStat(b); return start{at, err == nil} }, map[string]start{
		before + "sh)" + after:                        {3440 * time.Millisecond, true},
		before + "a) R 1 (b\n) \\c)" + after:          {3440 * time.Millisecond, true},
		before + ")" + after:                          {3440 * time.Millisecond, true},
		before + "sh" + after:                         {},
		before + "sh) S 1 7 7\n":                      {},
		strings.Replace("7 (x)"+after, "344", "x", 1): {},
		"": {},
	})
}

func TestOddSysctls(t *testing.T) {
	for content, want := range map[string]uint64{"80\n": 80, "80": 80, "": 50, "x\n": 50, "-1\n": 50, "missing": 50} {
		h := NewHost(t.TempDir())
		if content != "missing" {
			write(t, filepath.Join(h.root, "proc/sys/vm/overcommit_ratio"), []byte(content))
		}
		if got, err := h.overcommit.get(0); err != nil || got != (overcommit{ratio: want}) {
			t.Errorf("%q: got %+v, %v, want a ratio of %d", content, got, err, want)
		}
	}
}

// TestOddHost: no odd line of the host's takes a file away, and a file that can't be
// made is told of once.
func TestOddHost(t *testing.T) {
	c := fixture.Load(t, "../cgroup/testdata/v2-limited.txtar")
	var log bytes.Buffer
	groups, err := cgroup.Open(c.Root)
	if err != nil {
		t.Fatal(err)
	}
	host := NewHost(c.Root)
	r := NewRegistry(host, groups, slog.New(slog.NewTextHandler(&log, nil)), Options{})
	t.Cleanup(r.Close)
	v := add(t, r, Container{ID: "c", PID: c.PID})
	texts := map[string][]byte{}
	for _, name := range []string{"proc/meminfo", "proc/cpuinfo", "proc/stat", "proc/diskstats", "proc/swaps", "sys/devices/system/cpu/online"} {
		texts[name] = hostsOwn(t, c, name)
	}
	readAll := func() (failed []string) {
		host.meminfo.set, host.cpuinfo.set, host.stat.set, host.diskstats.set, host.swaps.set, host.online.set = false, false, false, false, false, false
		for i := range Files {
			if rendered(v, &Files[i]) {
				if _, err := v.Append(&Files[i], nil); err != nil {
					failed = append(failed, Files[i].Path)
				}
			}
		}
		return failed
	}
	for name, text := range texts {
		lines := slices.Collect(bytes.Lines(text))
		for i := range len(lines) + 1 {
			// Not above s390x' and others' first lines, and not all of them: it takes long.
			if i > 3 && i < len(lines)-2 {
				continue
			}
			odd := bytes.Join(slices.Insert(slices.Clone(lines), i, []byte("an odd line\n"), []byte("\n"), []byte("btime 0\n")), nil)
			write(t, filepath.Join(c.Root, name), odd)
			if failed := readAll(); len(failed) > 0 {
				t.Errorf("%s, with odd lines before line %d: %v can't be read", name, i, failed)
			}
		}
		write(t, filepath.Join(c.Root, name), text)
	}
	// The list of on-line CPUs is odd with them.
	if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), "cpu/online") {
		t.Errorf("%d lines were logged, want one of the CPUs' list: %s", n, &log)
	}
	log.Reset()
	write(t, filepath.Join(c.Root, "proc/meminfo"), []byte("MemTotal: much\nMemFree: 5 kB\n"))
	for range 3 {
		if failed := readAll(); !slices.Equal(failed, []string{"proc/meminfo", "proc/swaps"}) {
			t.Errorf("without MemTotal %v can't be read", failed)
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), "/proc/meminfo") || !strings.Contains(log.String(), "MemTotal: much") {
		t.Errorf("%d lines were logged, want one with the file and the line: %s", n, &log)
	}
	write(t, filepath.Join(c.Root, "proc/meminfo"), texts["proc/meminfo"])
	for _, name := range []string{"proc/swaps", "sys/devices/system/cpu/online"} {
		if err := os.Remove(filepath.Join(c.Root, name)); err != nil {
			t.Fatal(err)
		}
	}
	if failed := readAll(); len(failed) > 0 {
		t.Errorf("without swaps and online %v can't be read", failed)
	}
	write(t, filepath.Join(c.Root, "proc/stat"), []byte("btime 5\n"))
	host.stat.set = false
	if _, err := host.stat.get(0); !errors.Is(err, errNoCPU) {
		t.Errorf("stat without a cpu line: %v", err)
	}
}
