package view

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
)

// ErrGone says that a container has ended, or has no cgroup yet.
var ErrGone = errors.New("container is gone")

// Container is what a runtime told of a container.
type Container struct {
	ID        string
	Runtime   string // its name, as NRI tells it
	Namespace string // of its pod; "" outside Kubernetes
	Pod       string
	Name      string
	// CgroupsPath is linux.cgroupsPath of the OCI spec, "" where it is not told.
	CgroupsPath string
	// PID is the container's init as the daemon sees it, 0 before it is started.
	PID int
}

// OnlyID says that no runtime has told of it: somebody has asked for its id.
func (c Container) OnlyID() bool { return c == Container{ID: c.ID} }

// View is the set of files one container sees. All methods may be called at
// the same time.
type View struct {
	Number uint32 // stands in node ids; never 0
	host   *Host
	fs     *cgroup.FS
	log    *slog.Logger

	noSwap, hideThrottled bool
	callersGroup          uint32

	mu        sync.Mutex
	container Container
	group     *cgroup.Group
	followed  *cgroup.Process // the init, by which group was found; nil: by its path alone
	checked   time.Time       // when the init's group was read last
	released  bool            // keeps no descriptors any more
	start     time.Duration
	startSet  bool
	init      int           // pid of the init, where it was found by the container's id
	sought    time.Duration // when it was looked for last, since boot
	watched   string        // directory of the group, the removal of which is noticed

	ended   atomic.Bool // its group was removed
	suspect atomic.Bool // a file was missing that may mean so
	faults  atomic.Uint64

	limitFound atomic.Int64 // when a limit was found last, since boot in ns; of a caller's

	timeNS  cached[timeNamespace]
	clock   cpuClock
	keeping sync.Once
	tasks   tasks
	load    load

	sampler *sampler // the registry's
	kept    *Kept    // the registry's
	found   func(*View, *cgroup.Group)
	vanish  func(*View) // its container has ended
}

// Append appends the content of a file. The error is ErrGone for a container
// that ended.
func (v *View) Append(f *File, b []byte) ([]byte, error) {
	for {
		out, err := f.Append(v, b)
		if !errors.Is(err, errMoved) {
			return out, err
		}
	}
}

// Container is what is known of the container now.
func (v *View) Container() Container {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.container
}

// Running says that the container's init exists, as far as it is known.
func (v *View) Running() bool {
	pid := v.PID()
	if pid == 0 {
		return false
	}
	_, err := os.Stat(filepath.Join(v.host.root, "proc", strconv.Itoa(pid)))
	return err == nil
}

// PID is the container's init as the daemon sees it: as the runtime told, or as
// it was found by the container's id. It is 0 where it is not known (yet).
func (v *View) PID() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.pidLocked()
}

func (v *View) pidLocked() int {
	if v.container.PID != 0 {
		return v.container.PID
	}
	return v.init
}

// started is when the container's init started, since boot.
func (v *View) started() (start time.Duration, known bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.startedLocked()
}

func (v *View) startedLocked() (start time.Duration, known bool) {
	if pid := v.pidLocked(); !v.startSet && pid != 0 {
		start, err := v.host.startOf(pid)
		if err != nil {
			return 0, false
		}
		v.start, v.startSet = start, true
	}
	return v.start, v.startSet
}

// keepClock has the CPU clock outlive the process, and go on from where an
// earlier process left it.
func (v *View) keepClock(g *cgroup.Group) {
	v.keeping.Do(func() {
		if v.kept == nil {
			return
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		// An id is used again when a container is restarted.
		identity := fmt.Sprintf("%s %d", v.container.ID, v.start)
		if v.pidLocked() == 0 {
			identity = fmt.Sprintf("%s %d", v.container.ID, g.Inode())
		}
		if v.released {
			return // nobody would give the room back
		}
		born, known := v.clock.goOn(v.kept.take(identity))
		if known && v.container.PID == 0 {
			v.start = min(v.start, born) // the task that was the oldest may have ended
		}
	})
}

// startOf reads when a process started, since boot.
func (h *Host) startOf(pid int) (time.Duration, error) {
	_, start, err := h.processStat(pid)
	return start, err
}

// lives reports whether the process that started then has not begun to end.
func (h *Host) lives(pid int, start time.Duration) bool {
	const exiting = 0x4 // PF_EXITING in include/linux/sched.h
	flags, started, err := h.processStat(pid)
	return err == nil && started == start && flags&exiting == 0
}

// processStat reads the flags of a process, and when it started, since boot: fields 9
// and 22 of /proc/<pid>/stat (proc_pid_stat(5)), the latter in ticks.
func (h *Host) processStat(pid int) (flags uint64, start time.Duration, err error) {
	name := filepath.Join(h.root, "proc", strconv.Itoa(pid), "stat")
	b, err := os.ReadFile(name)
	if err != nil {
		return 0, 0, err
	}
	flags, start, err = parseProcessStat(b)
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w", name, err)
	}
	return flags, start, nil
}

// parseProcessStat parses fields 9 and 22. The name in field 2 may hold blanks,
// newlines and parentheses; after it come field 3 and on.
func parseProcessStat(b []byte) (flags uint64, start time.Duration, err error) {
	end := bytes.LastIndexByte(b, ')')
	f := bytes.Fields(b[end+1:])
	const flagsAt, startAt = 9 - 3, 22 - 3
	if end < 0 || len(f) <= startAt {
		return 0, 0, fmt.Errorf("there is no field 22")
	}
	flags, _ = strconv.ParseUint(string(f[flagsAt]), 10, 64)
	n, err := strconv.ParseUint(string(f[startAt]), 10, 53)
	if err != nil {
		return 0, 0, fmt.Errorf("field 22: %w", err)
	}
	return flags, time.Duration(n) * tick, nil
}

// fault notes a cgroup file that could not be read. The first one of a view is
// logged. That a group was removed is no fault.
func (v *View) fault(err error) {
	if err == nil {
		return
	}
	v.suspect.Store(true)
	if errors.Is(err, unix.ENODEV) || errors.Is(err, os.ErrNotExist) && v.removed() {
		return
	}
	if v.faults.Add(1) == 1 && v.log != nil {
		c := v.Container()
		v.log.Warn("a cgroup file can't be read: its limit is ignored, its use is shown as 0",
			"container", c.ID, "namespace", c.Namespace, "pod", c.Pod, "name", c.Name, "error", err)
	}
}

// faultUnlessMissing is fault for files that not every kernel has.
func (v *View) faultUnlessMissing(err error) {
	if errors.Is(err, os.ErrNotExist) {
		v.suspect.Store(true)
		return
	}
	v.fault(err)
}

// limit returns a limit that was read, NoLimit if it is missing or can't be read.
func (v *View) limit(n uint64, err error) uint64 {
	v.faultUnlessMissing(err)
	if err != nil {
		return cgroup.NoLimit
	}
	return n
}

// figure returns a use that was read, 0 if that failed.
func (v *View) figure(n uint64, err error) uint64 {
	if err != nil {
		v.fault(err)
		return 0
	}
	return n
}

// close ends the view; reads end with ErrGone.
func (v *View) close() {
	v.ended.Store(true)
	v.release()
}

// release gives the view's descriptors and its clock's room back. It can be read
// still.
func (v *View) release() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.released = true
	gone := v.group == nil || v.group.Gone() && !v.livesLocked()
	if v.group != nil {
		v.group.Close()
	}
	if v.followed != nil {
		v.followed.Close()
	}
	v.clock.end(gone)
}
