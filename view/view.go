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
	bound     bool // group was found by the init's pid
	released  bool // keeps no descriptors any more
	start     time.Duration
	startSet  bool
	init      int           // pid of the init, where it was found by the container's id
	sought    time.Duration // when it was looked for last, since boot
	watched   string        // directory of the group whose removal ends the view

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
	vanish  func(*View)
}

// Append appends the content of a file. The error is ErrGone for a container
// that ended.
func (v *View) Append(f *File, b []byte) ([]byte, error) { return f.Append(v, b) }

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

// cgroup gives the container's group, found when it is first needed: between
// its creation and its start a container may have a path but no process.
func (v *View) cgroup() (*cgroup.Group, error) {
	if v.ended.Load() {
		return nil, ErrGone
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.group != nil && (v.bound || v.container.PID == 0) {
		return v.group, nil
	}
	g, err := v.findLocked()
	switch {
	case errors.Is(err, cgroup.ErrGone):
		return nil, ErrGone
	case err != nil:
		return nil, fmt.Errorf("container %s: %w", v.container.ID, err)
	}
	if v.group != nil && !v.released {
		v.group.Close()
	}
	v.group, v.bound = g, v.container.PID != 0
	if v.released {
		g.Close() // it opens its files for each read from now on
	} else if v.found != nil {
		v.found(v, g)
	}
	return g, nil
}

func (v *View) findLocked() (*cgroup.Group, error) {
	c := &v.container
	switch {
	case c.PID != 0:
		return v.fs.Group(c.PID, c.CgroupsPath)
	case c.CgroupsPath != "":
		return v.fs.GroupOfSpec(c.CgroupsPath)
	}
	return v.seekLocked()
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
		// An id is used again when a container is restarted, a group is not.
		identity := fmt.Sprintf("%s %d", v.Container().ID, g.Inode())
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.released {
			return // nobody would give the room back
		}
		born, known := v.clock.goOn(v.kept.take(identity))
		if known && v.container.PID == 0 {
			v.start = min(v.start, born) // the task that was the oldest may have ended
		}
	})
}

// startOf reads when a process started, since boot: field 22 of
// /proc/<pid>/stat (proc_pid_stat(5)), in ticks.
func (h *Host) startOf(pid int) (time.Duration, error) {
	name := filepath.Join(h.root, "proc", strconv.Itoa(pid), "stat")
	b, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	// The name in field 2 may hold blanks and parentheses; after it come field 3 and on.
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	const startTime = 22 - 3
	if len(f) <= startTime {
		return 0, fmt.Errorf("%s has %d fields", name, len(f)+2)
	}
	n, err := strconv.ParseUint(string(f[startTime]), 10, 53)
	if err != nil {
		return 0, fmt.Errorf("%s: field 22: %w", name, err)
	}
	return time.Duration(n) * tick, nil
}

// fault notes a cgroup file that could not be read: its figure is 0. The
// first one of a view is logged. That a group was removed is no fault.
func (v *View) fault(err error) {
	if err == nil {
		return
	}
	v.suspect.Store(true)
	if (errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV)) && v.removed() {
		return
	}
	if v.faults.Add(1) == 1 && v.log != nil {
		c := v.Container()
		v.log.Warn("a cgroup file can't be read, its figures are shown as 0",
			"container", c.ID, "namespace", c.Namespace, "pod", c.Pod, "name", c.Name, "error", err)
	}
}

// removed says that the view's group does not exist any more.
func (v *View) removed() bool {
	v.mu.Lock()
	g := v.group
	v.mu.Unlock()
	return g != nil && g.Gone()
}

// faultUnlessMissing is fault for files that not every kernel has.
func (v *View) faultUnlessMissing(err error) {
	if errors.Is(err, os.ErrNotExist) {
		v.suspect.Store(true)
		return
	}
	v.fault(err)
}

// figure is a figure read, 0 where that failed.
func (v *View) figure(n uint64, err error) uint64 {
	if err != nil {
		v.fault(err)
		return 0
	}
	return n
}

// gone ends a render: figures of a group that was removed meanwhile are not
// shown. It looks at the directory only after a file was missing.
func (v *View) gone(g *cgroup.Group) error {
	if v.ended.Load() {
		return ErrGone
	}
	if !v.suspect.Swap(false) {
		return nil
	}
	if g.Gone() {
		v.ended.Store(true)
		if v.vanish != nil {
			v.vanish(v)
		}
		return ErrGone
	}
	return nil
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
	gone := v.group == nil
	if v.group != nil {
		gone = v.group.Gone()
		v.group.Close()
	}
	v.clock.end(gone)
}
