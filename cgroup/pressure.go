package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
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
	if g.fs.unified == "" || g.paths.Unified == "" || g.paths.Unified == "/" {
		return p
	}
	p.dir = filepath.Join(g.fs.unified, g.paths.Unified)
	own := place{g: g, path: g.paths.Unified, dir: p.dir, v2: true}
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
