package view

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
)

// /sys/devices/system/cpu: drivers/base/cpu.c, drivers/base/topology.c;
// Documentation/ABI/testing/sysfs-devices-system-cpu; docs/views.md, "The CPU
// directory". Each shown CPU's directory is that of the host's CPU it stands
// for, but for the files that place it among others.

// CPUDir is the directory whose entries CPUNode names.
const CPUDir = "sys/devices/system/cpu"

// CPUNode is an entry below CPUDir.
type CPUNode struct {
	CPU  int    // number shown, -1 for what is not in a CPU's directory
	Path string // below the CPU's directory, or below CPUDir; "" is the directory itself
}

// TopCPUNode is CPUDir itself.
var TopCPUNode = CPUNode{CPU: -1}

// Child is the entry of a directory by that name.
func (n CPUNode) Child(name string) CPUNode {
	if n == TopCPUNode {
		if i, ok := cpuDirNumber(name); ok {
			return CPUNode{CPU: i}
		}
	}
	return CPUNode{CPU: n.CPU, Path: path.Join(n.Path, name)}
}

// cpuDirNumber recognises "cpu12", but not "cpu012" and "cpuidle".
func cpuDirNumber(name string) (int, bool) {
	digits, ok := strings.CutPrefix(name, "cpu")
	n, err := strconv.Atoi(digits)
	return n, ok && err == nil && n >= 0 && strconv.Itoa(n) == digits
}

// hostCPUPath is where the host has what a node shows. The error is
// fs.ErrNotExist for a CPU that is not shown.
func (v *View) hostCPUPath(n CPUNode, shown []int) (string, error) {
	dir := filepath.Join(v.host.root, CPUDir)
	if n.CPU < 0 {
		return filepath.Join(dir, n.Path), nil
	}
	if n.CPU >= len(shown) {
		return "", fmt.Errorf("cpu%d of %d: %w", n.CPU, len(shown), fs.ErrNotExist)
	}
	return filepath.Join(dir, "cpu"+strconv.Itoa(shown[n.CPU]), n.Path), nil
}

// withCPUs hands the CPUs shown to use.
func (v *View) withCPUs(use func(shown []int) error) error {
	g, err := v.cgroup()
	if err != nil {
		return err
	}
	mem := borrow()
	defer mem.giveBack()
	c, err := v.readCPUs(g, mem)
	if err != nil {
		return err
	}
	if err := v.gone(g); err != nil {
		return err
	}
	return use(c.set)
}

// CPUEntry tells what a node is: its type and permissions, without those to
// write, and a symbolic link's target.
func (v *View) CPUEntry(n CPUNode) (mode fs.FileMode, target string, err error) {
	err = v.withCPUs(func(shown []int) error {
		p, err := v.hostCPUPath(n, shown)
		if err != nil {
			return err
		}
		st, err := os.Lstat(p)
		if err != nil {
			return err
		}
		if mode = st.Mode() &^ 0o222; mode&fs.ModeSymlink != 0 {
			target, err = os.Readlink(p)
		}
		return err
	})
	return mode, target, err
}

// CPUList lists a directory: name and type of each entry.
func (v *View) CPUList(n CPUNode) (all []fs.DirEntry, err error) {
	err = v.withCPUs(func(shown []int) error {
		p, err := v.hostCPUPath(n, shown)
		if err != nil {
			return err
		}
		if all, err = os.ReadDir(p); err != nil || n != TopCPUNode {
			return err
		}
		all = slices.DeleteFunc(all, func(e fs.DirEntry) bool {
			i, ok := cpuDirNumber(e.Name())
			return ok && i >= len(shown)
		})
		return nil
	})
	return all, err
}

// maxCPUFile bounds what is read of a sysfs file; they are at most a page.
const maxCPUFile = 64 << 10

// AppendCPUFile appends the content of a file.
func (v *View) AppendCPUFile(n CPUNode, b []byte) ([]byte, error) {
	err := v.withCPUs(func(shown []int) error {
		p, err := v.hostCPUPath(n, shown)
		if err != nil {
			return err
		}
		host, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if len(host) > maxCPUFile {
			return fmt.Errorf("%s has %d bytes", p, len(host))
		}
		b, err = appendCPUFile(b, n, shown, host)
		return err
	})
	return b, err
}

// appendCPUFile prints what a node shows for the host's content.
func appendCPUFile(b []byte, n CPUNode, shown []int, host []byte) ([]byte, error) {
	if n.CPU < 0 {
		if n.Path == "offline" {
			return append(b, '\n'), nil
		}
		return append(b, host...), nil
	}
	dir, name := path.Split(n.Path)
	list := strings.HasSuffix(name, "_list")
	name = strings.TrimSuffix(name, "_list")
	var set []int
	switch {
	case dir == "topology/" && slices.Contains([]string{"physical_package_id", "die_id"}, name):
		return append(b, "0\n"...), nil
	case dir == "topology/" && name == "core_id":
		return append(strconv.AppendInt(b, int64(n.CPU), 10), '\n'), nil
	case dir == "topology/" && slices.Contains([]string{"core_cpus", "thread_siblings", "cluster_cpus"}, name):
		set = []int{n.CPU}
	case dir == "topology/" && slices.Contains([]string{"package_cpus", "core_siblings", "die_cpus"}, name):
		for i := range shown {
			set = append(set, i)
		}
	case strings.HasPrefix(dir, "cache/") && (name == "shared_cpu" || name == "shared_cpu_map"):
		var err error
		if set, err = renumber(host, list, shown); err != nil {
			return b, err
		}
	default:
		return append(b, host...), nil
	}
	if list {
		return appendCPUList(b, set), nil
	}
	return appendCPUMask(b, set, host), nil
}

// renumber gives the shown numbers of the host's CPUs in a list or a mask.
func renumber(host []byte, list bool, shown []int) ([]int, error) {
	has := func(cpu int) bool { return inMask(host, cpu) }
	if list {
		hosts, err := cgroup.ParseCPUs(host, nil)
		if err != nil {
			return nil, err
		}
		has = func(cpu int) bool { return slices.Contains(hosts, cpu) }
	}
	var set []int
	for i, cpu := range shown {
		if has(cpu) {
			set = append(set, i)
		}
	}
	return set, nil
}

// appendCPUList prints "0-2,5".
func appendCPUList(b []byte, set []int) []byte {
	for i := 0; i < len(set); {
		j := i
		for j+1 < len(set) && set[j+1] == set[j]+1 {
			j++
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(set[i]), 10)
		if j > i {
			b = strconv.AppendInt(append(b, '-'), int64(set[j]), 10)
		}
		i = j + 1
	}
	return append(b, '\n')
}

// appendCPUMask prints a mask in as many digits and commas as the host's has
// (lib/bitmap.c: groups of 32 bits, as wide as the kernel has CPU numbers).
func appendCPUMask(b []byte, set []int, host []byte) []byte {
	host = bytes.TrimSpace(host)
	digits := len(host) - bytes.Count(host, []byte(","))
	for _, c := range host {
		if c == ',' {
			b = append(b, ',')
			continue
		}
		digits--
		var nibble byte
		for _, cpu := range set {
			if cpu/4 == digits {
				nibble |= 1 << (cpu % 4)
			}
		}
		b = append(b, "0123456789abcdef"[nibble])
	}
	return append(b, '\n')
}

// inMask says that a mask has a CPU's bit.
func inMask(mask []byte, cpu int) bool {
	digit := cpu / 4
	for _, c := range slices.Backward(mask) {
		if c == ',' || c == '\n' {
			continue
		}
		if digit == 0 {
			n, err := strconv.ParseUint(string(c), 16, 8)
			return err == nil && n>>(cpu%4)&1 == 1
		}
		digit--
	}
	return false
}

// CPUPaths lists the paths there are below the host's CPUDir and its CPUs'
// directories: what a CPUNode's Path can be.
func (r *Registry) CPUPaths() ([]string, error) {
	top := filepath.Join(r.host.root, CPUDir)
	seen := map[string]bool{}
	err := filepath.WalkDir(top, func(p string, _ fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, p)
		if err != nil {
			return err
		}
		first, rest, below := strings.Cut(rel, "/")
		if _, ok := cpuDirNumber(first); ok {
			if rel = rest; !below {
				return nil
			}
		}
		if rel != "." {
			seen[rel] = true
		}
		return nil
	})
	all := make([]string, 0, len(seen))
	for p := range seen {
		all = append(all, p)
	}
	return all, err
}
