package view

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// timeNamespace is the time namespace of a container's init (time_namespaces(7)).
type timeNamespace struct {
	own    bool          // it is not the daemon's
	offset time.Duration // added to the daemon's CLOCK_BOOTTIME
}

// readTimeNamespace reads the time namespace of a process. Where that fails (a
// kernel before Linux 5.6, a process that ended) it is the daemon's own.
func (h *Host) readTimeNamespace(pid int) (timeNamespace, error) {
	none := timeNamespace{}
	if pid == 0 {
		return none, nil
	}
	ours, err := os.Readlink(filepath.Join(h.root, "proc/self/ns/time"))
	if err != nil {
		return none, nil //nolint:nilerr // no time namespaces
	}
	dir := filepath.Join(h.root, "proc", strconv.Itoa(pid))
	if its, err := os.Readlink(filepath.Join(dir, "ns/time")); err != nil || its == ours {
		return none, nil //nolint:nilerr // it ended
	}
	its, err := readBootOffset(dir)
	if err != nil {
		return none, err
	}
	own, err := readBootOffset(filepath.Join(h.root, "proc/self"))
	return timeNamespace{own: true, offset: its - own}, err
}

// readBootOffset reads the offset of CLOCK_BOOTTIME from the timens_offsets of a
// process.
func readBootOffset(dir string) (time.Duration, error) {
	name := filepath.Join(dir, "timens_offsets")
	b, err := os.ReadFile(name)
	if err != nil {
		return 0, fmt.Errorf("read time namespace: %w", err)
	}
	offset, err := parseBootOffset(b)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return offset, nil
}

// parseBootOffset parses lines of a clock, seconds and nanoseconds; the clock is
// a number or, since Linux 5.7, a name.
func parseBootOffset(b []byte) (time.Duration, error) {
	for line := range bytes.Lines(b) {
		f := bytes.Fields(line)
		if len(f) != 3 || string(f[0]) != "boottime" && string(f[0]) != "7" {
			continue
		}
		sec, err := strconv.ParseInt(string(f[1]), 10, 33) // 68 years
		if err != nil {
			return 0, fmt.Errorf("line %q: seconds: %w", line, err)
		}
		nsec, err := strconv.ParseInt(string(f[2]), 10, 32)
		if err != nil {
			return 0, fmt.Errorf("line %q: nanoseconds: %w", line, err)
		}
		return time.Duration(sec)*time.Second + time.Duration(nsec), nil
	}
	return 0, fmt.Errorf("no boottime line")
}

// timeNamespace returns the time namespace of the container's init, as it was at
// most a second ago: a runtime's process becomes the init and may change it.
func (v *View) timeNamespace() timeNamespace {
	ns, err := v.timeNS.get(v.host.now())
	v.faultUnlessMissing(err)
	return ns
}

// bootTime returns when the machine booted, in seconds since the epoch, as the
// namespace has it (timens_sub_boottime in the kernel's show_stat). btime is
// the host's.
func (ns timeNamespace) bootTime(h *Host, btime uint64) uint64 {
	if ns.offset == 0 {
		return btime
	}
	at := time.Duration(btime)*time.Second + h.bootFraction() - ns.offset
	return uint64(max(0, at) / time.Second)
}
