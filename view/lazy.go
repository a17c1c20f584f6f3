package view

import (
	"strings"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
)

// A container of which nobody has told more than its id is looked for when its
// files are read, by the name of its cgroup. Docker tells no more by NRI, and
// keeps mounts in a container's configuration: their sources must be there when
// the container is started again, before or after the daemon has been.

const (
	// maxUnknown bounds the views of ids that no runtime has told of.
	maxUnknown = 4096
	// seekAgain is how soon a group that was not found is looked for again.
	seekAgain = 20 * time.Millisecond
)

// Lookup finds a view by its container's id. An id that may be a container's
// (64 hexadecimal digits, as all runtimes give) gets a view even if nobody has
// told of it yet; nil for others.
func (r *Registry) Lookup(id string) *View {
	if v := r.Get(id); v != nil {
		return v
	}
	if len(id) != 64 || strings.Trim(id, "0123456789abcdef") != "" {
		return nil
	}
	v, err := r.Add(Container{ID: id})
	if err != nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unknown = append(r.unknown, v)
	for len(r.unknown) > maxUnknown {
		old := r.unknown[0]
		r.unknown = r.unknown[1:]
		if c := old.Container(); r.byID[c.ID] == old && c.OnlyID() {
			r.removeLocked(old)
		}
	}
	return v
}

// seekLocked looks for the group of a container by its id.
func (v *View) seekLocked() (*cgroup.Group, error) {
	now := v.host.now()
	if v.sought > 0 && now-v.sought < seekAgain {
		return nil, cgroup.ErrGone
	}
	v.sought = now
	at, pids, err := v.fs.FindID(v.container.ID)
	if err != nil {
		return nil, err
	}
	init := v.host.initAmong(pids)
	g, err := v.bindLocked(init, at)
	if err == nil {
		v.init = init
	}
	return g, err
}

// InitIn is the init of a container as it is known, or else the one in the group
// that linux.cgroupsPath names: for runtimes that tell no pid. 0: there is none.
func (r *Registry) InitIn(id, cgroupsPath string) int {
	if v := r.Get(id); v != nil && v.Container().PID != 0 {
		// Another one would be taken for another run of the container.
		return v.Container().PID
	}
	return r.host.initAmong(r.fs.Processes(cgroupsPath))
}

// initAmong is the init of a PID namespace among processes: of several, and where
// there is none, the first one; 0 of none.
func (h *Host) initAmong(pids []int) int {
	for _, pid := range pids {
		if inside := h.pids(pid); len(inside) > 1 && inside[len(inside)-1] == 1 {
			return pid
		}
	}
	if len(pids) == 0 {
		return 0
	}
	return pids[0]
}

// lazy says that nobody has told where the container is.
func (v *View) lazy() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.container.PID == 0 && v.container.CgroupsPath == ""
}

// groupRemoved ends a view whose group was removed, unless the container's init is in
// another one.
func (r *Registry) groupRemoved(v *View) {
	v.mu.Lock()
	g := v.group
	v.mu.Unlock()
	if g == nil || g.Gone() && !v.moved(g) {
		r.containerEnded(v)
	}
}

// containerEnded ends a view. A container that is known by its id alone may be started
// again: another view takes the place, and the number.
func (r *Registry) containerEnded(v *View) {
	lazy := v.lazy()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byID[v.Container().ID] != v {
		return
	}
	if !lazy {
		r.removeLocked(v)
		return
	}
	r.unwatchLocked(v)
	next := r.newView(v.Number, v.Container())
	next.found, next.vanish = r.found, r.containerEnded
	r.byID[next.container.ID] = next
	r.byNumber[next.Number%slots].Store(next)
	v.close()
}
