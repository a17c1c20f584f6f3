package cgroup

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Paths is where a process is: its path in each hierarchy, as
// /proc/<pid>/cgroup lists it (cgroups(7)).
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
	p, err := parsePaths(string(b))
	if err != nil {
		return Paths{}, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

// parsePaths parses /proc/<pid>/cgroup. Only the first two colons separate:
// group names may hold colons and spaces.
func parsePaths(s string) (Paths, error) {
	p := Paths{V1: map[string]string{}}
	for line := range strings.Lines(s) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			continue
		}
		f := strings.SplitN(line, ":", 3)
		if len(f) != 3 {
			return Paths{}, fmt.Errorf("line %q is not hierarchy:controllers:path", clip(line))
		}
		at := strings.TrimSuffix(f[2], " (deleted)")
		if at == "/.." || strings.HasPrefix(at, "/../") {
			return Paths{}, fmt.Errorf("cgroup path %q leads out of this cgroup namespace: run the daemon in the host's (cgroupns: host)", clip(at))
		}
		if err := checkPath(at); err != nil {
			return Paths{}, err
		}
		if f[0] == "0" && f[1] == "" {
			p.Unified = at
			continue
		}
		for c := range strings.SplitSeq(f[1], ",") {
			p.V1[c] = at
		}
	}
	return p, nil
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
	if !strings.HasPrefix(p, "/") {
		p = "/" + p
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

// directory is where a controller's files of the group at p are, and the
// group's path in that hierarchy.
func (fs *FS) directory(p Paths, controller string) (dir, at string, v2, ok bool) {
	mount, v2, ok := fs.hierarchy(controller)
	if at = p.Unified; !v2 {
		at = p.V1[controller]
	}
	if !ok || at == "" {
		return "", "", v2, false
	}
	return filepath.Join(mount, at), at, v2, true
}

// Key tells groups from each other, by their paths.
func (p Paths) Key() string {
	return strings.Join([]string{p.Unified, p.V1["memory"], p.V1["cpu"], p.V1["cpuset"]}, "\n")
}

// Inode distinguishes the group at p from a later one of the same path; 0 if it does
// not exist.
func (fs *FS) Inode(p Paths) uint64 {
	for _, c := range []string{"memory", "cpu"} {
		if dir, _, _, ok := fs.directory(p, c); ok {
			n, _ := inode(dir)
			return n
		}
	}
	return 0
}

func inode(dir string) (uint64, error) {
	var st unix.Stat_t
	err := unix.Stat(dir, &st)
	return st.Ino, err
}

// ancestors lists a path and its parents up to the root, innermost first.
func ancestors(p string) []string {
	var all []string
	for {
		all = append(all, p)
		if p == "/" {
			return all
		}
		p = path.Dir(p)
	}
}
