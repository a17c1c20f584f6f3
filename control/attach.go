package control

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/lxcfs-nri/lxcfs-nri/attach"
	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// Attacher gives running containers their files.
type Attacher struct {
	Mountpoint string
	FSType     string // of the file system mounted there
	Files      []view.File
	Log        *slog.Logger
}

// Attach gives a container the files that it lacks. It returns how many.
func (a *Attacher) Attach(v *view.View) (made int, err error) {
	return a.ensure(v, func(*view.File) bool { return true })
}

// Start gives a container whose program is about to run what its spec could
// not. A fault is logged, and costs nothing but these files.
func (a *Attacher) Start(v *view.View) {
	_, err := a.ensure(v, func(f *view.File) bool { return f.Reach == view.AttachGroupFile })
	if err != nil {
		c := v.Container()
		a.Log.Warn("files can't be attached, the container keeps the host's",
			"container", filepath.Join(c.Namespace, c.Pod, c.Name), "id", c.ID, "error", err)
	}
}

func (a *Attacher) ensure(v *view.View, wanted func(*view.File) bool) (made int, err error) {
	c := v.Container()
	if c.PID == 0 {
		return 0, fmt.Errorf("container %s has no process yet", c.ID)
	}
	var mounts []attach.Mount
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
				return 0, err
			}
		}
		mounts = append(mounts, m)
	}
	return attach.Ensure(c.PID, a.FSType, mounts)
}
