package view

import (
	"errors"
	"fmt"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
)

// A container's group is that of its init, wherever others move it: docs/views.md, "A
// container that moves". A container has ended when its init has, not when its group was
// removed.

// followEvery is how often the group of an init is read. On kernels before 6.7 reading
// it takes the lock of all cgroups (proc_cgroup_show in kernel/cgroup/cgroup.c).
const followEvery = time.Second

// errMoved ends a render that read a group which is not the container's any more: the
// render is to be repeated.
var errMoved = errors.New("container has moved to another cgroup")

// cgroup returns the container's group, found when it is first needed: between
// its creation and its start a container may have a path but no process.
func (v *View) cgroup() (*cgroup.Group, error) {
	if v.ended.Load() {
		return nil, ErrGone
	}
	v.mu.Lock()
	if v.group == nil || v.followed == nil && v.container.PID != 0 {
		defer v.mu.Unlock()
		return v.findLocked()
	}
	var left *cgroup.Group
	if v.followed != nil && time.Since(v.checked) >= followEvery {
		left = v.followLocked()
	}
	g := v.group
	v.mu.Unlock()
	if left != nil {
		v.leave(left)
	}
	return g, nil
}

// findLocked finds the group by the init, by its path, or by the container's id.
func (v *View) findLocked() (*cgroup.Group, error) {
	c := &v.container
	var g *cgroup.Group
	var err error
	switch {
	case c.PID != 0:
		g, err = v.bindLocked(c.PID, c.CgroupsPath)
	case c.CgroupsPath != "":
		g, err = v.fs.GroupOfSpec(c.CgroupsPath)
	default:
		g, err = v.seekLocked()
	}
	switch {
	case errors.Is(err, cgroup.ErrGone):
		return nil, ErrGone
	case err != nil:
		return nil, fmt.Errorf("container %s: %w", c.ID, err)
	}
	if v.group != nil && !v.released {
		v.group.Close()
	}
	v.useLocked(g)
	v.startedLocked() // so that another process with its number is not taken for the init
	return g, nil
}

// bindLocked opens the group of the container's init, to be followed from now on.
func (v *View) bindLocked(pid int, spec string) (*cgroup.Group, error) {
	p, err := v.fs.Process(pid, spec)
	if err != nil {
		return nil, err
	}
	g, err := p.Group(nil)
	if err != nil || v.released {
		p.Close()
	}
	if err != nil {
		return nil, err
	}
	v.followed, v.checked = p, time.Now()
	return g, nil
}

// useLocked makes a group the view's.
func (v *View) useLocked(g *cgroup.Group) {
	v.group = g
	if v.released {
		g.Close() // it opens its files for each read from now on
	} else if v.found != nil {
		v.found(v, g)
	}
}

// followLocked goes to the group that the container's init is in now. It returns the one
// that it has left, nil if it is where it was, or has ended.
func (v *View) followLocked() (left *cgroup.Group) {
	v.checked = time.Now()
	g, err := v.followed.Group(v.group)
	if err != nil || g == v.group {
		return nil
	}
	if !v.livesLocked() {
		g.Close()
		return nil
	}
	left = v.group
	v.useLocked(g)
	if v.released {
		return nil // it is closed
	}
	return left
}

// livesLocked reports whether the container's init is known, and has not begun to end.
func (v *View) livesLocked() bool {
	start, known := v.startedLocked()
	return known && v.host.lives(v.pidLocked(), start)
}

// leave takes in what the container has used in a group that its init has left, if that
// is there still, and closes it.
func (v *View) leave(left *cgroup.Group) {
	if v.clock.running() && !left.Gone() {
		mem := borrow()
		defer mem.giveBack()
		v.cpuTimes(left, mem) //nolint:errcheck // it may be removed meanwhile
	}
	left.Close()
}

// moved reports whether g is not the container's group any more, but another one is.
func (v *View) moved(g *cgroup.Group) bool {
	v.mu.Lock()
	var left *cgroup.Group
	if v.group == g && v.followed != nil {
		left = v.followLocked()
	}
	now := v.group
	v.mu.Unlock()
	if left != nil {
		v.leave(left)
	}
	return now != g
}

// gone ends a render: figures of a group that was removed meanwhile are not shown. It
// looks at the directory only after a file was missing. The error is errMoved if the
// container has another group by now.
func (v *View) gone(g *cgroup.Group) error {
	v.mu.Lock()
	left := v.group != g
	v.mu.Unlock()
	switch {
	case v.ended.Load():
		return ErrGone
	case left:
		return errMoved
	case v.suspect.Swap(false) && g.Gone():
		return v.lost(g)
	}
	return nil
}

// lost ends a render of a group that was removed.
func (v *View) lost(g *cgroup.Group) error {
	if v.moved(g) {
		return errMoved
	}
	v.ended.Store(true)
	if v.vanish != nil {
		v.vanish(v)
	}
	return ErrGone
}

// removed reports whether the view's group does not exist any more.
func (v *View) removed() bool {
	v.mu.Lock()
	g := v.group
	v.mu.Unlock()
	return g != nil && g.Gone()
}
