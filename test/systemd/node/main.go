// Command node is a container runtime with three containers, which tells of two
// of them by NRI: one of them has a user namespace, and the third has files that
// are resolved by who reads them. In each a reader counts.
//
//	node MOUNTPOINT [LABEL]
//
// With a label, a process label of SELinux without categories, each container's
// processes have it, with categories of its own.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"

	"github.com/lxcfs-nri/lxcfs-nri/test/systemd"
)

const (
	cgroups = "/sys/fs/cgroup"
	// patience is how long a plugin may take to come.
	patience = 2 * time.Minute
)

var pod = &api.PodSandbox{Id: "pod-0123456789", Name: "web-0", Namespace: "shop", Linux: &api.LinuxPodSandbox{}}

func main() {
	var err error
	switch args := os.Args[1:]; {
	case len(args) > 3 && args[0] == "inside":
		err = inside(args[1], args[2], args[3], args[4:])
	case len(args) == 3 && args[0] == "read":
		var limit int
		if limit, err = strconv.Atoi(args[2]); err == nil {
			err = read(args[1], limit)
		}
	case len(args) == 1:
		err = run(context.Background(), args[0], "")
	case len(args) == 2:
		err = run(context.Background(), args[0], args[1])
	default:
		err = errors.New("usage: node MOUNTPOINT [LABEL]")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		os.Exit(1)
	}
}

// node is the runtime.
type node struct {
	mountpoint string
	cgroup     string // folder of its containers' groups
	runtime    *adaptation.Adaptation

	mu         sync.Mutex
	containers []*api.Container
}

func (n *node) add(c *api.Container) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.containers = append(n.containers, c)
}

func (n *node) list() []*api.Container {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.containers)
}

// run starts the containers once there is a plugin, says so by a file, and
// stays.
func run(ctx context.Context, mountpoint, label string) error {
	n := &node{mountpoint: mountpoint}
	if err := n.delegated(); err != nil {
		return err
	}
	if err := os.MkdirAll(systemd.Dir, 0o777); err != nil {
		return err
	}
	if err := os.Chmod(systemd.Dir, 0o777); err != nil { // for the user namespace's root
		return err
	}
	if err := n.listen(); err != nil {
		return err
	}
	for i, c := range []*container{
		{name: "plain", limit: 100 << 10},
		{name: "users", limit: 110 << 10, users: true},
		{name: "volumes", limit: 120 << 10, volumes: true},
	} {
		if label != "" {
			c.label = fmt.Sprintf("%s:c%d,c%d", label, 2*i, 2*i+1)
		}
		if err := n.create(ctx, c); err != nil {
			return fmt.Errorf("container %s: %w", c.name, err)
		}
	}
	if err := os.WriteFile(filepath.Join(systemd.Dir, "up"), nil, 0o644); err != nil {
		return err
	}
	select {}
}

// delegated moves this process out of the way in the group that systemd has
// given to it, so that there can be groups below.
func (n *node) delegated() error {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return err
	}
	n.cgroup = cgroups + strings.TrimSpace(strings.TrimPrefix(string(b), "0::"))
	self := filepath.Join(n.cgroup, "self")
	if err := os.Mkdir(self, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(self, "cgroup.procs"), []byte("0"), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(n.cgroup, "cgroup.subtree_control"), []byte("+memory"), 0o644)
}

// listen lets plugins come.
func (n *node) listen() error {
	sync := func(ctx context.Context, tell adaptation.SyncCB) error {
		_, err := tell(ctx, []*api.PodSandbox{pod}, n.list())
		return err
	}
	update := func(context.Context, []*api.ContainerUpdate) ([]*api.ContainerUpdate, error) { return nil, nil }
	var err error
	n.runtime, err = adaptation.New("node", "1", sync, update,
		adaptation.WithSocketPath("/var/run/nri/nri.sock"), adaptation.WithPluginPath("/nonexistent"), adaptation.WithPluginConfigPath("/nonexistent"))
	if err == nil {
		err = n.runtime.Start()
	}
	if err != nil {
		return fmt.Errorf("listen for plugins: %w", err)
	}
	return nil
}
