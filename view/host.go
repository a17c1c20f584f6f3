package view

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

type hostFile int

const (
	hostMeminfo hostFile = iota
	hostSwaps
	hostCPUInfo
	hostStat
	hostUptime
	hostDiskstats
	hostCPUOnline
	hostCPUPossible
	hostCPUPresent
	hostLoadavg
	hostSlabinfo
	hostPressureCPU
	hostPressureMemory
	hostPressureIO
	hostPressureIRQ
	hostFiles
)

var hostPaths = [hostFiles]string{
	hostMeminfo:     "proc/meminfo",
	hostSwaps:       "proc/swaps",
	hostCPUInfo:     "proc/cpuinfo",
	hostStat:        "proc/stat",
	hostUptime:      "proc/uptime",
	hostDiskstats:   "proc/diskstats",
	hostCPUOnline:   "sys/devices/system/cpu/online",
	hostCPUPossible: "sys/devices/system/cpu/possible",
	hostCPUPresent:  "sys/devices/system/cpu/present",
	hostLoadavg:     "proc/loadavg",
	hostSlabinfo:    "proc/slabinfo",

	hostPressureCPU:    "proc/pressure/cpu",
	hostPressureMemory: "proc/pressure/memory",
	hostPressureIO:     "proc/pressure/io",
	hostPressureIRQ:    "proc/pressure/irq",
}

// hostAge is how old a shared snapshot of a host's file may be.
const hostAge = time.Second

// Host is the machine's own figures, shared by all views. Each file is read
// when somebody asks and the last reading is a second old: /proc/stat and
// cpuinfo cost milliseconds on machines with many CPUs and interrupts.
type Host struct {
	root string
	now  func() time.Duration // since boot, suspend included (CLOCK_BOOTTIME)
	// bootFraction returns the part of a second at which the machine booted,
	// which btime in /proc/stat leaves out.
	bootFraction func() time.Duration

	log    *slog.Logger // nil: none
	logged sync.Map     // kinds of errors

	meminfo    cached[meminfoLayout]
	swaps      cached[[]byte]
	cpuinfo    cached[[]cpuBlock]
	stat       cached[hostCPUStat]
	diskstats  cached[[]diskLine]
	online     cached[[]int]
	possible   cached[[]int]
	present    cached[[]int]
	overcommit cached[overcommit]
}

// NewHost gives the host whose /proc and /sys are below root.
func NewHost(root string) *Host {
	h := &Host{root: root, now: bootTime, bootFraction: bootFraction}
	h.meminfo.load = loader(h, hostMeminfo, parseMeminfo)
	h.swaps.load = h.readSwaps
	h.cpuinfo.load = loader(h, hostCPUInfo, parseCPUInfo)
	h.stat.load = loader(h, hostStat, parseHostStat)
	h.diskstats.load = loader(h, hostDiskstats, parseDiskstats)
	h.online.load = firstOf(loader(h, hostCPUOnline, parseCPUList), loader(h, hostStat, parseStatCPUs))
	h.possible.load = firstOf(loader(h, hostCPUPossible, parseCPUList), h.onlineNow)
	h.present.load = firstOf(loader(h, hostCPUPresent, parseCPUList), h.onlineNow)
	h.overcommit.load = h.readOvercommit
	return h
}

// loader reads and parses a host's file. The first error of each kind is logged.
// firstOf returns a reading of which the second way is taken if the first fails.
func firstOf[T any](first, second func() (T, error)) func() (T, error) {
	return func() (T, error) {
		if v, err := first(); err == nil {
			return v, nil
		}
		return second()
	}
}

func loader[T any](h *Host, f hostFile, parse func([]byte) (T, error)) func() (T, error) {
	return func() (T, error) {
		b, err := h.read(f)
		if err != nil {
			var none T
			errno, _ := errors.AsType[unix.Errno](err)
			h.warnOnce(f, errno.Error(), err)
			return none, err
		}
		v, err := parse(b)
		if err != nil {
			err = fmt.Errorf("host's /%s: %w", hostPaths[f], err)
			h.warnOnce(f, "parse", err)
		}
		return v, err
	}
}

// warnOnce logs an error of a host's file, unless one of its kind has been.
func (h *Host) warnOnce(f hostFile, kind string, err error) {
	if _, again := h.logged.LoadOrStore(hostPaths[f]+": "+kind, true); !again && h.log != nil {
		h.log.Error("can't use a file of the host's", "error", err)
	}
}

// lacking is the error of a host's file without its necessary figure, with the line
// where it should be: the first that begins with key, or the first of all.
func lacking(err error, b []byte, key string) error {
	first, _, _ := bytes.Cut(b, []byte("\n"))
	for line := range bytes.Lines(b) {
		if bytes.HasPrefix(line, []byte(key)) {
			first = bytes.TrimSuffix(line, []byte("\n"))
			break
		}
	}
	return fmt.Errorf("line %.80q: %w", first, err)
}

// readSwaps reads the host's file, which a kernel without swap has not.
func (h *Host) readSwaps() ([]byte, error) {
	b, err := h.read(hostSwaps)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

func (h *Host) read(f hostFile) ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(h.root, hostPaths[f]))
	if err != nil {
		return nil, fmt.Errorf("reading the host's file: %w", err)
	}
	return b, nil
}

func (h *Host) has(f *File) bool {
	_, err := os.Stat(filepath.Join(h.root, f.Path))
	return err == nil
}

// mode returns the permission bits of the host's own file, those in the table if it
// can't be seen.
func (h *Host) mode(f *File) uint32 {
	st, err := os.Stat(filepath.Join(h.root, f.Path))
	if err != nil {
		return f.Mode
	}
	return uint32(st.Mode().Perm())
}

func bootTime() time.Duration { return clock(unix.CLOCK_BOOTTIME) }

func bootFraction() time.Duration { return (clock(unix.CLOCK_REALTIME) - bootTime()) % time.Second }

func clock(id int32) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		panic("BUG: clock_gettime: " + err.Error()) // CLOCK_BOOTTIME since Linux 2.6.39
	}
	return time.Duration(ts.Nano())
}

// cached is one host's file as last read. The value is never changed once it
// is handed out.
type cached[T any] struct {
	load func() (T, error)

	mu  sync.Mutex // held across the host's file I/O: all who wait want that file
	at  time.Duration
	set bool
	val T
}

func (c *cached[T]) get(now time.Duration) (T, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.set && now-c.at < hostAge && now >= c.at {
		return c.val, nil
	}
	val, err := c.load()
	if err != nil {
		return val, err
	}
	c.val, c.at, c.set = val, now, true
	return val, nil
}
