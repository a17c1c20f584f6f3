package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"
)

var hotplug = flag.Bool("hotplug", false, "take CPUs off-line and bring them back: only for a virtual machine, of four")

// machine is the one that the tests run on.
type machine struct{ possible, present []int }

// newMachine brings all CPUs on-line if the machine may be changed, and restores
// what was at the end of the test.
func newMachine(t *testing.T) machine {
	t.Helper()
	m := machine{possible: cpuNumbers(t, "possible"), present: cpuNumbers(t, "present")}
	before, needed := m.online(t), 2
	if *hotplug {
		needed = 4
		t.Cleanup(func() {
			for _, c := range m.present {
				m.set(t, c, slices.Contains(before, c))
			}
		})
		m.takeOff(t, 0)
	}
	if n := len(m.online(t)); n < needed {
		t.Fatalf("this machine has %d CPUs on-line, the test needs %d", n, needed)
	}
	return m
}

// online returns the CPUs that are on-line.
func (m machine) online(t testing.TB) []int { return cpuNumbers(t, "online") }

// takeOff takes one CPU off-line, 0 for none, and brings all others on-line.
func (m machine) takeOff(t testing.TB, off int) {
	t.Helper()
	if !*hotplug {
		if off > 0 {
			t.Fatal("the machine's CPUs stay as they are without -hotplug")
		}
		return
	}
	for _, c := range m.present {
		m.set(t, c, c == 0 || c != off)
	}
}

func (m machine) set(t testing.TB, cpu int, on bool) {
	t.Helper()
	if slices.Contains(m.online(t), cpu) == on {
		return
	}
	value := "0"
	if on {
		value = "1"
	}
	if err := os.WriteFile(fmt.Sprintf("/%s/cpu%d/online", cpuDir, cpu), []byte(value), 0); err != nil {
		t.Fatal(err)
	}
}

// cpuNumbers reads one of the machine's lists of CPUs.
func cpuNumbers(t testing.TB, name string) []int {
	t.Helper()
	set, err := parseList(readFile(t, "/"+cpuDir+"/"+name))
	if err != nil {
		t.Fatal(err)
	}
	return set
}
