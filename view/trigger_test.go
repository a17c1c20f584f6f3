package view

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
)

// TestTriggerFile: a trigger is for the pressure that the file shows.
func TestTriggerFile(t *testing.T) {
	f := pressureFile("memory", hostPressureMemory)
	for name, own := range map[string]bool{"v2-limited": true, "v1-limited": false, "v2-unlimited": true} {
		c := fixture.Load(t, "../cgroup/testdata/"+name+".txtar")
		host := filepath.Join(c.Root, "proc/pressure/memory")
		write(t, host, nil)
		v := open(t, c, Options{})
		g, err := v.cgroup()
		if err != nil {
			t.Fatal(err)
		}
		want, want0 := host, host
		if own {
			want = filepath.Join(c.Root, "sys/fs/cgroup", g.Path(), "memory.pressure")
			write(t, want, nil)
		}
		if name == "v2-limited" {
			want0 = want // of a reader in that group
		}
		if got, err := v.TriggerFile(&f); got != want || err != nil {
			t.Errorf("%s: got %s, %v, want %s", name, got, err, want)
		}
		reader := &View{host: v.host, fs: v.fs, log: v.log, container: v.container}
		if got, err := reader.TriggerFile(&f); got != want0 || err != nil {
			t.Errorf("%s, a reader: got %s, %v, want %s", name, got, err, want0)
		}
		v.ended.Store(true)
		if _, err := v.TriggerFile(&f); !errors.Is(err, ErrGone) {
			t.Errorf("%s: of a container that ended: %v", name, err)
		}
	}
}

// TestGroupFileTakesTriggers: a container in a cgroup namespace of its own can't write
// to its group's file where namespaces are boundaries.
func TestGroupFileTakesTriggers(t *testing.T) {
	f := pressureFile("memory", hostPressureMemory)
	for options, want := range map[string]bool{"rw": true, "rw,nsdelegate": false} {
		c := fixture.Load(t, "../cgroup/testdata/v2-limited.txtar")
		table := filepath.Join(c.Root, "proc/self/mountinfo")
		b, err := os.ReadFile(table)
		if err != nil {
			t.Fatal(err)
		}
		before, _, _ := strings.Cut(string(b), " cgroup2 ")
		write(t, table, fmt.Appendf(nil, "%s cgroup2 cgroup2 %s\n", before, options))
		for pid, ns := range map[string]string{"self": "cgroup:[1]", fmt.Sprint(c.PID): "cgroup:[2]"} {
			write(t, filepath.Join(c.Root, "proc", pid, "ns/mnt"), nil)
			if err := os.Symlink(ns, filepath.Join(c.Root, "proc", pid, "ns/cgroup")); err != nil {
				t.Fatal(err)
			}
		}
		v := open(t, c, Options{})
		g, err := v.cgroup()
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(c.Root, "sys/fs/cgroup", g.Path(), "memory.pressure"), nil)
		if _, got, err := v.GroupFile(&f); got != want || err != nil {
			t.Errorf("%s: got %v, %v, want %v", options, got, err, want)
		}
	}
}

// TestOpenTrigger: the kernel judges a trigger by the capabilities of the process
// that it is for, and the daemon keeps its own.
func TestOpenTrigger(t *testing.T) {
	const file = "/proc/pressure/cpu"
	host := NewHost("/")
	r := &Registry{host: host}
	before := host.hasResource(uint32(os.Getpid()))
	privileged, err := r.MayTrigger(&File{host: hostPressureCPU}, uint32(os.Getpid()))
	everybody := !errors.Is(err, unix.EPERM)
	if err == nil && privileged != before {
		t.Errorf("privileged: %v, want %v", privileged, before)
	} else if err != nil && (everybody || before) {
		t.Errorf("opening %s: %v", file, err)
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for text, want := range map[string]error{"some 1000 1999999\x00": unix.EINVAL, "some 1000 2000000\x00": nil, "x": unix.EINVAL} {
				fd, err := OpenTrigger(file, []byte(text), false)
				if err == nil {
					unix.Close(fd) //nolint:errcheck // the trigger goes with it
				}
				// Before Linux 6.4 nobody may without the capability.
				if !errors.Is(err, want) && !errors.Is(err, unix.EPERM) {
					t.Errorf("%q: got %v, want %v", text, err, want)
				}
			}
			fd, err := OpenTrigger(file, []byte("some 1000 1999999\x00"), true)
			if err == nil {
				unix.Close(fd) //nolint:errcheck // the trigger goes with it
			}
			if before != (err == nil) {
				t.Errorf("with the daemon's own capabilities: %v", err)
			}
		})
	}
	all.Wait()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		b, err := os.ReadFile("/proc/self/task/" + task.Name() + "/status")
		if err == nil && (effective(b)&(1<<unix.CAP_SYS_RESOURCE) != 0) != before {
			t.Errorf("thread %s has other capabilities than before", task.Name())
		}
	}
}

// TestEffective: what can't be understood is no capability.
func TestEffective(t *testing.T) {
	for status, want := range map[string]uint64{
		"Name:\tsh\nCapPrm:\t0000000000000001\nCapEff:\t0000000001000000\nCapBnd:\t000001ffffffffff\n": 1 << 24,
		"Name:\tCapEff: 1\nCapEff:\t000001ffffffffff\n":                                                1<<41 - 1,
		"CapEff:\tff": 255,
		"CapEff:\t\n": 0,
		"CapEff:\tx":  0,
		"":            0,
	} {
		if got := effective([]byte(status)); got != want {
			t.Errorf("%q: got %x, want %x", status, got, want)
		}
	}
}

func FuzzEffective(f *testing.F) {
	f.Add([]byte("Name:\tsh\n"), uint64(1<<24), []byte("CapBnd:\t0\n"))
	f.Fuzz(func(t *testing.T, before []byte, caps uint64, after []byte) {
		if strings.Contains("\n"+string(before), "\nCapEff:") {
			return
		}
		if got := effective(fmt.Appendf(nil, "%s\nCapEff:\t%016x\n%s", before, caps, after)); got != caps {
			t.Errorf("got %x, want %x", got, caps)
		}
	})
}
