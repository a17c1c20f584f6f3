package rig

import (
	"context"
	"encoding/json"
	"fmt"
)

// Status is what lxcfs-nri status --json prints.
type Status struct {
	Version    string            `json:"version"`
	Mountpoint string            `json:"mountpoint"`
	Pid        int               `json:"pid"`
	Runtimes   []StatusRuntime   `json:"runtimes"`
	Containers []StatusContainer `json:"containers"`
}

// StatusRuntime is a runtime that the daemon is, or was, connected to.
type StatusRuntime struct {
	Name      string `json:"name"`
	Version   string `json:"version"`
	Connected bool   `json:"connected"`
	Socket    string `json:"socket"`
}

// StatusContainer is a container that the daemon knows.
type StatusContainer struct {
	ID        string `json:"id"`
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	Name      string `json:"name"`
	Pid       int    `json:"pid"`
	Cgroup    string `json:"cgroup"`
	// MemoryLimit is in bytes, 0 for none.
	MemoryLimit int64 `json:"memoryLimit"`
	// MemTotal is what the container is shown, in bytes.
	MemTotal int64 `json:"memTotal"`
	// CPUs is the number that the container is shown.
	CPUs int `json:"cpus"`
	// Governing is the level whose limit is shown: its cgroup, or "host".
	Governing string `json:"governing"`
	// Error says why there are no figures.
	Error string `json:"error"`
}

// Status asks the daemon what it serves.
func (d *Daemon) Status(ctx context.Context) (Status, error) {
	var s Status
	out, err := d.Run(ctx, "status", "--json")
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		return s, fmt.Errorf("read the daemon's status: %w\n%s", err, out)
	}
	return s, nil
}

// WaitConnected waits until the daemon is connected to a runtime, which sees
// containers created from then on.
func (d *Daemon) WaitConnected(ctx context.Context) error {
	return Poll(ctx, waitShort, func() error {
		s, err := d.Status(ctx)
		if err != nil {
			return err
		}
		return s.Connected()
	})
}

// Connected is nil if a runtime is connected.
func (s Status) Connected() error {
	for _, r := range s.Runtimes {
		if r.Connected {
			return nil
		}
	}
	return fmt.Errorf("no runtime is connected: %+v", s.Runtimes)
}

// Container finds a container by its id.
func (s Status) Container(id string) (StatusContainer, bool) {
	for _, c := range s.Containers {
		if c.ID == id {
			return c, true
		}
	}
	return StatusContainer{}, false
}
