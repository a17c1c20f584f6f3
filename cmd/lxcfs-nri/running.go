package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/config"
	"github.com/lxcfs-nri/lxcfs-nri/control"
	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// running looks after containers that ran before this daemon did.
type running struct {
	attacher *control.Attacher
	existing bool // they are to get files
	listed   chan []*view.View
}

func newRunning(cfg *config.Config, attacher *control.Attacher) *running {
	return &running{attacher: attacher, existing: cfg.AttachExisting, listed: make(chan []*view.View, 1)}
}

// synchronized takes note of what a runtime has told, and returns at once.
func (r *running) synchronized(views []*view.View) {
	select {
	case <-r.listed: // an older list that nobody has looked at
	default:
	}
	r.listed <- views
}

// patience is how long a runtime is waited for until what a dead daemon has
// left in containers that nobody knows is taken away.
const patience = 30 * time.Second

// run heals and attaches, until ctx is done. It heals also where the connection
// was taken over: from a process that may have been killed while it healed.
func (r *running) run(ctx context.Context, runtime bool) {
	r.attacher.Heal(!runtime)
	if !runtime {
		return
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	for first := true; ; first = false {
		var views []*view.View
		select {
		case <-ctx.Done():
			return
		case views = <-r.listed:
		case <-late.C:
		}
		if first {
			r.attacher.Heal(true)
		}
		if r.existing {
			r.attacher.Existing(views)
		}
	}
}

// How long a stop waits for the runtime's connection to end, and for containers
// to be detached: service managers kill after 90 s.
const (
	leavePatience  = 5 * time.Second
	detachPatience = 20 * time.Second
)

// stop gives every container the kernel's own files back, once the runtime has
// been left and no container gets files any more.
func (r *running) stop(left <-chan struct{}, log *slog.Logger) {
	select {
	case <-left:
	case <-time.After(leavePatience):
	}
	done := make(chan control.Outcome, 1)
	go func() { done <- r.attacher.DetachAll() }()
	var err error
	select {
	case o := <-done:
		mounts := o.Others
		for i := range o.Containers {
			mounts += o.Containers[i].Mounts
		}
		log.Info("containers have the kernel's own files again", "mounts", mounts)
		err = o.Err()
	case <-time.After(detachPatience):
		err = fmt.Errorf("it lasts longer than %v", detachPatience)
	}
	if err != nil {
		log.Error("files can't be taken from some containers and answer ENOTCONN from now on: create those anew, or start lxcfs-nri again", "error", err)
	}
}
