package soak

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

// readers are processes that read until they are told to stop.
type readers struct {
	all     []*readerProcess
	started time.Time
	sum     *seen
}

type readerProcess struct {
	cmd *exec.Cmd
	in  io.Closer
	out *bufio.Reader
	err bytes.Buffer
}

// command makes a command that runs among a container's processes.
type command func(name string, args ...string) *exec.Cmd

// start starts a reader, and returns when each of its threads has read a text.
func (r *readers) start(t *testing.T, in command, rs ...reading) {
	t.Helper()
	arg, err := json.Marshal(rs)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &readerProcess{cmd: in(exe, readerArgument, string(arg))}
	p.cmd.Stderr = &p.err
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if r.started.IsZero() {
		r.started = time.Now()
	}
	r.all = append(r.all, p)
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			p.cmd.Process.Kill() //nolint:errcheck // ours, and waited for
			p.cmd.Wait()         //nolint:errcheck // ended by a signal
		}
	})
	if err := out.(*os.File).SetReadDeadline(time.Now().Add(rig.Limit(time.Minute))); err != nil {
		t.Fatal(err)
	}
	if line, err := p.out.ReadString('\n'); err != nil || line != readingLine {
		t.Fatalf("a reader does not begin: %q, %v: %s", line, err, &p.err)
	}
	if err := out.(*os.File).SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
}

// stop has them end, and gives what all have seen.
func (r *readers) stop(t *testing.T) seen {
	t.Helper()
	if r.sum != nil {
		return *r.sum
	}
	r.sum = &seen{Elapsed: time.Since(r.started)}
	for _, p := range r.all {
		p.in.Close()
	}
	for _, p := range r.all {
		var s seen
		told := json.NewDecoder(p.out).Decode(&s)
		if err := errors.Join(told, p.cmd.Wait()); err != nil {
			t.Errorf("a reader: %v: %s", err, &p.err)
			continue
		}
		r.sum.add(s)
	}
	r.sum.times()
	return *r.sum
}

// flawless stops them, and checks that nothing went wrong and they have read.
func (r *readers) flawless(t *testing.T) seen {
	t.Helper()
	s := r.stop(t)
	if s.Failed+s.Torn+s.Hung+s.Ended > 0 {
		t.Errorf("%d failed, %d torn, %d hung, %d of an ended container, of %d texts:\n%s",
			s.Failed, s.Torn, s.Hung, s.Ended, s.Texts, s.examples())
	}
	if s.Texts == 0 {
		t.Error("nothing was read")
	}
	return s
}

// busy are eight threads that read all the time, in all ways: four their
// container's own files, four those that go by who asks.
func busy(t *testing.T, d *daemon, a, b *container) *readers {
	t.Helper()
	r := &readers{}
	for _, c := range []struct {
		*container
		root string
	}{{a, d.root(a)}, {b, d.Mountpoint}} {
		var rs []reading
		for _, way := range []string{wayOpen, wayPread, waySmall, waySendfile} {
			rs = append(rs, reading{Way: way, Root: c.root, Threads: 1, MemTotal: c.memTotal})
		}
		r.start(t, c.Group.Command, rs...)
	}
	return r
}

// examples are some of what went wrong, what is torn first.
func (s *seen) examples() string {
	slices.SortStableFunc(s.Examples, func(a, b string) int {
		return -cmp.Compare(strings.Count(a, "torn: "), strings.Count(b, "torn: "))
	})
	return strings.Join(s.Examples[:min(len(s.Examples), 20)], "\n")
}
