package view

import "github.com/lxcfs-nri/lxcfs-nri/cgroup"

// Groups are this machine's cgroups, for processes that have no Registry.
type Groups struct{ fs *cgroup.FS }

// OpenGroups opens them.
func OpenGroups() (*Groups, error) {
	fs, err := cgroup.Open("/")
	if err != nil {
		return nil, err
	}
	return &Groups{fs}, nil
}

// ContainerOf returns the id of the container of which a process is, by the names of its
// groups; "" if it is of none, or if others than root can have given the name.
func (g *Groups) ContainerOf(pid int) string { return g.fs.ContainerOf(pid) }
