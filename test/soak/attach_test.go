package soak

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/hook"
	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
	"github.com/lxcfs-nri/lxcfs-nri/test/box"
	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

// tellOf asks a daemon for the files of a container that is being created, as a
// hook does. Every id is new to it: it is asked for each file by the kernel.
func tellOf(ctx context.Context, dir string, req hook.Request) error {
	body, err := json.Marshal(req)
	if err != nil {
		return err
	}
	client := http.Client{Timeout: rig.Limit(20 * time.Second), Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(rig.RunDir(dir), "control.sock"))
		},
	}}
	defer client.CloseIdleConnections()
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://daemon/v1/hook", bytes.NewReader(body))
	if err != nil {
		return err
	}
	res, err := client.Do(post)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var a hook.Answer
	if err := json.NewDecoder(res.Body).Decode(&a); err != nil {
		return err
	}
	if a.Error != "" {
		return fmt.Errorf("the daemon: %s", a.Error)
	}
	return nil
}

// mountedBelow lists where files of ours are mounted below a container's directory.
func mountedBelow(t *testing.T, b *box.Box, dir string) (targets []string) {
	t.Helper()
	for line := range strings.Lines(b.Output(t, "cat", "/proc/self/mountinfo")) {
		fields := strings.Fields(line)
		below, ok := strings.CutPrefix(fields[4], dir)
		if ok && (strings.Contains(line, " - fuse.lxcfs-nri ") || strings.HasSuffix(fields[3], ".pressure")) {
			targets = append(targets, below)
		}
	}
	return targets
}

// TestKilledWhileAttaching kills the daemon while it gives a container its files,
// for which it asks itself. It ends nevertheless, the next one goes on, and the
// container has each file once.
func TestKilledWhileAttaching(t *testing.T) {
	d, a, b := two(t)
	r := busy(t, d, a, b)
	g := fixture.NewGroup(t)
	g.Set(t, "memory.max", "memory.limit_in_bytes", "134217728")
	in := box.New(t, g, d.Mountpoint, "none")
	root := t.TempDir()
	in.Output(t, "mount", "-t", "tmpfs", "roots", root)
	create := func(i int) (hook.Request, string) {
		rootfs := fmt.Sprintf("%s/%d", root, i)
		in.Output(t, "sh", "-euc", `mkdir -p "$1/proc" "$1/sys"; mount -t proc proc "$1/proc"; mount --rbind /sys "$1/sys"; mount --make-rprivate "$1/sys"`, "sh", rootfs)
		return hook.Request{ID: fmt.Sprint("created-", i), PID: in.PID, Rootfs: rootfs}, rootfs
	}
	calm, rootfs := create(0)
	begin := time.Now()
	if err := tellOf(setup.ctx, d.dir, calm); err != nil {
		t.Fatal(err)
	}
	takes := time.Since(begin)
	want := mountedBelow(t, in, rootfs)
	if len(want) < 10 {
		t.Fatalf("without a kill only these are mounted: %v", want)
	}
	for i := range setup.attaches {
		req, rootfs := create(i + 1)
		pid := d.ready(t)
		answered := make(chan bool)
		go func() {
			defer close(answered)
			tellOf(setup.ctx, d.dir, req) //nolint:errcheck // who is killed does not answer
		}()
		time.Sleep(rand.N(takes))
		sendSignal(t, pid, unix.SIGKILL)
		d.next(t, pid)
		<-answered
		d.ready(t)
		if err := tellOf(setup.ctx, d.dir, req); err != nil {
			t.Fatal(err)
		}
		if got := mountedBelow(t, in, rootfs); strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("mounted after the kill:\n%v, want\n%v", got, want)
		}
		if got := in.Output(t, "head", "-1", rootfs+"/proc/meminfo"); strings.Fields(got)[1] != "131072" {
			t.Errorf("got %q, want the limit", got)
		}
	}
	memory := d.bounded(t)
	results.add(setup.attaches, "SIGKILL while it gives a container its files; the reads of others", r.flawless(t), memory)
}
