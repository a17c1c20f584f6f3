package main

import (
	"errors"
	"log/slog"

	"github.com/lxcfs-nri/lxcfs-nri/fusefs"
	"github.com/lxcfs-nri/lxcfs-nri/plugin"
	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// fallback lets containers of Docker start also where the file system is not
// mounted, until they are removed.
type fallback struct {
	below *fusefs.Fallback
	log   *slog.Logger
}

// open is for once the mount point is there. Without it nothing is lost while
// the file system is mounted.
func (f *fallback) open(mountpoint string, files []view.File) {
	below, err := fusefs.OpenFallback(mountpoint, files)
	f.below = below
	f.check(err)
}

func (f *fallback) created(v *view.View) {
	if c := v.Container(); c.Runtime == plugin.Docker {
		f.keep(map[string]bool{c.ID: true})
	}
}

func (f *fallback) synchronized(runtime string, listed map[string]bool) {
	if runtime != plugin.Docker {
		return
	}
	f.keep(listed)
	if f.below != nil {
		f.check(f.below.Only(listed))
	}
}

func (f *fallback) keep(ids map[string]bool) {
	if f.below == nil {
		return
	}
	var errs []error
	for id := range ids {
		errs = append(errs, f.below.Keep(id))
	}
	f.check(errors.Join(errs...))
}

func (f *fallback) check(err error) {
	if err != nil {
		f.log.Warn("containers that have the files by Docker will not start while lxcfs-nri does not run", "error", err)
	}
}
