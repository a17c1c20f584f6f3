package soak

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
	"github.com/lxcfs-nri/lxcfs-nri/test/box"
	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

// TestUpgrade puts another build in the place of the program, and has it started
// instead, forth and back.
func TestUpgrade(t *testing.T) {
	a, b := newContainer(t, "a", 256<<20), newContainer(t, "b", 128<<20)
	dir := newFolder(t)
	other, err := rig.BuildOther(setup.ctx, filepath.Join(dir, "other"), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "lxcfs-nri")
	install := func(build string) {
		t.Helper()
		content, err := os.ReadFile(build)
		if err == nil {
			err = os.WriteFile(program+".new", content, 0o755)
		}
		if err == nil {
			err = os.Rename(program+".new", program)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	install(setup.binary)
	known(t, dir, a, b)
	d := supervise(t, dir, program)
	r := busy(t, d, a, b)
	pid := d.ready(t)
	for i := range setup.upgrades {
		build := []string{other, setup.binary}[i%2]
		install(build)
		sendSignal(t, d.PID(), unix.SIGHUP)
		d.next(t, pid)
		pid = d.ready(t)
		s, err := d.Status(setup.ctx)
		if err != nil || (s.Version == rig.OtherVersion) != (build == other) {
			t.Fatalf("version %q serves, which is not that of %s (%v)", s.Version, build, err)
		}
	}
	memory := d.bounded(t)
	results.add(setup.upgrades, "upgrade to another build, and back", r.flawless(t), memory)
}

// TestLayouts has a daemon find memory of other layouts: it goes on in an older
// one. A newer one it refuses, says so, and gives containers files again.
func TestLayouts(t *testing.T) {
	d, _, _ := two(t)
	g := fixture.NewGroup(t)
	g.Set(t, "memory.max", "memory.limit_in_bytes", "134217728")
	b := box.New(t, g, d.Mountpoint)
	r := &readers{}
	r.start(t, b.Command, reading{Way: waySmall, Root: "/", Files: mountedFiles, Threads: 2, MemTotal: 128 << 20})
	const sizeOfVersion1 = 4096 + 64*8192 + 4096*128 + 1024*4096
	d.withMemory(t, func(memory *os.File) error {
		_, err := memory.WriteAt(binary.NativeEndian.AppendUint32(nil, 1), 8)
		return errors.Join(err, memory.Truncate(sizeOfVersion1))
	})
	d.ready(t)
	r.flawless(t)
	if strings.Contains(d.Log(), "mounted anew") {
		t.Errorf("an older layout is not taken over:\n%s", d.Log())
	}
	d.withMemory(t, func(memory *os.File) error {
		_, err := memory.WriteAt(binary.NativeEndian.AppendUint32(nil, 7), 8)
		return err
	})
	d.ready(t)
	if !strings.Contains(d.Log(), "its layout is version 7, this program knows") {
		t.Errorf("a newer layout is not refused:\n%s", d.Log())
	}
	within(t, "the container has files again", func() error {
		out, err := box.Run(b.Command("cat", "/proc/meminfo"))
		if err == nil && !strings.HasPrefix(out, "MemTotal:         131072 kB\n") {
			err = fmt.Errorf("it reads %.40q", out)
		}
		return err
	})
}

// withMemory changes what the supervisor keeps while nothing serves.
func (d *daemon) withMemory(t *testing.T, change func(*os.File) error) {
	t.Helper()
	pid := d.ready(t)
	sendSignal(t, d.PID(), unix.SIGSTOP)
	defer sendSignal(t, d.PID(), unix.SIGCONT)
	sendSignal(t, pid, unix.SIGKILL)
	within(t, "serve ends", func() error {
		if state := procStat(t, pid, 3); state != "" && state != "Z" {
			return fmt.Errorf("its state is %s", state)
		}
		return nil
	})
	fds := fmt.Sprintf("/proc/%d/fd", d.PID())
	all, err := os.ReadDir(fds)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		name := filepath.Join(fds, e.Name())
		if to, err := os.Readlink(name); err != nil || !strings.HasPrefix(to, "/memfd:lxcfs-nri") {
			continue
		}
		memory, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer memory.Close()
		if err := change(memory); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatal("the supervisor keeps no memory")
}
