package cgroup

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// Process is a process whose group is followed: a container's init. Close ends it.
// Its methods may not be called at the same time.
type Process struct {
	fs   *FS
	spec string // path that the runtime named, "" if unknown
	file *file  // /proc/<pid>/cgroup, shared with nobody: another process may get the number
	seen []byte // of it, when the process was last found where it was
}

// Process returns a process. spec is linux.cgroupsPath of the container's OCI spec,
// "" if unknown: it distinguishes the container's own group from those an init makes
// below it.
func (fs *FS) Process(pid int, spec string) (*Process, error) {
	if spec != "" {
		var err error
		if spec, err = SpecPath(spec); err != nil {
			return nil, err
		}
	}
	name := filepath.Join(fs.root, "proc", strconv.Itoa(pid), "cgroup")
	return &Process{fs: fs, spec: spec, file: newFile(fs, name)}, nil
}

// Group returns the container's group: current if the process is in it or below it
// still, otherwise a newly opened one. The error is ErrGone for a process that ended.
// On v1 a process that is just ending seems to be in the root (proc_cgroup_show in
// kernel/cgroup/cgroup.c).
func (p *Process) Group(current *Group) (*Group, error) {
	var paths Paths
	same := false
	err := p.file.with(func(b []byte) error {
		if same = current != nil && bytes.Equal(b, p.seen); same {
			return nil
		}
		paths = parsePaths(string(b), p.fs.mounted().exists).container(p.spec)
		if same = current != nil && !paths.leave(current.paths); same {
			p.seen = append(p.seen[:0], b...)
		}
		return nil
	})
	switch {
	case isGone(err):
		return nil, fmt.Errorf("%s: %w", p.file.path, ErrGone)
	case err != nil:
		return nil, fmt.Errorf("find the cgroup of a process: %w", err)
	case same:
		return current, nil
	}
	p.seen = p.seen[:0] // of another group
	return p.fs.GroupAt(paths), nil
}

// Close gives the descriptor back. Later calls of Group open the file for each read.
func (p *Process) Close() { p.file.release() }

// leave reports whether p is out of a group in some hierarchy. In the others p
// becomes the group's path, since what is below a container's group is the
// container's to make.
func (p *Paths) leave(group Paths) (left bool) {
	stay := func(at, own string) string {
		if at == own || own != "" && own != "/" && strings.HasPrefix(at, own+"/") {
			return own
		}
		left = true
		return at
	}
	p.Unified = stay(p.Unified, group.Unified)
	for c, at := range p.V1 {
		if !strings.HasPrefix(c, "name=") { // without a controller
			p.V1[c] = stay(at, group.V1[c])
		}
	}
	return left
}
