package rig

import (
	"context"
	"fmt"

	"github.com/lxcfs-nri/lxcfs-nri/control"
)

// Status is what lxcfs-nri status --json prints.
type Status struct{ control.Status }

// Status asks the daemon what it serves.
func (d *Daemon) Status(ctx context.Context) (Status, error) {
	s, err := control.Ask(ctx, d.runDir)
	return Status{s}, err
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
func (s Status) Container(id string) (control.Container, bool) {
	for _, c := range s.Containers {
		if c.ID == id {
			return c, true
		}
	}
	return control.Container{}, false
}
