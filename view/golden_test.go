package view

import (
	"bytes"
	"flag"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/procfs"
	"github.com/prometheus/procfs/blockdevice"
	"golang.org/x/tools/txtar"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
)

var update = flag.Bool("update", false, "write the goldens anew")

const captured = "../cgroup/testdata/*.txtar"

// open gives the view of a captured case's container, at the moment of its capture.
func open(t testing.TB, c fixture.Case, opts Options) *View {
	t.Helper()
	groups, err := cgroup.Open(c.Root)
	if err != nil {
		t.Fatal(err)
	}
	host := NewHost(c.Root)
	uptime, _, _ := strings.Cut(string(hostsOwn(t, c, "proc/uptime")), " ")
	seconds, err := strconv.ParseFloat(uptime, 64)
	if err != nil {
		t.Fatal(err)
	}
	host.now = func() time.Duration { return time.Duration(seconds * float64(time.Second)) }
	r := NewRegistry(host, groups, slog.New(slog.NewTextHandler(io.Discard, nil)), opts)
	t.Cleanup(r.Close)
	v, err := r.Add(Container{ID: "c", PID: c.PID})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

func hostsOwn(t testing.TB, c fixture.Case, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(c.Root, file))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// rendered says that a captured machine has what a file is made from.
func rendered(v *View, f *File) bool {
	return f.Append != nil && (f.Reach != AttachGroupFile || v.host.has(f))
}

func render(t testing.TB, v *View, path string) []byte {
	t.Helper()
	i := slices.IndexFunc(Files, func(f File) bool { return f.Path == path })
	b, err := v.Append(&Files[i], nil)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return b
}

// TestGoldens compares each file of each captured case with what was once
// looked at and found right, and with the host's own.
func TestGoldens(t *testing.T) {
	for _, c := range fixture.All(t, captured) {
		t.Run(c.Name, func(t *testing.T) {
			v := open(t, c, Options{})
			got := &txtar.Archive{}
			for i := range Files {
				if !rendered(v, &Files[i]) {
					continue
				}
				data := render(t, v, Files[i].Path)
				if bytes.Count(data, []byte("processor\t")) > 2 {
					data = []byte("as TestManyCPUs says\n") // a block takes a kilobyte
				}
				got.Files = append(got.Files, txtar.File{Name: Files[i].Path, Data: data})
			}
			golden := filepath.Join("testdata", c.Name+".golden.txtar")
			if *update {
				if err := os.WriteFile(golden, txtar.Format(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(txtar.Format(got))); diff != "" {
				t.Error(diff)
			}
			if n := v.faults.Load(); n != 0 {
				t.Errorf("%d files could not be read", n)
			}
			linesAreTheHosts(t, c, v)
			unchangedFiguresGiveTheKernelsBytes(t, c)
		})
	}
}

// TestCases holds what the heads of the captured cases expect, in figures.
func TestCases(t *testing.T) {
	for name, want := range map[string]struct {
		memTotal  uint64 // kB, 0: the host's
		cpus      int
		swapTotal uint64 // kB
		swapUsed  bool
		huge      [2]uint64 // total, free
	}{
		"v1-limited":     {memTotal: 256 << 10, cpus: 1},
		"v1-pod-limit":   {memTotal: 300 << 10, cpus: 2},
		"v1-unlimited":   {cpus: 2},
		"v2-limited":     {memTotal: 64 << 10, cpus: 1, swapTotal: 64 << 10, swapUsed: true},
		"v2-limited-6.1": {memTotal: 64 << 10, cpus: 1, swapTotal: 64 << 10, swapUsed: true},
		"v2-pod-limit":   {memTotal: 300 << 10, cpus: 2, swapTotal: 512<<10 - 4, swapUsed: true},
		"v2-unlimited":   {cpus: 2, swapTotal: 512<<10 - 4, swapUsed: true},
		"v2-swap-zero":   {memTotal: 128 << 10, cpus: 2},
		"v2-systemd":     {memTotal: 128 << 10, cpus: 2, swapTotal: 512<<10 - 4, swapUsed: true},
		"v2-hugetlb":     {memTotal: 128 << 10, cpus: 2, swapTotal: 512<<10 - 4, swapUsed: true, huge: [2]uint64{4, 2}},
		"hybrid":         {memTotal: 96 << 10, cpus: 1, swapTotal: 64 << 10, swapUsed: true},

		"v1-kind":               {memTotal: 256 << 10, cpus: 1},
		"v1-systemd":            {memTotal: 256 << 10, cpus: 1},
		"v1-odd-names":          {memTotal: 256 << 10, cpus: 1},
		"v1-docker-in-docker":   {memTotal: 300 << 10, cpus: 2},
		"v1-hugetlb":            {memTotal: 256 << 10, cpus: 1, huge: [2]uint64{6, 4}},
		"v1-no-swap-accounting": {memTotal: 96 << 10, cpus: 1},
		"v1-swappiness-0":       {memTotal: 96 << 10, cpus: 1, swapTotal: 34292, swapUsed: true},
		"v1-large":              {memTotal: 1536 << 20, cpus: 21},
		"v2-kind":               {memTotal: 64 << 10, cpus: 1, swapTotal: 64 << 10, swapUsed: true},
		"v2-odd-names":          {memTotal: 64 << 10, cpus: 1, swapTotal: 64 << 10, swapUsed: true},
		"v2-docker-in-docker":   {memTotal: 300 << 10, cpus: 2, swapTotal: 512<<10 - 4, swapUsed: true},
		"v2-zswap":              {memTotal: 64 << 10, cpus: 1, swapTotal: 64 << 10, swapUsed: true},
		"v2-large":              {memTotal: 1536 << 20, cpus: 32, swapTotal: 64 << 10, swapUsed: true},
	} {
		t.Run(name, func(t *testing.T) {
			c := fixture.Load(t, "../cgroup/testdata/"+name+".txtar")
			v := open(t, c, Options{})
			p := parse(t, v)
			m := p.meminfo
			if want.memTotal == 0 {
				if got, host := string(render(t, v, "proc/meminfo")), string(hostsOwn(t, c, "proc/meminfo")); got != host {
					t.Errorf("not the host's own meminfo: %s", cmp.Diff(host, got))
				}
			} else if *m.MemTotal != want.memTotal {
				t.Errorf("MemTotal %d kB, want %d", *m.MemTotal, want.memTotal)
			}
			if want.memTotal > 0 && *m.MemFree > *m.MemAvailable || *m.MemAvailable > *m.MemTotal {
				t.Errorf("MemFree %d, MemAvailable %d, MemTotal %d", *m.MemFree, *m.MemAvailable, *m.MemTotal)
			}
			if *m.Active != *m.ActiveAnon+*m.ActiveFile || *m.Inactive != *m.InactiveAnon+*m.InactiveFile {
				t.Errorf("Active %d is not %d + %d, or Inactive %d not %d + %d", *m.Active, *m.ActiveAnon, *m.ActiveFile, *m.Inactive, *m.InactiveAnon, *m.InactiveFile)
			}
			if *m.SwapTotal != want.swapTotal || (*m.SwapFree < *m.SwapTotal) != want.swapUsed {
				t.Errorf("SwapTotal %d kB, SwapFree %d, want a total of %d, used: %v", *m.SwapTotal, *m.SwapFree, want.swapTotal, want.swapUsed)
			}
			if got := [2]uint64{*m.HugePagesTotal, *m.HugePagesFree}; want.memTotal > 0 && got != want.huge {
				t.Errorf("huge pages total, free: %v, want %v", got, want.huge)
			}
			if len(p.cpuinfo) != want.cpus || len(p.stat.CPU) != want.cpus {
				t.Errorf("cpuinfo has %d CPUs, stat %d, want %d", len(p.cpuinfo), len(p.stat.CPU), want.cpus)
			}
			var swapSize int
			for _, s := range p.swaps {
				swapSize += s.Size
			}
			if uint64(swapSize) != want.swapTotal {
				t.Errorf("/proc/swaps has %d kB, want %d", swapSize, want.swapTotal)
			}
		})
	}
}

// parsed is what an independent reader makes of our files.
type parsed struct {
	meminfo procfs.Meminfo
	cpuinfo []procfs.CPUInfo
	stat    procfs.Stat
	swaps   []*procfs.Swap
	disks   []blockdevice.Diskstats
}

func parse(t *testing.T, v *View) (p parsed) {
	t.Helper()
	root := t.TempDir()
	for i := range Files {
		if !rendered(v, &Files[i]) {
			continue
		}
		write(t, filepath.Join(root, Files[i].Path), render(t, v, Files[i].Path))
	}
	fs, err := procfs.NewFS(filepath.Join(root, "proc"))
	if err != nil {
		t.Fatal(err)
	}
	disks, err := blockdevice.NewFS(filepath.Join(root, "proc"), filepath.Join(root, "sys"))
	if err != nil {
		t.Fatal(err)
	}
	var errs [5]error
	p.meminfo, errs[0] = fs.Meminfo()
	p.cpuinfo, errs[1] = fs.CPUInfo()
	p.stat, errs[2] = fs.Stat()
	p.swaps, errs[3] = fs.Swaps()
	p.disks, errs[4] = disks.ProcDiskstats()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// linesAreTheHosts: what a reader finds on the machine it finds here, in
// the same order and the same columns, but for what is left out on purpose.
func linesAreTheHosts(t *testing.T, c fixture.Case, v *View) {
	t.Helper()
	for file, keyOf := range map[string]func(string) string{
		"proc/meminfo": func(line string) string {
			key, _, _ := strings.Cut(line, ":")
			if strings.HasPrefix(key, "DirectMap") {
				return ""
			}
			return key
		},
		"proc/stat": func(line string) string {
			key, _, _ := strings.Cut(line, " ")
			if strings.HasPrefix(key, "cpu") {
				return "" // as many as the view has
			}
			return key
		},
		"proc/diskstats": func(line string) string {
			return string(head([]byte(line), 3)) + " " + strconv.Itoa(len(strings.Fields(line)))
		},
	} {
		want := keys(hostsOwn(t, c, file), keyOf)
		got := keys(render(t, v, file), keyOf)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", file, diff)
		}
	}
}

func keys(content []byte, keyOf func(string) string) (all []string) {
	for line := range strings.Lines(string(content)) {
		if k := keyOf(strings.TrimSuffix(line, "\n")); k != "" {
			all = append(all, k)
		}
	}
	return all
}

// unchangedFiguresGiveTheKernelsBytes prints the host's own figures through
// our formats: they must come out as the kernel printed them.
func unchangedFiguresGiveTheKernelsBytes(t *testing.T, c fixture.Case) {
	t.Helper()
	l, err := parseMeminfo(hostsOwn(t, c, "proc/meminfo"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range l.lines {
		got := append(appendPadded(bytes.Clone(m.prefix), m.value, m.width), m.suffix...)
		if !bytes.Equal(got, m.host) {
			t.Errorf("meminfo: got %q, want %q", got, m.host)
		}
	}
}

func TestOptions(t *testing.T) {
	c := fixture.Load(t, "../cgroup/testdata/v2-limited.txtar")
	p := parse(t, open(t, c, Options{}))
	if p.stat.CPUTotal.Steal == 0 {
		t.Error("a throttled group shows no steal")
	}
	p = parse(t, open(t, c, Options{NoSwap: true, HideThrottled: true}))
	if *p.meminfo.SwapTotal != 0 || len(p.swaps) != 0 {
		t.Errorf("without swap: SwapTotal %d, %d swaps", *p.meminfo.SwapTotal, len(p.swaps))
	}
	if p.stat.CPUTotal.Steal != 0 {
		t.Errorf("steal is %v though it is to be hidden", p.stat.CPUTotal.Steal)
	}
}
