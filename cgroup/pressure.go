package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Pressures are the resources of which the kernel tells pressure
// (Documentation/accounting/psi.rst); irq since Linux 6.1.
var Pressures = []string{"cpu", "memory", "io", "irq"}

type pressureFiles struct {
	dir   string // in the cgroup2 hierarchy, "" where the group has none of its own
	files map[string]*file
}

func newPressureFiles(g *Group) pressureFiles {
	p := pressureFiles{files: map[string]*file{}}
	own, ok := g.owns(unified)
	if !ok {
		return p
	}
	p.dir = own.dir
	for _, resource := range Pressures {
		p.files[resource] = own.file(resource + ".pressure")
	}
	return p
}

// PressureFile is where the kernel tells a resource's pressure on the group
// (cgroup-v2.rst, "PSI"). The error is os.ErrNotExist where the group is in no
// cgroup2 hierarchy, or the kernel has no PSI.
func (g *Group) PressureFile(resource string) (string, error) {
	if g.pressure.dir == "" {
		return "", fmt.Errorf("no cgroup2 group: %w", os.ErrNotExist)
	}
	name := filepath.Join(g.pressure.dir, resource+".pressure")
	_, err := os.Stat(name)
	return name, err
}

// Pressure appends that file's text to b. Errors as of PressureFile, and
// unix.EOPNOTSUPP where PSI is off.
func (g *Group) Pressure(resource string, b []byte) ([]byte, error) {
	f := g.pressure.files[resource]
	if f == nil {
		return b, fmt.Errorf("no cgroup2 group: %w", os.ErrNotExist)
	}
	return f.read(b)
}

// TakesTriggers reports whether the kernel takes PSI triggers that a container's
// init writes to a file of its group. From a cgroup namespace that begins at the
// group it takes only what is delegated, where cgroup2 is mounted with nsdelegate
// (cgroup_file_write in kernel/cgroup/cgroup.c).
func (fs *FS) TakesTriggers(init int, file string) (bool, error) {
	if !fs.mounted().nsdelegate {
		return true, nil
	}
	delegated, err := os.ReadFile(filepath.Join(fs.root, "sys/kernel/cgroup/delegate"))
	if err == nil && slices.Contains(strings.Fields(string(delegated)), filepath.Base(file)) {
		return true, nil
	}
	own, err := os.Readlink(filepath.Join(fs.root, "proc/self/ns/cgroup"))
	if err != nil {
		return false, fmt.Errorf("find the daemon's cgroup namespace: %w", err)
	}
	theirs, err := os.Readlink(filepath.Join(fs.root, "proc", strconv.Itoa(init), "ns/cgroup"))
	if isGone(err) {
		return false, fmt.Errorf("process %d: %w", init, ErrGone)
	} else if err != nil {
		return false, fmt.Errorf("find the cgroup namespace of process %d: %w", init, err)
	}
	return own == theirs, nil
}
