package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/test/box"
)

// site is a container, and what programs have to find in it.
type site struct {
	box      *box.Box
	programs string // folder of the C programs
	possible []int
	online   []int
	allowed  []int // the affinity of processes that set none
}

// judges are the programs, each with what has to be true of what it prints.
var judges = []struct {
	name  string
	judge func(*testing.T, site)
}{
	{"files", judgeFiles},
	{"glibc", judgeGlibc},
	{"musl", judgeMusl},
	{"lscpu", judgeLscpu},
	{"lstopo", judgeLstopo},
	{"numactl", judgeNumactl},
	{"OpenMP", judgeOpenMP},
	{"jemalloc", judgeJemalloc},
	{"liburcu", judgeLiburcu},
	{"ZGC", judgeZGC},
}

// quiet runs a program, which must not complain, and returns what it prints.
func (s site) quiet(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, complaint := run(t, s.box.Command(name, args...))
	if complaint != "" {
		t.Errorf("%s complains: %s", name, complaint)
	}
	return out
}

// run returns what a program prints on standard output and standard error.
func run(t *testing.T, cmd *exec.Cmd) (out, complaint string) {
	t.Helper()
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v\n%s%s", cmd.Args[len(cmd.Args)-1:], err, &stdout, &stderr)
	}
	return stdout.String(), stderr.String()
}

// program is the path of one of the C programs.
func (s site) program(name string) string { return filepath.Join(s.programs, name) }

// last is the highest CPU that a process can use.
func (s site) last() string { return strconv.Itoa(s.allowed[len(s.allowed)-1]) }

// usable reports whether CPUs are all among those that a program can know of and use.
func (s site) usable(cpus []int) bool {
	return !slices.ContainsFunc(cpus, func(c int) bool { return !slices.Contains(s.online, c) || !slices.Contains(s.allowed, c) })
}

// wantList checks a list of CPUs in a program's text: the pattern's group.
func wantList(t *testing.T, text, pattern string, want []int) {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if m == nil {
		t.Errorf("nothing matches %s in\n%s", pattern, text)
		return
	}
	if got, err := parseList(strings.Join(strings.Fields(m[1]), ",")); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q (%v), want CPUs %v", m[0], err, want)
	}
}

// judgeFiles checks the files against each other, and what they show.
func judgeFiles(t *testing.T, s site) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.box.Command(exe, argument, "-cpus").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	lists := s.quiet(t, "cat", "/"+cpuDir+"/possible", "/"+cpuDir+"/online", "/proc/self/status")
	wantList(t, lists, `^(.*)\n`, s.possible)
	wantList(t, lists, `^.*\n(.*)\n`, s.online)
	wantList(t, lists, `Cpus_allowed_list:(.*)`, s.allowed)
}

func judgeLscpu(t *testing.T, s site) {
	wantList(t, s.quiet(t, "env", "LC_ALL=C", "lscpu"), `On-line CPU\(s\) list:(.*)`, s.online)
}

// judgeLstopo: hwloc compares the files' CPUs with the cpuset's and the affinity's.
func judgeLstopo(t *testing.T, s site) {
	out := s.quiet(t, "env", "HWLOC_HIDE_ERRORS=0", "lstopo-no-graphics", "--no-io", "--of", "xml")
	var got []int
	for _, m := range regexp.MustCompile(`type="PU" os_index="(\d+)"`).FindAllStringSubmatch(out, -1) {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, n)
	}
	slices.Sort(got)
	want := slices.DeleteFunc(slices.Clone(s.online), func(c int) bool { return !slices.Contains(s.allowed, c) })
	if !slices.Equal(got, want) {
		t.Errorf("its PUs are %v, want %v", got, want)
	}
}

// judgeNumactl: libnuma takes no CPU from _SC_NPROCESSORS_CONF on.
func judgeNumactl(t *testing.T, s site) {
	out := s.quiet(t, "numactl", "-H")
	for _, c := range s.online {
		if !regexp.MustCompile(fmt.Sprintf(`(?m)^node \d+ cpus:.* %d( |$)`, c)).MatchString(out) {
			t.Errorf("CPU %d is of no node:\n%s", c, out)
		}
	}
	wantList(t, s.quiet(t, "numactl", "-s"), `physcpubind:(.*)`, s.allowed)
	last := s.quiet(t, "numactl", "-C", s.last(), "cat", "/proc/self/status")
	wantList(t, last, `Cpus_allowed_list:(.*)`, s.allowed[len(s.allowed)-1:])
}

// judgeOpenMP: libgomp looks for the cores of the affinity mask's CPUs in sysfs.
func judgeOpenMP(t *testing.T, s site) {
	out, shown := run(t, s.box.Command("env", "OMP_DISPLAY_AFFINITY=true", "OMP_AFFINITY_FORMAT=affinity %A",
		"OMP_PLACES=cores", "OMP_PROC_BIND=close", s.program("openmp")))
	for line := range strings.Lines(shown) {
		list, ok := strings.CutPrefix(line, "affinity ")
		set, err := parseList(list)
		if !ok || err != nil || len(set) == 0 || !s.usable(set) {
			t.Errorf("got %q, want an affinity among CPUs %v", line, s.online)
		}
	}
	// A thread that is alone shows nothing.
	n, affinities := strings.Count(out, "\n"), strings.Count(shown, "\n")
	if n != len(s.allowed) || affinities != n && n > 1 || strings.Contains(out, "places 0") {
		t.Errorf("%d threads with %d affinities, want one for each of CPUs %v:\n%s%s", n, affinities, s.allowed, out, shown)
	}
}

// judgeJemalloc: an arena for each CPU, by the number of CPUs that jemalloc takes for
// right, then by the program's, as of configurations that set narenas.
func judgeJemalloc(t *testing.T, s site) {
	allocate := func(conf string) (used bool) {
		out, complaint := run(t, s.box.Command("env", "LD_PRELOAD=libjemalloc.so.2", "MALLOC_CONF="+conf, s.program("allocate")))
		// It compares _SC_NPROCESSORS_ONLN, _SC_NPROCESSORS_CONF and the affinity.
		if complaint != "" && !strings.Contains(complaint, "Number of CPUs detected is not deterministic") {
			t.Error(complaint)
		}
		return out == "percpu_arena percpu\n"
	}
	used := allocate("percpu_arena:percpu")
	if all := slices.Equal(s.online, s.possible) && slices.Equal(s.allowed, s.possible); used != all {
		t.Errorf("arenas per CPU: %v, want %v", used, all)
	}
	configured := strings.TrimSpace(s.quiet(t, "getconf", "_NPROCESSORS_CONF"))
	if !allocate("percpu_arena:percpu,narenas:" + configured) {
		t.Errorf("no arenas per CPU with narenas:%s", configured)
	}
}

// judgeLiburcu: it has a thread for each CPU of _SC_NPROCESSORS_CONF, and looks for
// that of the CPU at hand.
func judgeLiburcu(t *testing.T, s site) {
	if out := s.quiet(t, s.program("callrcu")); !strings.HasPrefix(out, fmt.Sprintf("queued %d ", len(s.allowed))) {
		t.Errorf("got %q, want a callback for each of CPUs %v", out, s.allowed)
	}
}

// judgeZGC: it has memory for each CPU of _SC_NPROCESSORS_CONF, and warns of other
// numbers if there is more than one (https://bugs.openjdk.org/browse/JDK-8259765).
func judgeZGC(t *testing.T, s site) {
	out, version := run(t, s.box.Command("taskset", "-c", s.last(), "java", "-XX:+UseZGC", "-Xlog:gc+init", "-Xint", "-Xmx32m", "-version"))
	if !strings.Contains(version, " version ") || strings.Contains(out+version, "warning") {
		t.Errorf("on CPU %s: %s%s", s.last(), out, version)
	}
	if want := fmt.Sprintf("CPUs: %d total", len(s.possible)); !strings.Contains(out, want) {
		t.Errorf("want %q in %s", want, out)
	}
}
