package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

var migrations = flag.Int("migrations", 10000, "`number` of forced migrations after which getcpu(2) is asked")

// migrated is what a C library says of the CPUs when a program starts, and the
// highest CPU numbers that the kernel reported after forced migrations.
type migrated struct {
	configured, online, directories int
	allowed                         int // in the affinity mask
	highest, rseq                   int
}

func parseMigrated(line string) (m migrated, err error) {
	_, err = fmt.Sscanf(line, "configured %d online %d directories %d may %d highest %d rseq %d",
		&m.configured, &m.online, &m.directories, &m.allowed, &m.highest, &m.rseq)
	if err != nil {
		err = fmt.Errorf("line %q: %w", line, err)
	}
	return m, err
}

// migrate runs one of the programs that move from CPU to CPU.
func (s site) migrate(t *testing.T, program string, times int) migrated {
	t.Helper()
	cmd := s.box.Command(s.program(program))
	cmd.Stdin = strings.NewReader(fmt.Sprintln(times))
	out, _ := run(t, cmd)
	m, err := parseMigrated(out)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// fits checks that an array with an element for each configured CPU has one for each
// CPU that was reported, as glibc counts them today and did before 2.35.
func (m migrated) fits(t *testing.T) {
	t.Helper()
	if m.highest >= m.configured || m.rseq >= m.configured || m.highest >= m.directories {
		t.Errorf("CPU %d by getcpu(2) and %d by rseq, with %d CPUs configured and %d directories", m.highest, m.rseq, m.configured, m.directories)
	}
}

func judgeGlibc(t *testing.T, s site) {
	m := s.migrate(t, "getcpu", *migrations)
	m.fits(t)
	if last := slices.Max(s.allowed); m.highest != last || m.rseq != last {
		t.Errorf("was on CPU %d, by rseq %d, at most, want %d", m.highest, m.rseq, last)
	}
	if m.configured != len(s.possible) || m.online != len(s.online) {
		t.Errorf("%d CPUs configured, %d online, want %d and %d", m.configured, m.online, len(s.possible), len(s.online))
	}
}

// judgeMusl: it counts the affinity mask whatever it is asked for, so that numbers
// fit only if the mask has no holes. No file changes that.
func judgeMusl(t *testing.T, s site) {
	m := s.migrate(t, "getcpu-musl", min(*migrations, 100))
	if n := len(s.allowed); m.configured != n || m.online != n || m.allowed != n {
		t.Errorf("got %+v, want %d CPUs", m, n)
	}
	if contiguous := slices.Max(s.allowed) == len(s.allowed)-1; contiguous || m.highest < m.configured {
		m.fits(t)
	}
}

// resident is a program that lives on while the limits change.
type resident struct {
	in  io.Writer
	out *bufio.Reader
}

func startResident(t *testing.T, s site) resident {
	t.Helper()
	cmd := s.box.Command(s.program("getcpu"))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the program that lives on: %v", err)
		}
	})
	return resident{in, bufio.NewReader(out)}
}

// migrate has it begin to move from CPU to CPU.
func (r resident) migrate(t *testing.T) {
	t.Helper()
	if _, err := fmt.Fprintln(r.in, *migrations/10); err != nil {
		t.Fatal(err)
	}
}

// migrated waits until it has moved, and returns what it has found.
func (r resident) migrated(t *testing.T) migrated {
	t.Helper()
	line, err := r.out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	m, err := parseMigrated(line)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
