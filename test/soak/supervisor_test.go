package soak

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

// TestTwoAtOnce starts several daemons with the same folders at once. One serves,
// the others end and say why, and those who read do not notice.
func TestTwoAtOnce(t *testing.T) {
	a, b := newContainer(t, "a", 256<<20), newContainer(t, "b", 128<<20)
	dir := newFolder(t)
	known(t, dir, a, b)
	const n = 3
	var daemons [n]*rig.Daemon
	var errs [n]error
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { daemons[i], errs[i] = rig.Supervise(setup.ctx, dir, setup.binary, "", rig.NoRuntime) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil && !strings.Contains(err.Error(), "another lxcfs-nri supervise has") {
			t.Error(err)
		}
	}
	alive := func() (all []*rig.Daemon) {
		for _, d := range daemons {
			if d != nil && d.Alive() {
				all = append(all, d)
			}
		}
		return all
	}
	t.Cleanup(func() {
		for _, d := range alive() {
			if err := d.Stop(); err != nil {
				t.Error(err)
			}
		}
	})
	// They share a log: one that sees another's word of being ready may still end.
	within(t, "one of them is left", func() error {
		if n := len(alive()); n != 1 {
			return fmt.Errorf("%d run", n)
		}
		return nil
	})
	d := &daemon{alive()[0], dir}
	r := busy(t, d, a, b)
	pid := d.ready(t)
	for range 3 {
		for _, command := range []string{"supervise", "serve"} {
			out, err := exec.Command(setup.binary, command, "--mountpoint", d.Mountpoint, "--run-dir", rig.RunDir(dir), "--nri-socket", rig.NoRuntime).CombinedOutput()
			if _, ended := errors.AsType[*exec.ExitError](err); !ended || !strings.Contains(string(out), "another lxcfs-nri") {
				t.Errorf("a second %s: %v: %s", command, err, out)
			}
		}
		sendSignal(t, pid, unix.SIGKILL)
		d.next(t, pid)
		pid = d.ready(t)
	}
	memory := d.bounded(t)
	results.add(n, "daemons started at once with the same folders", r.flawless(t), memory)
}

// TestSupervisorKilled kills the supervisor: serve goes on. Who is started next
// waits for its end, and takes over the folders, if not the connection.
func TestSupervisorKilled(t *testing.T) {
	a, b := newContainer(t, "a", 256<<20), newContainer(t, "b", 128<<20)
	dir := newFolder(t)
	known(t, dir, a, b)
	first, err := rig.Supervise(setup.ctx, dir, setup.binary, "", rig.NoRuntime)
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{first, dir}
	pid := d.ready(t)
	t.Cleanup(func() { sendSignal(t, pid, unix.SIGKILL) })
	r := busy(t, d, a, b)
	if err := first.Kill(); err != nil {
		t.Fatal(err)
	}
	// Its like of before is in the way of the next one's: it is waited for.
	second := exec.Command(setup.binary, "supervise", "--config", filepath.Join(dir, "config.yaml"),
		"--mountpoint", d.Mountpoint, "--run-dir", rig.RunDir(dir), "--nri-socket", rig.NoRuntime)
	log, err := os.Create(filepath.Join(dir, "second.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	second.Stdout, second.Stderr = log, log
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		second.Process.Signal(unix.SIGTERM) //nolint:errcheck // it may have ended
		if err := second.Wait(); err != nil {
			b, _ := os.ReadFile(log.Name())
			t.Errorf("the second supervisor: %v\n%s", err, b)
		}
	})
	time.Sleep(time.Second)
	if s, err := d.Status(setup.ctx); err != nil || s.PID != pid {
		t.Errorf("%d answers (%v), want %d", s.PID, err, pid)
	}
	memory := boundedOf(t, pid)
	results.add(1, "SIGKILL of the supervisor", r.flawless(t), memory)

	sendSignal(t, pid, unix.SIGKILL)
	within(t, "the second one's serve serves", func() error {
		s, err := d.Status(setup.ctx)
		if err == nil && s.PID == pid {
			err = fmt.Errorf("%d still answers", pid)
		}
		return err
	})
	again := busy(t, d, a, b)
	time.Sleep(200 * time.Millisecond)
	again.flawless(t)
}
