package cgroup

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// Paths is where a process is: its path in each hierarchy, as
// /proc/<pid>/cgroup lists it (cgroups(7)). A path that leads out of this process's
// cgroup namespace begins with "/..".
type Paths struct {
	Unified string            // cgroup2, "" where there is none
	V1      map[string]string // by controller ("name=systemd" for named hierarchies)
}

const maxPath = 4096 // PATH_MAX

// Paths reads <root>/proc/<pid>/cgroup. The error is ErrGone for a process that ended.
func (fs *FS) Paths(pid int) (Paths, error) {
	name := filepath.Join(fs.root, "proc", strconv.Itoa(pid), "cgroup")
	b, err := os.ReadFile(name)
	if err != nil {
		if isGone(err) {
			return Paths{}, fmt.Errorf("process %d: %w", pid, ErrGone)
		}
		return Paths{}, fmt.Errorf("finding the cgroup of process %d: %w", pid, err)
	}
	return parsePaths(string(b), fs.mounted().exists), nil
}

// entry is a line of /proc/<pid>/cgroup.
type entry struct {
	controllers []string
	path        string
	rest        string // lines after it that are none
}

// parsePaths parses /proc/<pid>/cgroup; exists reports whether a group exists in a
// controller's hierarchy. A line that can't be parsed is ignored. Names of groups may
// hold everything but "/" and, since Linux 5.13, newlines: lines that are none
// belong to the path before them if there is such a group.
func parsePaths(s string, exists func(controller, at string) bool) Paths {
	var all []entry
	for line := range strings.Lines(s) {
		line = strings.TrimSuffix(line, "\n")
		if e, ok := parseEntry(line); ok {
			all = append(all, e)
		} else if n := len(all); n > 0 {
			all[n-1].rest += "\n" + line
		}
	}
	at := map[string]string{}
	for _, e := range all {
		found := e.find(exists)
		for _, c := range e.controllers {
			if _, again := at[c]; again {
				found = "" // a name with a newline looks like a line: which is it?
			}
			at[c] = found
		}
	}
	p := Paths{Unified: at[unified], V1: at}
	delete(at, unified)
	return p
}

// parseEntry parses "4:cpu,cpuacct:/path", and cgroup2's "0::/path". Only the first two
// colons separate.
func parseEntry(line string) (entry, bool) {
	f := strings.SplitN(line, ":", 3)
	if len(f) != 3 {
		return entry{}, false
	}
	if _, err := strconv.ParseUint(f[0], 10, 32); err != nil {
		return entry{}, false
	}
	n := outwards(f[2])
	if inside := f[2][n*len("/.."):]; checkPath(inside) != nil && (n == 0 || inside != "") {
		return entry{}, false
	}
	return entry{controllers: strings.Split(f[1], ","), path: f[2]}, true
}

// find returns the path of the entry's group.
func (e *entry) find(exists func(controller, at string) bool) string {
	at, controller := e.path, e.controllers[0]
	if whole := at + e.rest; e.rest != "" && checkPath(whole) == nil && exists(controller, whole) {
		return whole
	}
	// The kernel's note of a group that was removed, on cgroup2 only.
	if cut, ok := strings.CutSuffix(at, " (deleted)"); ok && controller == unified && !exists(unified, at) {
		return cut
	}
	return at
}

// checkPath refuses what must never be joined to a mount point.
func checkPath(p string) error {
	switch {
	case len(p) > maxPath:
		return fmt.Errorf("cgroup path of %d bytes: at most %d are possible", len(p), maxPath)
	case strings.ContainsRune(p, 0):
		return fmt.Errorf("cgroup path %q holds a NUL byte", clip(p))
	case !strings.HasPrefix(p, "/") || path.Clean(p) != p:
		return fmt.Errorf("cgroup path %q is not a clean absolute path", clip(p))
	}
	return nil
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}

// SpecPath turns linux.cgroupsPath of an OCI spec into a path in the
// hierarchy. The systemd form "slice:prefix:name" becomes the nested slices
// that systemd makes of it (systemd.slice(5)); any other is taken as it is.
func SpecPath(cgroupsPath string) (string, error) {
	p := cgroupsPath
	if parts := strings.Split(p, ":"); len(parts) == 3 && !strings.Contains(parts[1]+parts[2], "/") && strings.HasSuffix(parts[2], ".slice") {
		p = expandSlice(parts[2])
	} else if len(parts) == 3 && !strings.Contains(p, "/") {
		unit := parts[2] + ".scope"
		if parts[1] != "" {
			unit = parts[1] + "-" + unit
		}
		slice := parts[0]
		if slice == "" {
			slice = "system.slice"
		}
		p = path.Join(expandSlice(slice), unit)
	}
	if p = "/" + p; !strings.Contains(p+"/", "/../") {
		p = path.Clean(p) // as runtimes do
	}
	if err := checkPath(p); err != nil {
		return "", err
	}
	return p, nil
}

// expandSlice gives /a.slice/a-b.slice for a-b.slice; "-.slice" is the root.
func expandSlice(slice string) string {
	name, ok := strings.CutSuffix(slice, ".slice")
	if !ok || name == "-" {
		if ok {
			return "/"
		}
		return "/" + slice
	}
	var b strings.Builder
	for i, r := range name {
		if r == '-' && i > 0 {
			b.WriteString("/" + name[:i] + ".slice")
		}
	}
	b.WriteString("/" + name + ".slice")
	return b.String()
}

// container strips what an init did below its group: with the spec's path
// known, everything below it (also where a nested runtime sees the path
// without its own prefix); else a trailing /init.scope, systemd's own.
func (p Paths) container(spec string) Paths {
	cut := func(at string) string {
		if spec != "" && spec != "/" {
			if i := strings.Index(at+"/", spec+"/"); i >= 0 {
				return at[:i+len(spec)]
			}
		}
		if s := strings.TrimSuffix(at, "/init.scope"); s != "" {
			return s
		}
		return at
	}
	out := Paths{V1: make(map[string]string, len(p.V1))}
	if p.Unified != "" {
		out.Unified = cut(p.Unified)
	}
	for c, at := range p.V1 {
		out.V1[c] = cut(at)
	}
	return out
}

// Key distinguishes groups by their paths.
func (p Paths) Key() string {
	return strings.Join([]string{p.Unified, p.V1["memory"], p.V1["cpu"], p.V1["cpuset"]}, "\x00")
}

// Inode distinguishes the group at p from a later one of the same path; 0 if there is
// none.
func (fs *FS) Inode(p Paths) uint64 {
	n, _ := fs.mounted().innermost(p).inode()
	return n
}
