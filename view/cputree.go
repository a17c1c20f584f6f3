package view

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// /sys/devices/system/cpu: drivers/base/cpu.c, drivers/base/topology.c;
// Documentation/ABI/testing/sysfs-devices-system-cpu; docs/views.md, "The CPU
// directory". It is the host's, with the CPUs that are not shown off-line.

// CPUDir is the directory whose entries CPUNode names.
const CPUDir = "sys/devices/system/cpu"

// CPUNode is an entry below CPUDir.
type CPUNode struct {
	CPU  int    // the host's number, -1 for what is not in a CPU's directory
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

// onlineEntries are the entries of a CPU's directory that the kernel removes as
// the CPU goes off-line. The others stay.
var onlineEntries = []string{
	"topology", "cache", "cpu_capacity", // drivers/base
	"microcode", "thermal_throttle", "power/energy_perf_bias", // arch/x86, drivers/thermal/intel
	"regs",                                     // arch/arm64
	"capability", "idle_count", "idle_time_us", // arch/s390
	"dscr", "idle_purr", "idle_spurr", "mmcr*", "pir", "pmc*", "purr", "smt_snooze_delay", "spurr", "tscr", // arch/powerpc
}

// zeroOffline are the files that are "0" for an off-line CPU. Its "online" exists
// even if the host can't take that CPU off-line.
var zeroOffline = []string{"online", "hotplug/state", "hotplug/target"}

// leaves reports whether an entry of a CPU's directory is not there as long as
// the CPU is off-line.
func leaves(p string) bool {
	for ; p != "." && p != ""; p = path.Dir(p) {
		for _, pattern := range onlineEntries {
			if ok, _ := path.Match(pattern, p); ok {
				return true
			}
		}
	}
	return false
}

// hostPath is where the host has what a node shows. The error is fs.ErrNotExist
// for what an off-line CPU does not have.
func (v *View) hostPath(n CPUNode, c *cpus) (string, error) {
	dir := filepath.Join(v.host.root, CPUDir)
	if n.CPU < 0 {
		return filepath.Join(dir, n.Path), nil
	}
	if c.offline(n.CPU) && leaves(n.Path) {
		return "", fmt.Errorf("%s of CPU %d, which is off-line: %w", n.Path, n.CPU, fs.ErrNotExist)
	}
	return filepath.Join(dir, "cpu"+strconv.Itoa(n.CPU), n.Path), nil
}

// withCPUs passes the CPUs shown to use.
func (v *View) withCPUs(use func(c *cpus) error) error {
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
	if err := v.gone(g); errors.Is(err, errMoved) {
		return v.withCPUs(use)
	} else if err != nil {
		return err
	}
	return use(&c)
}

// CPUEntry returns what a node is: its type and permissions, without those to
// write, and a symbolic link's target.
func (v *View) CPUEntry(n CPUNode) (mode fs.FileMode, target string, err error) {
	err = v.withCPUs(func(c *cpus) error {
		p, err := v.hostPath(n, c)
		if err != nil {
			return err
		}
		st, err := os.Lstat(p)
		if errors.Is(err, fs.ErrNotExist) && n.Path == "online" && c.offline(n.CPU) {
			mode = 0o444
			_, err = os.Lstat(filepath.Dir(p))
			return err
		}
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

// CPUListed is an entry of a directory: its name and type.
type CPUListed struct {
	Name string
	Type fs.FileMode
}

// CPUList lists a directory.
func (v *View) CPUList(n CPUNode) (all []CPUListed, err error) {
	err = v.withCPUs(func(c *cpus) error {
		p, err := v.hostPath(n, c)
		if err != nil {
			return err
		}
		entries, err := os.ReadDir(p)
		if err != nil {
			return err
		}
		offline := n.CPU >= 0 && c.offline(n.CPU)
		for _, e := range entries {
			if !offline || !leaves(path.Join(n.Path, e.Name())) {
				all = append(all, CPUListed{e.Name(), e.Type()})
			}
		}
		online := CPUListed{Name: "online"}
		if offline && n.Path == "" && !slices.Contains(all, online) {
			all = append(all, online)
		}
		return nil
	})
	return all, err
}

// maxCPUFile bounds what is read of a sysfs file: a list of 65536 CPUs, each
// other of which is in it.
const maxCPUFile = 256 << 10

// AppendCPUFile appends the content of a file.
func (v *View) AppendCPUFile(n CPUNode, b []byte) ([]byte, error) {
	err := v.withCPUs(func(c *cpus) error {
		p, err := v.hostPath(n, c)
		if err != nil {
			return err
		}
		if n.CPU >= 0 && c.offline(n.CPU) && slices.Contains(zeroOffline, n.Path) {
			_, err := os.Lstat(filepath.Dir(p))
			b = append(b, "0\n"...)
			return err
		}
		if n.CPU < 0 && v.inactivePolicy(n.Path, c) {
			return fmt.Errorf("%s: its CPUs are off-line: %w", n.Path, unix.EBUSY)
		}
		host, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if len(host) > maxCPUFile {
			return fmt.Errorf("%s has %d bytes", p, len(host))
		}
		b = v.appendCPUFile(b, n, host, c)
		return nil
	})
	return b, err
}

// inactivePolicy reports whether a file is that of a cpufreq policy all of whose
// CPUs are off-line. The kernel answers EBUSY then (show in
// drivers/cpufreq/cpufreq.c).
func (v *View) inactivePolicy(p string, c *cpus) bool {
	parts := strings.SplitN(p, "/", 3)
	if c.all || len(parts) < 3 || parts[0] != "cpufreq" || !strings.HasPrefix(parts[1], "policy") {
		return false
	}
	affected, err := os.ReadFile(filepath.Join(v.host.root, CPUDir, parts[0], parts[1], "affected_cpus"))
	return err == nil && string(appendCutWords(nil, affected, c.set)) == "\n"
}

// CPUPaths lists the paths that exist below the host's CPUDir and its CPUs'
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
