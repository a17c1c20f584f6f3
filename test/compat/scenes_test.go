package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
	"github.com/lxcfs-nri/lxcfs-nri/test/box"
)

// scene is a container with something going on in it.
type scene struct {
	box *box.Box
	watch
}

func newScene(t *testing.T, m machine, limit int) *scene {
	g := fixture.NewGroup(t)
	g.Set(t, "memory.max", "memory.limit_in_bytes", strconv.Itoa(limit*mib))
	return &scene{watch: watch{machine: m, limit: float64(limit), quota: m.cpus, cpus: m.cpus, affinity: m.cpus}, box: &box.Box{Group: g}}
}

// begin starts the container, and its work if there is any.
func (s *scene) begin(t *testing.T, args ...string) {
	s.box = box.New(t, s.box.Group, daemon.Mountpoint)
	f, err := processStat(s.box.PID)
	if err != nil {
		t.Fatal(err)
	}
	s.born = f[22] / 100
	if len(args) == 0 {
		return
	}
	cmd := s.box.Command(self, append([]string{workArgument}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.box.Output(t, "sh", "-c", "kill -9 -1") // all of the container but its init
		cmd.Wait()                                //nolint:errcheck // ended by a signal
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "done\n" {
		t.Fatalf("the work did not begin: %q, %v", line, err)
	}
}

// processStat gives the numbers of /proc/<pid>/stat, in ticks where they are
// times, under those that proc(5) counts them by.
func processStat(pid int) (f [23]float64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return f, err
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	for i, word := range strings.Fields(rest)[:20] {
		if i == 0 {
			continue // the state, a letter
		}
		x, e := strconv.ParseFloat(word, 64)
		f[i+3] = x
		err = errors.Join(err, e)
	}
	return f, err
}

// working finds the process of the work, which is not the one that was started:
// that one entered the container.
func (s *scene) working(t *testing.T) int {
	b, err := os.ReadFile(s.box.Group.File("cgroup.procs"))
	if err != nil {
		t.Fatal(err)
	}
	for pid := range strings.FieldsSeq(string(b)) {
		cmdline, err := os.ReadFile("/proc/" + pid + "/cmdline")
		if err == nil && strings.HasPrefix(string(cmdline), self+"\x00"+workArgument) {
			n, err := strconv.Atoi(pid)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no process of the work is in the container's group")
	return 0
}

// newQuota has one CPU of time and a third of that used, memory in use, and has
// written to the disk.
func newQuota(t *testing.T, m machine) *scene {
	s := newScene(t, m, 256)
	g := s.box.Group
	g.Set(t, "cpu.max", "cpu.cfs_quota_us", "100000")
	s.quota, s.cpus = 1, 1
	const swap = 64
	if g.File("memory.swap.max") != "" {
		g.Set(t, "memory.swap.max", "", strconv.Itoa(swap*mib))
		s.swap = min(swap, m.swap)
	} else if g.File("memory.memsw.limit_in_bytes") != "" {
		g.Set(t, "", "memory.memsw.limit_in_bytes", strconv.Itoa((256+swap)*mib))
		s.swap = min(swap, m.swap)
	}
	if g.File("io.stat") == "" {
		// v1 kernels of late count only where a throttle is set.
		g.Set(t, "", "blkio.throttle.write_bps_device", m.diskNumber+" 1099511627776")
	}
	s.begin(t, "use", filepath.Join(t.TempDir(), "file"))
	s.worker = s.working(t)
	return s
}

func newCPUSet(t *testing.T, m machine) *scene {
	s := newScene(t, m, 256)
	s.box.Group.Set(t, "cpuset.cpus", "cpuset.cpus", fmt.Sprint(m.cpus-1))
	s.cpus, s.affinity = 1, 1
	s.begin(t)
	return s
}

// newLoad has three tasks that wait.
func newLoad(t *testing.T, m machine) *scene {
	s := newScene(t, m, 256)
	s.waiting = 3
	s.begin(t, "wait", "3")
	// Averages begin with the first reading.
	s.box.Output(t, "cat", "/proc/loadavg")
	return s
}
