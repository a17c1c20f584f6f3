package podman

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

const (
	always    = "lxcfs-nri.json"
	annotated = "lxcfs-nri-annotated.json"
)

// TestRun has containers of several kinds, by hooks of several stages.
func TestRun(t *testing.T) {
	p := newPodman(t, 0)
	d := p.serve(t)
	userns := []string{"--uidmap", "0:100000:65536"}
	var volumes []string
	for _, file := range spec() {
		volumes = append(volumes, "--volume", d.Mountpoint+"/"+file+":/"+file+":ro")
	}
	for name, c := range map[string]struct {
		stages  []string
		options []string
		want    whose
	}{
		"plain":                   {nil, nil, own},
		"read-only root":          {nil, []string{"--read-only"}, own},
		"user namespace":          {nil, userns, own},
		"left alone":              {nil, []string{"--annotation", "lxcfs.nri.io/inject=false"}, none},
		"host's PIDs":             {nil, []string{"--pid", "host"}, none},
		"host's PIDs, asked for":  {nil, []string{"--pid", "host", "--annotation", "lxcfs.nri.io/inject=true"}, own},
		"files by other means":    {nil, volumes, readers},
		"createContainer":         {[]string{"createContainer", "poststop"}, []string{"--read-only"}, own},
		"prestart":                {[]string{"prestart"}, nil, own},
		"all stages":              {[]string{"prestart", "createRuntime", "createContainer", "poststop"}, nil, own},
		"createContainer, userns": {[]string{"createContainer"}, userns, readers},
	} {
		t.Run(name, func(t *testing.T) {
			p.hook(t, always, c.stages, "--required")
			out := p.container(t, append([]string{"--rm"}, c.options...), "sh", "-c", show)
			if c.want == none {
				sees(t, out, none, 0, 0)
			} else {
				limited(t, out, c.want)
			}
			if c.want == own {
				pressure(t, out)
			}
		})
	}
	gone(t, d)
}

// gone says that the daemon has forgotten what has ended.
func gone(t *testing.T, d *rig.Daemon) {
	t.Helper()
	s, err := d.Status(t.Context())
	if err != nil || len(s.Containers) > 0 {
		t.Errorf("registered after their end: %+v, %v", s.Containers, err)
	}
}

// TestAnnotated has the hook only where a container asks for it.
func TestAnnotated(t *testing.T) {
	p := newPodman(t, 0)
	p.serve(t)
	p.hook(t, annotated, nil)
	limited(t, p.container(t, []string{"--rm", "--annotation", "lxcfs.nri.io/inject=true"}, "sh", "-c", show), own)
	sees(t, p.container(t, []string{"--rm"}, "sh", "-c", show), none, 0, 0)
}

// TestNoDaemon: containers start, unless their files are required.
func TestNoDaemon(t *testing.T) {
	p := newPodman(t, 0)
	p.hook(t, always, nil)
	sees(t, p.container(t, []string{"--rm"}, "sh", "-c", show), none, 0, 0)
	p.hook(t, always, nil, "--required")
	out, err := p.try(t, p.containerArgs([]string{"--rm"}, "true")...)
	if err == nil || !strings.Contains(err.Error(), "no daemon at "+p.Dir) {
		t.Errorf("started without the files that it requires: %s, %v", out, err)
	}
	p.hook(t, always, nil)
	// A dead one's file system answers ENOTCONN.
	d := p.serve(t)
	if err := d.Kill(); err != nil {
		t.Fatal(err)
	}
	sees(t, p.container(t, []string{"--rm"}, "sh", "-c", show), none, 0, 0)
}

// TestRestart: a container that is started again has its files again, by the
// same daemon and by another one.
func TestRestart(t *testing.T) {
	p := newPodman(t, 0)
	d := p.serve(t)
	p.hook(t, always, nil)
	id := strings.TrimSpace(p.container(t, []string{"--detach", "--name", "one"}, "sleep", "infinity"))
	check := func(want whose) {
		t.Helper()
		out := p.run(t, "exec", "one", "sh", "-c", show)
		if want == none {
			sees(t, out, none, 0, 0)
		} else {
			limited(t, out, want)
		}
	}
	pid := func() int {
		t.Helper()
		s, err := d.Status(t.Context())
		c, ok := s.Container(id)
		if err != nil || !ok || c.MemTotal != 200<<20 || c.CPUs != 1 {
			t.Fatalf("status of %s: %+v, %v", id, c, err)
		}
		if got := strings.TrimSpace(p.run(t, "inspect", "--format", "{{.State.Pid}}", "one")); got != fmt.Sprint(c.PID) {
			t.Errorf("pid %d, podman says %s", c.PID, got)
		}
		return c.PID
	}
	check(own)
	before := pid()
	p.run(t, "restart", "--time", "0", "one")
	check(own)
	if pid() == before {
		t.Error("the restarted container is known by its former process")
	}
	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}
	check(none)
	d = p.serve(t)
	p.run(t, "restart", "--time", "0", "one")
	check(own)
	if err := d.Kill(); err != nil {
		t.Fatal(err)
	}
	d = p.serve(t) // and heals
	check(own)
	p.run(t, "restart", "--time", "0", "one")
	check(own)
	pid()
	p.run(t, "rm", "--force", "--time", "0", "one")
	gone(t, d)
}

// TestRestartPolicy has podman itself start a container again.
func TestRestartPolicy(t *testing.T) {
	p := newPodman(t, 0)
	d := p.serve(t)
	p.hook(t, always, nil)
	p.container(t, []string{"--detach", "--name", "one", "--restart", "on-failure:1"}, "sh", "-c", "[ -e /tmp/again ] && exec sleep infinity; >/tmp/again; exit 1")
	err := rig.Poll(t.Context(), longest, func() error {
		out, err := p.try(t, "inspect", "--format", "{{.RestartCount}} {{.State.Status}}", "one")
		if err == nil && strings.TrimSpace(out) != "1 running" {
			err = fmt.Errorf("restarts and state: %s", out)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	limited(t, p.run(t, "exec", "one", "sh", "-c", show), own)
	p.run(t, "rm", "--force", "--time", "0", "one")
	gone(t, d)
}

// TestRootless has an ordinary user's podman, which may not ask the daemon.
func TestRootless(t *testing.T) {
	const nobody = 65534
	p := newPodman(t, nobody)
	p.serve(t)
	p.load(t)
	p.group.Set(t, "memory.max", "memory.limit_in_bytes", fmt.Sprint(150<<20))
	p.group.Set(t, "cpu.max", "cpu.cfs_quota_us", "100000")
	for _, stage := range []string{"createRuntime", "createContainer"} {
		p.hook(t, always, []string{stage, "poststop"}, "--required")
		sees(t, p.container(t, []string{"--rm"}, "sh", "-c", show), readers, 150<<10, 1)
		sees(t, p.container(t, []string{"--rm", "--annotation", "lxcfs.nri.io/inject=false"}, "sh", "-c", show), none, 0, 0)
	}
}
