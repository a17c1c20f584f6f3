package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
	"github.com/lxcfs-nri/lxcfs-nri/test/box"
	"github.com/lxcfs-nri/lxcfs-nri/test/percpu"
	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

// limits are those of a container, and the CPU of the machine that is off-line.
type limits struct {
	cpuset string // "": all CPUs
	quota  int    // in percent of one CPU; 0: none
	off    int    // 0: none, since CPU 0 can't be taken off-line everywhere
}

func (l limits) String() string {
	var parts []string
	if l.cpuset != "" {
		parts = append(parts, "cpuset "+l.cpuset)
	}
	if l.quota > 0 {
		parts = append(parts, fmt.Sprintf("quota %d", l.quota))
	}
	if l.off > 0 {
		parts = append(parts, fmt.Sprintf("CPU %d off-line", l.off))
	}
	if parts == nil {
		return "no limit"
	}
	return strings.Join(parts, " ")
}

// cpuCase is a container whose limits change while it runs.
type cpuCase struct {
	name  string
	steps []limits
}

// casesOfTwo are for every machine: it has at least two CPUs.
var casesOfTwo = []cpuCase{
	{"none", []limits{{}, {quota: 100}, {}}},
	{"quota", []limits{{quota: 100}, {quota: 150}, {quota: 50}}},
	{"cpuset with CPU 0", []limits{{cpuset: "0"}, {cpuset: "0-1"}, {cpuset: "0"}}},
	{"cpuset without CPU 0", []limits{{cpuset: "1"}, {cpuset: "0"}, {cpuset: "1"}}},
	{"both", []limits{{cpuset: "0-1", quota: 100}, {cpuset: "1", quota: 100}, {cpuset: "1", quota: 200}}},
}

// casesOfFour are for a machine with four CPUs that can be taken off-line.
var casesOfFour = []cpuCase{
	{"quota", []limits{{}, {quota: 300}, {quota: 100}, {}}},
	{"cpuset", []limits{{cpuset: "0-1"}, {cpuset: "2-3"}, {cpuset: "1,3"}}},
	{"both", []limits{{cpuset: "1-3", quota: 200}, {cpuset: "0,2-3", quota: 150}}},
	{"off-line", []limits{{off: 2}, {quota: 300, off: 2}, {cpuset: "1-3", off: 2}, {cpuset: "1-3"}}},
}

// linuxOfTwo and linuxOfFour are for the kernel's own files.
var (
	linuxOfTwo  = cpuCase{"Linux", []limits{{}, {cpuset: "1"}, {cpuset: "0-1", quota: 100}}}
	linuxOfFour = cpuCase{"Linux", []limits{{cpuset: "1,3"}, {off: 2}}}
)

// setting is where cases run.
type setting struct {
	machine
	programs   string // folder of the C programs
	mountpoint string // of the product; "": containers have the kernel's own files
}

// TestCPUNumbers runs programs that use CPU numbers where the kernel's own files
// are, then in containers: whatever their limits are, and change to, no program may
// meet a CPU number that does not fit what the files show of the CPUs.
func TestCPUNumbers(t *testing.T) {
	programs, err := percpu.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	linux, cases := linuxOfTwo, casesOfTwo
	if *hotplug {
		linux, cases = linuxOfFour, casesOfFour
	}
	s := setting{machine: newMachine(t), programs: programs}
	linux.run(t, s)
	s.mountpoint = serve(t)
	for _, c := range cases {
		c.run(t, s)
	}
}

// run has all programs run at each step of a case. One of them lives from the first
// step to the last, and asks for its CPU while the limits change.
func (c cpuCase) run(t *testing.T, where setting) {
	t.Run(c.name, func(t *testing.T) {
		g := fixture.NewGroup(t)
		c.steps[0].set(t, where.machine, g)
		s := where.start(t, g)
		resident := startResident(t, s)
		for i, l := range c.steps {
			if i > 0 {
				resident.migrate(t)
				l.set(t, where.machine, g)
				resident.migrated(t).fits(t)
			}
			s.allowed = l.allowed(t, where.machine)
			s.online = where.shown(t, l, s.allowed)
			s.settle(t)
			t.Run(fmt.Sprintf("%d %s", i+1, l), s.judge)
		}
	})
}

// judge runs all programs.
func (s site) judge(t *testing.T) {
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("CPUs %v are possible, %v should be on-line, %v are in the affinity mask", s.possible, s.online, s.allowed)
		}
	})
	for _, j := range judges {
		t.Run(j.name, func(t *testing.T) {
			t.Parallel()
			j.judge(t, s)
		})
	}
}

// start starts a container.
func (s setting) start(t *testing.T, g *fixture.Group) site {
	t.Helper()
	at := site{programs: s.programs, possible: s.possible}
	if s.mountpoint == "" {
		at.box = box.Bare(t, g)
	} else {
		at.box = box.New(t, g, s.mountpoint)
	}
	return at
}

// shown returns the CPUs that are on-line in a container: with the product the first
// of those that it can use, as many as its quota fills.
func (s setting) shown(t *testing.T, l limits, allowed []int) []int {
	t.Helper()
	switch {
	case s.mountpoint == "":
		return s.online(t)
	case l.quota == 0:
		return allowed
	}
	return allowed[:min(len(allowed), (l.quota+99)/100)]
}

// set gives the group these limits.
func (l limits) set(t *testing.T, m machine, g *fixture.Group) {
	t.Helper()
	m.takeOff(t, l.off)
	if cpuset := l.cpuset; cpuset != "" {
		g.Set(t, "cpuset.cpus", "cpuset.cpus", cpuset)
	} else if strings.TrimSpace(readFile(t, g.File("cpuset.cpus"))) != "" {
		// A cpuset with processes takes no empty list.
		g.Set(t, "cpuset.cpus", "cpuset.cpus", readFile(t, "/"+cpuDir+"/online"))
	}
	switch {
	case l.quota > 0:
		g.Set(t, "cpu.max", "cpu.cfs_quota_us", fmt.Sprint(l.quota*1000))
	case g.File("cpu.max") != "":
		g.Set(t, "cpu.max", "", "max")
	default:
		g.Set(t, "", "cpu.cfs_quota_us", "-1")
	}
}

// allowed returns the CPUs that the group's processes can use.
func (l limits) allowed(t *testing.T, m machine) []int {
	t.Helper()
	online := m.online(t)
	if l.cpuset == "" {
		return online
	}
	set, err := parseList(l.cpuset)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(set, func(c int) bool { return !slices.Contains(online, c) })
}

// settle waits until a change of limits shows.
func (s site) settle(t *testing.T) {
	t.Helper()
	err := rig.Poll(t.Context(), 5*time.Second, func() error {
		set, err := parseList(s.box.Output(t, "cat", "/"+cpuDir+"/online"))
		if err == nil && !slices.Equal(set, s.online) {
			err = fmt.Errorf("CPUs %v are on-line in the container, want %v", set, s.online)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func readFile(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
