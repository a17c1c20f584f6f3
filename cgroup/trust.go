package cgroup

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A group's name says whose it is only if root gave the name. Whoever may write in a
// group's directory makes groups there, and calls them what they like: its owner, those
// that its mode lets, the processes of a unit that systemd was told to delegate
// (Delegate= in systemd.resource-control(5)), and a container below its own group.

// closed reports whether root alone makes groups in the directory of a group. One that
// bears a container's id is the container's.
func closed(dir string) bool {
	var st unix.Stat_t
	return unix.Lstat(dir, &st) == nil && st.Uid == 0 && st.Mode&0o022 == 0 &&
		idIn(filepath.Base(dir)) == "" && !delegated(dir)
}

// delegated reports whether systemd has marked a group as delegated
// (cgroup_delegate_xattr_apply in its src/core/cgroup.c).
func delegated(dir string) bool {
	for _, name := range []string{"trusted.delegate", "user.delegate"} {
		var value [8]byte
		if n, err := unix.Lgetxattr(dir, name, value[:]); err == nil && string(value[:n]) == "1" {
			return true
		}
	}
	return false
}

// namedByRoot reports whether a container's group, in a directory that is closed, is
// what root made it. It may itself be delegated, as all scopes are that systemd makes for
// a runtime, and belong to the root of the container's user namespace, as runc and crun
// have it on cgroup2 (OwnerUID in runc's libcontainer/cgroups/systemd/v2.go).
func (fs *FS) namedByRoot(dir string, processes []int) bool {
	var st unix.Stat_t
	if unix.Lstat(dir, &st) != nil || st.Mode&0o022 != 0 {
		return false
	}
	if st.Uid == 0 {
		return true
	}
	const enough = 16 // they share the user namespace, except for what they nest
	for _, pid := range processes[:min(len(processes), enough)] {
		if fs.rootOf(pid) == st.Uid {
			return true
		}
	}
	return false
}

// rootOf returns the user that is root in the user namespace of a process
// (user_namespaces(7)); 0 if unknown.
func (fs *FS) rootOf(pid int) uint32 {
	b, err := os.ReadFile(filepath.Join(fs.root, "proc", strconv.Itoa(pid), "uid_map"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		var inside, outside, count uint32
		if n, _ := fmt.Sscan(line, &inside, &outside, &count); n == 3 && inside == 0 {
			return outside
		}
	}
	return 0
}

// idLength is that of the ids that runtimes give: hexadecimal digits.
const idLength = 64

// idIn returns the container's id in the name of a group, such as <id>,
// docker-<id>.scope or kubepods.slice:cri-containerd:<id>; "" if it has none.
func idIn(name string) string {
	name = strings.TrimSuffix(name, ".scope")
	before, id := name[:max(0, len(name)-idLength)], name[max(0, len(name)-idLength):]
	if len(id) < idLength || strings.Trim(id, "0123456789abcdef") != "" ||
		before != "" && !strings.HasSuffix(before, "-") && !strings.HasSuffix(before, ":") {
		return ""
	}
	return id
}

// ContainerOf returns the id of the container of which a process is, by the name that
// root gave to the outermost group with an id. It is "" if there is none, and if
// hierarchies disagree.
func (fs *FS) ContainerOf(pid int) string {
	p, err := fs.Paths(pid)
	if err != nil {
		return ""
	}
	l := fs.mounted()
	id := fs.idOnPath(l.unified, p.Unified, pid)
	for controller, mounts := range l.v1 {
		found := fs.idOnPath(mounts, p.V1[controller], pid)
		if found != "" && id != "" && found != id {
			return ""
		}
		id = cmp.Or(id, found)
	}
	return id
}

// idOnPath returns the outermost id on a group's path, by the first mount that has it;
// "" if it may be of another's making than root's.
func (fs *FS) idOnPath(mounts []hierarchy, at string, pid int) string {
	i := slices.IndexFunc(mounts, func(h hierarchy) bool { _, ok := h.directory(at); return ok })
	if i < 0 {
		return ""
	}
	dir := mounts[i].dir
	below := strings.TrimPrefix(at, strings.TrimSuffix(mounts[i].root, "/"))
	for name := range strings.SplitSeq(strings.TrimPrefix(below, "/"), "/") {
		dir = filepath.Join(dir, name)
		if id := idIn(name); id != "" && fs.namedByRoot(dir, []int{pid}) {
			return id
		}
		if !closed(dir) {
			break
		}
	}
	return ""
}
