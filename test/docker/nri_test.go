package docker

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// Whose files a container has, by the root of their mounts.
const (
	own     = "/containers/"
	readers = "/proc/"
	none    = ""
)

// serve starts lxcfs-nri as a plugin of Docker.
func (d *docker) serve(t *testing.T) *rig.Daemon {
	t.Helper()
	l, err := rig.Serve(t.Context(), d.dir, setup.binary, "attachExisting: true\n", d.nriSocket())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, l) })
	within(t, "it is connected", func() error {
		s, err := l.Status(t.Context())
		if err == nil {
			err = s.Connected()
		}
		return err
	})
	return l
}

func stop(t *testing.T, l *rig.Daemon) {
	t.Helper()
	if err := l.Stop(); err != nil {
		t.Errorf("%v\n%s", err, l.Log())
	}
}

// sees checks what a container sees, as soon as it runs: its limit by free, and
// whose file of memory it has; all of this through what Docker mounts.
func (d *docker) sees(t *testing.T, id, want string) {
	t.Helper()
	within(t, "the container's memory", func() error {
		free, err := d.exec(t.Context(), id, "free", "-k")
		if err != nil {
			return err
		}
		mounts, err := d.exec(t.Context(), id, "cat", "/proc/self/mountinfo")
		if err != nil {
			return err
		}
		total, err := strconv.Atoi(strings.Fields(free)[7])
		if err != nil {
			return fmt.Errorf("%w in %s", err, free)
		}
		has := none
		for line := range strings.Lines(mounts) {
			f := strings.Fields(line)
			if f[4] == "/proc/meminfo" && strings.Contains(line, " - fuse.lxcfs-nri ") {
				has = f[3]
			}
		}
		if limited := total == 200<<10; limited != (want != none) || !strings.HasPrefix(has, want) || (has == none) != (want == none) {
			return fmt.Errorf("%d kB of memory, by the file %q, want that of %q\n%s", total, has, want, mounts)
		}
		return nil
	})
}

// TestNRI is a container's life with Docker, which keeps its mounts: through
// stops, and times at which lxcfs-nri does not run.
func TestNRI(t *testing.T) {
	d := newDocker(t)
	l := d.serve(t)
	ctx := t.Context()
	id := d.run(t, nil)
	d.sees(t, id, own)

	if _, err := d.ContainerRestart(ctx, id, client.ContainerRestartOptions{Timeout: new(int)}); err != nil {
		t.Fatal(err)
	}
	d.sees(t, id, own)

	stop(t, l)
	d.sees(t, id, none)
	if _, err := d.ContainerRestart(ctx, id, client.ContainerRestartOptions{Timeout: new(int)}); err != nil {
		t.Fatalf("without lxcfs-nri: %v", err)
	}
	d.sees(t, id, none)
	l = d.serve(t)
	d.sees(t, id, own)

	// The machine starts anew: what was in /run is gone.
	for _, first := range []string{"lxcfs-nri", "Docker"} {
		d.stop(t)
		stop(t, l)
		if err := os.RemoveAll(rig.RunDir(d.dir)); err != nil {
			t.Fatal(err)
		}
		if first == "Docker" {
			d.start(t)
			d.sees(t, id, none)
			l = d.serve(t)
		} else {
			// It waits for the runtime.
			var err error
			if l, err = rig.Serve(ctx, d.dir, setup.binary, "attachExisting: true\n", d.nriSocket()); err != nil {
				t.Fatal(err)
			}
			again := l
			t.Cleanup(func() { stop(t, again) })
			d.start(t)
		}
		d.sees(t, id, own)
	}

	link := filepath.Join(l.Mountpoint, view.ContainersDir, id)
	d.clear(t)
	stop(t, l)
	if _, err := os.Lstat(link); err != nil {
		t.Errorf("what a container that may start again needs is not there: %v", err)
	}
	stop(t, d.serve(t))
	if _, err := os.Lstat(link); !os.IsNotExist(err) {
		t.Errorf("a container that was removed has left %s (%v)", link, err)
	}
}

// TestAskedNotTo: by a label.
func TestAskedNotTo(t *testing.T) {
	d := newDocker(t)
	d.serve(t)
	d.sees(t, d.run(t, func(c *container.Config, _ *container.HostConfig) {
		c.Labels = map[string]string{"lxcfs.nri.io/inject": "false"}
	}), none)
}

// TestVolumes has the files mounted by docker run -v, as people do with lxcfs. Docker
// takes no two mounts of one file: by NRI, too, they are not to be had.
func TestVolumes(t *testing.T) {
	d := newDocker(t)
	l := d.serve(t)
	volumes := func(_ *container.Config, h *container.HostConfig) {
		for _, file := range view.Paths() {
			if _, err := os.Stat(filepath.Join(l.Mountpoint, file)); err == nil && !strings.HasPrefix(file, "proc/pressure/") {
				h.Binds = append(h.Binds, filepath.Join(l.Mountpoint, file)+":/"+file+":ro")
			}
		}
	}
	id := d.run(t, func(c *container.Config, h *container.HostConfig) {
		volumes(c, h)
		c.Labels = map[string]string{"lxcfs.nri.io/inject": "false"}
	})
	d.sees(t, id, readers)
	if id, err := d.create(t, volumes); err == nil || !strings.Contains(err.Error(), "Duplicate mount point") {
		t.Errorf("with both: %q, %v", id, err)
	}
	stop(t, l)
	if _, err := d.ContainerRestart(t.Context(), id, client.ContainerRestartOptions{Timeout: new(int)}); err != nil {
		t.Fatalf("without lxcfs-nri: %v", err)
	}
	d.sees(t, id, none)
	d.serve(t)
	if _, err := d.ContainerRestart(t.Context(), id, client.ContainerRestartOptions{Timeout: new(int)}); err != nil {
		t.Fatal(err)
	}
	d.sees(t, id, readers)
}

// TestManyRemoved: of containers that were removed little stays, though Docker does
// not tell of it. One that is there has its files meanwhile, and so has one that
// is created while Docker is asked for all there are.
func TestManyRemoved(t *testing.T) {
	d := newDocker(t)
	l := d.serve(t)
	const asked, after = 256, 4 // of package plugin
	id := d.run(t, nil)
	for range asked - 2 {
		created, err := d.create(t, nil)
		if err == nil {
			_, err = d.ContainerRemove(t.Context(), created, client.ContainerRemoveOptions{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	remembered := func() int {
		s, err := l.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(s.Containers)
	}
	if n := remembered(); n != asked-1 {
		t.Fatalf("%d containers are remembered before: the test shows nothing", n)
	}
	for range after {
		d.sees(t, d.run(t, nil), own)
	}
	within(t, "Docker is asked", func() error {
		if n := remembered(); n > 1+after {
			return fmt.Errorf("%d containers are remembered", n)
		}
		return nil
	})
	d.sees(t, id, own)
	d.clear(t)
	stop(t, l)
	left, err := os.ReadDir(filepath.Join(l.Mountpoint, view.ContainersDir))
	if err != nil || len(left) > 1+after {
		t.Errorf("%d links are left (%v)", len(left), err)
	}
}
