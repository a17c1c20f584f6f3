package view

import (
	"fmt"
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
	h.swaps.load = loader(h, hostSwaps, func(b []byte) ([]byte, error) { return b, nil })
	h.cpuinfo.load = loader(h, hostCPUInfo, parseCPUInfo)
	h.stat.load = loader(h, hostStat, parseHostStat)
	h.diskstats.load = loader(h, hostDiskstats, parseDiskstats)
	h.online.load = h.readOnline
	h.possible.load = h.readCPUListOrOnline(hostCPUPossible)
	h.present.load = h.readCPUListOrOnline(hostCPUPresent)
	h.overcommit.load = h.readOvercommit
	return h
}

func loader[T any](h *Host, f hostFile, parse func([]byte) (T, error)) func() (T, error) {
	return func() (T, error) {
		b, err := h.read(f)
		if err != nil {
			var none T
			return none, err
		}
		v, err := parse(b)
		if err != nil {
			return v, fmt.Errorf("host's /%s: %w", hostPaths[f], err)
		}
		return v, nil
	}
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
