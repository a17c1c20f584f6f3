package control

import (
	"os"

	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// Status is what the daemon tells of itself.
type Status struct {
	Version    string      `json:"version"`
	PID        int         `json:"pid"`
	Mountpoint string      `json:"mountpoint"`
	Files      []string    `json:"files"`
	Runtimes   []Runtime   `json:"runtimes"`
	Containers []Container `json:"containers"`
}

// Runtime is a runtime the daemon serves, connected or waited for.
type Runtime struct {
	Name      string `json:"name"`
	Version   string `json:"version"`
	Socket    string `json:"socket"`
	Connected bool   `json:"connected"`
}

// Container is a registered container, its limits and what it sees of them.
type Container struct {
	ID        string `json:"id"`
	Runtime   string `json:"runtime"`
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	Name      string `json:"name"`
	PID       int    `json:"pid"`
	Cgroup    string `json:"cgroup"`
	// MemoryLimit is the governing level's, in bytes; 0 where there is none.
	MemoryLimit uint64 `json:"memoryLimit"`
	// MemTotal is what meminfo shows, in bytes.
	MemTotal uint64 `json:"memTotal"`
	// Governing is the cgroup of the governing level, or "host".
	Governing string `json:"governing"`
	CPUs      int    `json:"cpus"`
	// Error says why there are no figures.
	Error string `json:"error,omitempty"`
}

// Containers lists what a registry knows: containers that a runtime has told of,
// and others that run.
func Containers(r *view.Registry) []Container {
	all := []Container{}
	for _, v := range r.List() {
		c := v.Container()
		out := Container{ID: c.ID, Runtime: c.Runtime, Namespace: c.Namespace, Pod: c.Pod, Name: c.Name, PID: v.PID()}
		f, err := v.Figures()
		switch {
		case err != nil && c.OnlyID():
			continue // it was asked for, perhaps by mistake
		case err != nil:
			out.Error = err.Error()
		default:
			out.Cgroup, out.Governing, out.CPUs = f.Cgroup, f.Governing, f.CPUs
			out.MemoryLimit, out.MemTotal = f.MemoryLimit, f.MemTotal
		}
		all = append(all, out)
	}
	return all
}

// NewStatus begins a status with what the process knows of itself.
func NewStatus(version, mountpoint string) Status {
	return Status{Version: version, PID: os.Getpid(), Mountpoint: mountpoint, Runtimes: []Runtime{}}
}
