package control

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

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

	mu       sync.Mutex
	detached map[string]bool // containers that shall not be given files unasked
}

// Attach gives a container the files that it lacks. It returns how many.
func (a *Attacher) Attach(v *view.View) (made int, err error) {
	a.setDetached(v, false)
	return a.ensure(v, func(*view.File) bool { return true })
}

// Detach takes the files from a container: the kernel's own are back, until
// they are asked for again. It returns how many mounts went.
func (a *Attacher) Detach(v *view.View) (gone int, err error) {
	a.setDetached(v, true)
	c := v.Container()
	pid := v.PID()
	if pid == 0 {
		return 0, fmt.Errorf("container %s: %w", c.ID, errNoProcess)
	}
	var targets []string
	for i := range view.Files { // also those that are no longer served
		if view.Files[i].Reach != view.Inside {
			targets = append(targets, "/"+view.Files[i].Path)
		}
	}
	return attach.Remove(pid, a.Ours.FSType, targets)
}

// Start gives a container whose program is about to run what its spec could
// not. A fault is logged, and costs nothing but these files.
func (a *Attacher) Start(v *view.View) {
	a.setDetached(v, false)
	_, err := a.ensure(v, func(f *view.File) bool { return f.Reach == view.AttachGroupFile })
	if err != nil {
		a.warn(v, err)
	}
}

// Create gives a container that is being created all files, below the
// directory that will be its root. It returns how many were mounted.
func (a *Attacher) Create(v *view.View, rootfs string) (made int, err error) {
	a.setDetached(v, false)
	mounts, err := a.mounts(v, func(*view.File) bool { return true })
	if err != nil {
		return 0, err
	}
	return attach.EnsureIn(v.Container().PID, rootfs, a.Ours.FSType, mounts)
}

// Existing gives containers that run already the files that they lack, but
// those that were detached. Faults are logged.
func (a *Attacher) Existing(views []*view.View) {
	for _, v := range views {
		if a.isDetached(v) {
			continue
		}
		made, err := a.ensure(v, func(*view.File) bool { return true })
		switch {
		case err != nil && !ended(err):
			a.warn(v, err)
		case made > 0:
			c := v.Container()
			a.Log.Info("attached to a container that runs already", "container", fullName(&c), "id", c.ID, "mounts", made)
		}
	}
}

var errNoProcess = errors.New("it has no process yet: start it")

// ended says that a container has nothing to attach to: no fault of anybody.
func ended(err error) bool {
	return errors.Is(err, attach.ErrGone) || errors.Is(err, view.ErrGone) || errors.Is(err, errNoProcess)
}

func (a *Attacher) ensure(v *view.View, wanted func(*view.File) bool) (made int, err error) {
	c := v.Container()
	pid := v.PID()
	if pid == 0 {
		return 0, fmt.Errorf("container %s: %w", c.ID, errNoProcess)
	}
	mounts, err := a.mounts(v, wanted)
	if err != nil {
		return 0, err
	}
	return attach.Ensure(pid, a.Ours.FSType, mounts)
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
			if m.Source, err = v.GroupFile(f); errors.Is(err, os.ErrNotExist) {
				continue
			} else if err != nil {
				return nil, err
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
