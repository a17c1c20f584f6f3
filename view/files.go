package view

import (
	"errors"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
)

// Reach says how a file gets into a container.
type Reach int

const (
	// SpecMount is a bind mount in the container's OCI spec. runc allows such
	// mounts below /proc for a fixed list of files only (checkProcMount in
	// libcontainer/rootfs_linux.go).
	SpecMount Reach = iota
	// Inside comes with the directory it is in.
	Inside
	// AttachGroupFile is mounted once the container has a process, since runc
	// refuses it as a spec mount: the cgroup's own file, so that the kernel itself
	// answers, or ours where the kernel would take no PSI trigger on that.
	AttachGroupFile
)

// File is one virtual file, or a directory.
type File struct {
	Path  string // below the container's root, without a leading slash
	Mode  uint32 // permission bits
	Reach Reach
	// Append appends the whole file to b. The error is ErrGone for a
	// container that ended; other faults cost single figures only. A
	// directory has none.
	Append func(v *View, b []byte) ([]byte, error)
	// host names the host's file shown to callers without limits.
	host hostFile
	// groupFile is where the cgroup's own file is (AttachGroupFile).
	groupFile func(v *View) (string, error)
}

// GroupFile returns where the kernel has a file of Reach AttachGroupFile for this
// container, and reports whether it takes triggers there from the container's
// processes. The error is os.ErrNotExist if the kernel has no such file (cgroup v1, or
// no PSI), ErrGone for a container that ended or has no process yet.
func (v *View) GroupFile(f *File) (name string, triggers bool, err error) {
	name, err = f.groupFile(v)
	if err != nil {
		return "", false, err
	}
	triggers, err = v.fs.TakesTriggers(v.PID(), name)
	if errors.Is(err, cgroup.ErrGone) {
		err = ErrGone
	}
	return name, triggers, err
}

// Files is what is served, in the order of docs/views.md: the only place that
// knows. Numbers in node ids are positions in it, so new files go to its end.
var Files = []File{
	{Path: "proc/meminfo", Mode: 0o444, Append: (*View).appendMeminfo, host: hostMeminfo},
	{Path: "proc/swaps", Mode: 0o444, Append: (*View).appendSwaps, host: hostSwaps},
	{Path: "proc/cpuinfo", Mode: 0o444, Append: (*View).appendCPUInfo, host: hostCPUInfo},
	{Path: "proc/stat", Mode: 0o444, Append: (*View).appendStat, host: hostStat},
	{Path: "proc/uptime", Mode: 0o444, Append: (*View).appendUptime, host: hostUptime},
	{Path: "proc/diskstats", Mode: 0o444, Append: (*View).appendDiskstats, host: hostDiskstats},
	{Path: "sys/devices/system/cpu/online", Mode: 0o444, Reach: Inside, Append: (*View).appendOnline, host: hostCPUOnline},
	{Path: "sys/devices/system/cpu/possible", Mode: 0o444, Reach: Inside, Append: (*View).appendPossible, host: hostCPUPossible},
	{Path: "sys/devices/system/cpu/present", Mode: 0o444, Reach: Inside, Append: (*View).appendPresent, host: hostCPUPresent},
	{Path: "proc/loadavg", Mode: 0o444, Append: (*View).appendLoadavg, host: hostLoadavg},
	{Path: "proc/slabinfo", Mode: 0o400, Append: (*View).appendSlabinfo, host: hostSlabinfo},
	{Path: CPUDir, Mode: 0o555},
	pressureFile("cpu", hostPressureCPU),
	pressureFile("memory", hostPressureMemory),
	pressureFile("io", hostPressureIO),
	pressureFile("irq", hostPressureIRQ),
}

// ContainersDir is the directory of the containers' own files, below the mount point.
const ContainersDir = "containers"

// ContainerPath is where a container's own copy of a file is, below the mount point.
func ContainerPath(id, file string) string { return ContainersDir + "/" + id + "/" + file }

// Paths lists what can be served, or not.
func Paths() []string {
	var all []string
	for i := range Files {
		if Files[i].Reach != Inside {
			all = append(all, Files[i].Path)
		}
	}
	return all
}

// Mountable lists what is mounted into containers, of that which is served. A
// file that this kernel does not have is not in a container's /proc or /sys
// either: there is nothing to mount onto, and an OCI runtime would fail the
// container.
func (r *Registry) Mountable(serves func(path string) bool) []File {
	var all []File
	for i := range Files {
		if f := &Files[i]; f.Reach != Inside && serves(f.Path) && r.host.has(f) {
			all = append(all, *f)
		}
	}
	return all
}
