package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
)

const mib = 1 << 20

// look reads everything once.
func look(w *watch, g *fixture.Group) (s sample, err error) {
	v2 := g.File("memory.current") != ""
	read := func(name, key string) float64 {
		x, e := value(g.File(name), key)
		err = errors.Join(err, e)
		return x
	}
	s.at = time.Now()
	var boot unix.Timespec
	var info unix.Sysinfo_t
	err = errors.Join(unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot), unix.Sysinfo(&info))
	s.sinceBoot = float64(boot.Nano()) / 1e9
	s.hostFree = float64(info.Freeram) * float64(info.Unit) / mib
	s.hostLoad = float64(info.Loads[0]) / (1 << 16)
	stat := func(key string) float64 { return read("memory.stat", key) / mib }
	if v2 {
		slab := stat("slab_reclaimable")
		s.used = read("memory.current", "") / mib
		s.cache = stat("file") + slab
		s.reclaimable = stat("active_file") + stat("inactive_file") + slab
		s.cpu = read("cpu.stat", "usage_usec") / 1e6
	} else {
		s.used = read("memory.usage_in_bytes", "") / mib
		s.cache = stat("total_cache")
		s.reclaimable = stat("total_active_file") + stat("total_inactive_file")
		s.cpu = read("cpuacct.usage", "") / 1e9
	}
	s.written = groupWritten(g, w.machine.diskNumber, &err) / 1024
	if w.worker != 0 {
		f, e := processStat(w.worker)
		s.workCPU = (f[14] + f[15]) / 100
		err = errors.Join(err, e)
	}
	return s, errors.Join(err, lookAtHost(w, &s))
}

func lookAtHost(w *watch, s *sample) error {
	disk, err := os.ReadFile("/sys/block/" + w.machine.disk + "/stat")
	if err != nil {
		return err
	}
	sectors, err := strconv.ParseFloat(strings.Fields(string(disk))[6], 64)
	s.hostWritten = sectors / 2
	node, e := os.ReadFile("/sys/devices/system/node/node0/meminfo")
	_, scan := fmt.Sscanf(string(node), "Node 0 MemTotal: %f kB", &s.hostNode)
	s.hostNode /= 1024
	return errors.Join(err, e, scan)
}

// value reads a number of a cgroup file: that of a key, or its only one.
func value(file, key string) (float64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if key == "" && len(f) == 1 || len(f) == 2 && f[0] == key {
			return strconv.ParseFloat(f[len(f)-1], 64)
		}
	}
	return 0, fmt.Errorf("%s: no line %q", file, key)
}

// groupWritten is what the kernel counts as written to a disk by a group, in bytes.
func groupWritten(g *fixture.Group, disk string, err *error) (n float64) {
	file, key := g.File("io.stat"), "wbytes="
	if file == "" {
		file, key = g.File("blkio.throttle.io_service_bytes_recursive"), "Write "
	}
	b, e := os.ReadFile(file)
	*err = errors.Join(*err, e)
	for line := range strings.Lines(string(b)) {
		number, rest, _ := strings.Cut(line, " ")
		if _, after, ok := strings.Cut(rest, key); ok && number == disk {
			n, e = strconv.ParseFloat(strings.Fields(after)[0], 64)
			*err = errors.Join(*err, e)
		}
	}
	return n
}

// during looks again and again while f runs, but not so often that looking is
// most of what a slow machine does.
func (w *watch) during(g *fixture.Group, f func()) error {
	const every = 20 * time.Millisecond // what a program allocates may be freed soon
	pause := every
	first, err := look(w, g)
	if err != nil {
		return err
	}
	if w.asked == 0 {
		w.asked = first.sinceBoot
	}
	w.samples = []sample{first}
	stop, done := make(chan struct{}), make(chan error)
	go func() {
		for {
			var last bool
			select {
			case <-stop:
				last = true
			case <-time.After(pause):
			}
			s, err := look(w, g)
			pause = max(every, 10*time.Since(s.at))
			w.samples = append(w.samples, s)
			if last || err != nil {
				done <- err
				return
			}
		}
	}()
	f()
	close(stop)
	return <-done
}

// thisMachine asks the kernel, not /proc/meminfo, what there is.
func thisMachine(dir string) (m machine, err error) {
	var info unix.Sysinfo_t
	var st unix.Stat_t
	var uts unix.Utsname
	if err := errors.Join(unix.Sysinfo(&info), unix.Stat(dir, &st), unix.Uname(&uts)); err != nil {
		return m, err
	}
	m.kernel = unix.ByteSliceToString(uts.Release[:])
	if end := strings.IndexAny(m.kernel, "-+"); end > 0 {
		m.kernel = m.kernel[:end]
	}
	m.total = float64(info.Totalram) * float64(info.Unit) / mib
	m.swap = float64(info.Totalswap) * float64(info.Unit) / mib
	dirs, err := filepath.Glob("/sys/devices/system/cpu/cpu[0-9]*/topology")
	if err != nil {
		return m, err
	}
	m.cpus = float64(len(dirs)) // those online: the others have no topology
	number := fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	sys, err := filepath.EvalSymlinks("/sys/dev/block/" + number)
	if err != nil {
		return m, fmt.Errorf("%s is not on a disk: set TMPDIR to a folder that is: %w", dir, err)
	}
	if _, err := os.Stat(sys + "/partition"); err == nil {
		sys = filepath.Dir(sys) // groups' I/O is counted per disk
	}
	b, err := os.ReadFile(sys + "/dev")
	if err != nil {
		return m, err
	}
	m.disk, m.diskNumber = filepath.Base(sys), strings.TrimSpace(string(b))
	m.blocks, err = memoryBlocks()
	return m, err
}

// memoryBlocks is the size of all blocks of memory that are online.
func memoryBlocks() (float64, error) {
	const dir = "/sys/devices/system/memory/"
	b, err := os.ReadFile(dir + "block_size_bytes")
	if err != nil {
		return 0, err
	}
	size, err := strconv.ParseUint(strings.TrimSpace(string(b)), 16, 64)
	if err != nil {
		return 0, err
	}
	blocks, err := filepath.Glob(dir + "memory[0-9]*/online")
	if err != nil {
		return 0, err
	}
	online := 0
	for _, file := range blocks {
		if b, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(b)) == "1" {
			online++
		}
	}
	return float64(online) * float64(size) / mib, nil
}
