package control

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/attach"
	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// Attacher gives running containers their files, and takes them away.
type Attacher struct {
	Mountpoint string
	Ours       attach.Ours // the file system mounted there
	Files      []view.File
	Registry   *view.Registry
	Log        *slog.Logger
	// Triggers reports whether the file system takes PSI triggers.
	Triggers bool

	mu       sync.Mutex
	detached map[string]bool // containers that shall not be given files unasked
}

// Attach gives a container the files that it lacks. It returns how many.
func (a *Attacher) Attach(v *view.View) (made int, err error) {
	return a.one(v, a.attaching, apartPatience)
}

func (a *Attacher) attaching(v *view.View) (job, error) {
	a.setDetached(v, false)
	return a.lacking(v, func(*view.File) bool { return true })
}

// Detach takes the files from a container: the kernel's own are back, until
// they are asked for again. It returns how many mounts went.
func (a *Attacher) Detach(v *view.View) (gone int, err error) {
	return a.one(v, a.detaching, apartPatience)
}

func (a *Attacher) detaching(v *view.View) (job, error) {
	a.setDetached(v, true)
	j := job{PID: v.PID()}
	if j.PID == 0 {
		return j, fmt.Errorf("container %s: %w", v.Container().ID, errNoProcess)
	}
	for i := range view.Files { // also those that are no longer served
		if view.Files[i].Reach != view.Inside {
			j.Targets = append(j.Targets, "/"+view.Files[i].Path)
		}
	}
	return j, nil
}

// startPatience is how long a runtime waits that starts a container: by default
// NRI ends a plugin's connection after two seconds.
const startPatience = time.Second

// Start gives a container whose program is about to run what its spec could
// not. A fault is logged, and costs nothing but these files.
func (a *Attacher) Start(v *view.View) {
	_, err := a.one(v, func(v *view.View) (job, error) {
		a.setDetached(v, false)
		return a.lacking(v, func(f *view.File) bool { return f.Reach == view.AttachGroupFile })
	}, startPatience)
	if err != nil {
		a.warn(v, err)
	}
}

// Create gives a container that is being created all files, below the
// directory that will be its root. It returns how many were mounted.
func (a *Attacher) Create(v *view.View, rootfs string) (made int, err error) {
	return a.one(v, func(v *view.View) (j job, err error) {
		a.setDetached(v, false)
		j = job{PID: v.Container().PID, Rootfs: rootfs}
		j.Mounts, err = a.mounts(v, func(*view.File) bool { return true })
		return j, err
	}, apartPatience)
}

// Existing gives containers that run already the files that they lack, but
// those that were detached. Faults are logged.
func (a *Attacher) Existing(views []*view.View) {
	var lacking []*view.View
	for _, v := range views {
		if !a.isDetached(v) {
			lacking = append(lacking, v)
		}
	}
	results := a.each(lacking, func(v *view.View) (job, error) {
		return a.lacking(v, func(*view.File) bool { return true })
	}, apartPatience)
	for i, r := range results {
		switch v := lacking[i]; {
		case r.err != nil && !ended(r.err):
			a.warn(v, r.err)
		case r.mounts > 0:
			c := v.Container()
			a.Log.Info("attached to a container that runs already", "container", fullName(&c), "id", c.ID, "mounts", r.mounts)
		}
	}
}

// came is what came of one container's job.
type came struct {
	mounts int
	err    error
}

// one does one container's job.
func (a *Attacher) one(v *view.View, plan func(*view.View) (job, error), patience time.Duration) (int, error) {
	r := a.each([]*view.View{v}, plan, patience)[0]
	return r.mounts, r.err
}

// each has the jobs that a plan gives for containers done, and tells of each.
func (a *Attacher) each(views []*view.View, plan func(*view.View) (job, error), patience time.Duration) []came {
	all := make([]came, len(views))
	w := work{Ours: a.Ours}
	var whose []*came
	for i, v := range views {
		j, err := plan(v)
		switch {
		case err != nil:
			all[i].err = err
		case len(j.Mounts)+len(j.Targets) > 0:
			w.Jobs, whose = append(w.Jobs, j), append(whose, &all[i])
		}
	}
	if len(w.Jobs) == 0 {
		return all
	}
	d, err := w.apart(patience)
	for i, to := range whose {
		if to.err = err; err == nil {
			to.mounts, to.err = d.Jobs[i].Mounts, d.Jobs[i].err()
		}
	}
	return all
}

var errNoProcess = errors.New("it has no process yet: start it")

// ended says that a container has nothing to attach to: no fault of anybody.
func ended(err error) bool {
	return errors.Is(err, attach.ErrGone) || errors.Is(err, view.ErrGone) || errors.Is(err, errNoProcess)
}

// lacking is the job to give a container what it lacks of the files that are wanted.
func (a *Attacher) lacking(v *view.View, wanted func(*view.File) bool) (j job, err error) {
	if j.PID = v.PID(); j.PID == 0 {
		return j, fmt.Errorf("container %s: %w", v.Container().ID, errNoProcess)
	}
	j.Mounts, err = a.mounts(v, wanted)
	return j, err
}

// mounts are those that give a container its files.
func (a *Attacher) mounts(v *view.View, wanted func(*view.File) bool) (mounts []attach.Mount, err error) {
	c := v.Container()
	for i := range a.Files {
		f := &a.Files[i]
		if !wanted(f) {
			continue
		}
		m := attach.Mount{Target: "/" + f.Path, Source: filepath.Join(a.Mountpoint, view.ContainerPath(c.ID, f.Path))}
		if f.Reach == view.AttachGroupFile {
			m.Writable = true
			own, triggers, err := v.GroupFile(f)
			if errors.Is(err, os.ErrNotExist) {
				continue
			} else if err != nil {
				return nil, err
			}
			if triggers || !a.Triggers {
				m.Source = own
			}
		}
		mounts = append(mounts, m)
	}
	return mounts, nil
}

func (a *Attacher) warn(v *view.View, err error) {
	c := v.Container()
	a.Log.Warn("files can't be attached, the container keeps the host's", "container", fullName(&c), "id", c.ID, "error", err)
}

func fullName(c *view.Container) string {
	return cmp.Or(filepath.Join(c.Namespace, c.Pod, c.Name), c.ID)
}

func (a *Attacher) setDetached(v *view.View, detached bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	id := v.Container().ID
	if !detached {
		delete(a.detached, id)
		return
	}
	for old := range a.detached {
		if a.Registry.Get(old) == nil {
			delete(a.detached, old)
		}
	}
	if a.detached == nil {
		a.detached = map[string]bool{}
	}
	a.detached[id] = true
}

func (a *Attacher) isDetached(v *view.View) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.detached[v.Container().ID]
}
