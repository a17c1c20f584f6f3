package soak

import (
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

// two starts a daemon and two containers that have it.
func two(t *testing.T) (d *daemon, a, b *container) {
	t.Helper()
	a, b = newContainer(t, "a", 256<<20), newContainer(t, "b", 128<<20)
	return supervised(t, newFolder(t), a, b), a, b
}

// startTime is how long serve takes to be ready on this machine as busy as it is.
func (d *daemon) startTime(t *testing.T) time.Duration {
	t.Helper()
	before := d.ready(t)
	sendSignal(t, before, unix.SIGKILL)
	begin := time.Now()
	for pid := before; pid == before; {
		s, err := d.Status(setup.ctx)
		if err == nil {
			pid = s.PID
		}
		if time.Since(begin) > rig.Limit(startLimit) {
			t.Fatalf("serve is not there again: %v", err)
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(begin)
}

// anyMoment waits for as long as makes a process that has just been started be
// in any state of its start, or serve already for up to 200 ms.
func anyMoment(start time.Duration) {
	if rand.IntN(2) == 0 {
		time.Sleep(rand.N(start))
	} else {
		time.Sleep(start + rand.N(200*time.Millisecond))
	}
}

// TestKills has the daemon killed again and again under busy readers.
func TestKills(t *testing.T) {
	d, a, b := two(t)
	r := busy(t, d, a, b)
	start := d.startTime(t)
	pid := d.ready(t)
	for range setup.kills {
		anyMoment(start)
		sendSignal(t, pid, unix.SIGKILL)
		pid = d.next(t, pid)
	}
	d.bounded(t)
	s := r.flawless(t)
	results.add(setup.kills, "SIGKILL of the daemon, at any moment of its start or after it", s, d.bounded(t))
}

// TestStopped stops the daemon in the middle of whatever it does, and has it go
// on, or killed: reads wait.
func TestStopped(t *testing.T) {
	d, a, b := two(t)
	r := busy(t, d, a, b)
	for i := range setup.stops {
		pid := d.ready(t)
		time.Sleep(rand.N(50 * time.Millisecond))
		sendSignal(t, pid, unix.SIGSTOP)
		time.Sleep(rand.N(300 * time.Millisecond))
		if i%2 == 0 {
			sendSignal(t, pid, unix.SIGKILL)
			d.next(t, pid)
		} else {
			sendSignal(t, pid, unix.SIGCONT)
		}
	}
	memory := d.bounded(t)
	results.add(setup.stops, "SIGSTOP for up to 0.3 s, then SIGCONT or SIGKILL", r.flawless(t), memory)
}
