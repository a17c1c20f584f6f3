package view

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// /proc/pressure/*: psi_show in kernel/sched/psi.c; docs/views.md, "pressure".

// pressureFile is the entry of Files for one resource.
func pressureFile(resource string, host hostFile) File {
	return File{
		Path: "proc/pressure/" + resource, Mode: 0o444, Reach: AttachGroupFile, host: host,
		Append: func(v *View, b []byte) ([]byte, error) { return v.appendPressure(resource, host, b) },
		groupFile: func(v *View) (string, error) {
			g, err := v.cgroup()
			if err != nil {
				return "", err
			}
			return g.PressureFile(resource)
		},
	}
}

// appendPressure copies the group's file. A group without one (cgroup v1) is
// shown the host's, as it is where nothing is mounted.
func (v *View) appendPressure(resource string, host hostFile, b []byte) ([]byte, error) {
	g, err := v.cgroup()
	if err != nil {
		return b, err
	}
	out, err := g.Pressure(resource, b)
	if err == nil {
		return out, nil
	}
	if g.Gone() {
		return b, v.lost(g)
	}
	if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.EOPNOTSUPP) {
		v.fault(err)
	}
	whole, err := v.host.read(host)
	return append(b, whole...), err
}
