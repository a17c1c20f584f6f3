package view

import (
	"container/list"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
)

// maxCallers bounds the views kept for caller-resolved reads.
const maxCallers = 1024

// callers keeps the views of those who read the caller-resolved files, the
// least recently used one going first.
type callers struct {
	mu    sync.Mutex
	byKey map[string]*list.Element
	used  *list.List // of *caller, most recently used first

	hostNS string // the daemon's own PID namespace, as /proc/<pid>/ns/pid names it
}

type caller struct {
	key   string
	view  *View
	inode uint64 // of its group
	pid   int    // init of the reader's PID namespace, 0 where the reader is in the host's
	once  sync.Once
}

// prepare finds since when the container of a reader in the host's PID namespace
// has run, once, and its clock.
func (c *caller) prepare(h *Host) *View {
	c.once.Do(func() {
		v := c.view
		if v.start, v.startSet = h.earliest(v.group); v.startSet {
			v.keepClock(v.group)
		}
	})
	return c.view
}

func (c *callers) init(root string) {
	c.hostNS, _ = os.Readlink(filepath.Join(root, "proc/self/ns/pid")) // a fixture has none
	c.byKey = map[string]*list.Element{}
	c.used = list.New()
}

func (c *callers) get(key string) *caller {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byKey[key]
	if e == nil {
		return nil
	}
	c.used.MoveToFront(e)
	return e.Value.(*caller)
}

// put keeps a caller, and gives the one that counts: another reader may have
// come to the same one meanwhile, and reads its view.
func (c *callers) put(n *caller) *caller {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.byKey[n.key]; e != nil {
		old := e.Value.(*caller)
		if old.inode == n.inode && old.pid == n.pid && !old.view.ended.Load() {
			n.view.release()
			return old
		}
		c.dropLocked(e)
	}
	for c.used.Len() >= maxCallers {
		c.dropLocked(c.used.Back())
	}
	c.byKey[n.key] = c.used.PushFront(n)
	return n
}

// dropLocked forgets a caller. Who reads its view right now reads on.
func (c *callers) dropLocked(e *list.Element) {
	old := c.used.Remove(e).(*caller)
	delete(c.byKey, old.key)
	old.view.release()
}

func (c *callers) closeAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.used.Len() > 0 {
		c.dropLocked(c.used.Back())
	}
}

// AppendForCaller appends what callers of this view (Registry.CallerView) shall
// see of a file: it, or the host's own file where no level has a limit.
func (v *View) AppendForCaller(f *File, b []byte) ([]byte, error) {
	limited, err := v.limitedRecently()
	switch {
	case err != nil:
		return b, err
	case limited:
		return v.Append(f, b)
	}
	whole, err := v.host.read(f.host)
	if errors.Is(err, os.ErrNotExist) && f.Reach == Inside {
		return v.Append(f, b) // a host without that list of CPUs
	}
	return append(b, whole...), err
}

// limitedRecently reports whether some level has, or had a moment ago, a limit. That
// a limit was removed may be noticed late: what has none shows the host's figures in
// the view, too. That one was set may not.
func (v *View) limitedRecently() (bool, error) {
	now := v.host.now()
	if found := time.Duration(v.limitFound.Load()); found != 0 && now-found < hostAge {
		return true, nil
	}
	limited, err := v.limited()
	for errors.Is(err, errMoved) {
		limited, err = v.limited()
	}
	if limited && err == nil {
		v.limitFound.Store(int64(now))
	}
	return limited, err
}

// CallersGroup is a number that the views of callers in one group have in common,
// those of several PID namespaces too; as good as never with another group's.
func (v *View) CallersGroup() uint32 { return v.callersGroup }

// CallerView finds the group that decides what a process sees: that of the
// init of its PID namespace, or its own in the host's.
func (r *Registry) CallerView(pid int) (*View, error) {
	if pid <= 0 {
		// A reader whose PID namespace is not below the daemon's.
		return nil, fmt.Errorf("%w: the reader can't be seen from this PID namespace: run the daemon in the host's (hostPID)", ErrGone)
	}
	ns, err := os.Readlink(r.pidNS(pid))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGone, err)
	}
	if ns == r.callers.hostNS {
		return r.callerInHost(pid)
	}
	if c := r.callers.get(ns); c != nil && r.initHolds(c, ns) {
		return c.view, nil
	}
	initPID, err := r.initOf(pid, ns)
	if err != nil {
		return nil, err
	}
	v := r.newView(0, Container{ID: ns, PID: initPID})
	if g, err := v.cgroup(); err == nil {
		v.callersGroup = uint32(g.Inode())
	}
	return r.callers.put(&caller{key: ns, view: v, pid: initPID}).view, nil
}

// initHolds says that a kept caller still stands for the namespace.
func (r *Registry) initHolds(c *caller, ns string) bool {
	link, err := os.Readlink(r.pidNS(c.pid))
	return err == nil && link == ns && !c.view.ended.Load()
}

// callerInHost resolves a reader in the host's PID namespace by its own group.
func (r *Registry) callerInHost(pid int) (*View, error) {
	paths, err := r.fs.Paths(pid)
	if err != nil {
		if errors.Is(err, cgroup.ErrGone) {
			return nil, ErrGone
		}
		return nil, err
	}
	key, inode := paths.Key(), r.fs.Inode(paths)
	if c := r.callers.get(key); c != nil && c.inode == inode && !c.view.ended.Load() {
		return c.prepare(r.host), nil
	}
	g := r.fs.GroupAt(paths)
	v := r.newView(0, Container{ID: g.Path()})
	v.group, v.callersGroup = g, uint32(inode)
	return r.callers.put(&caller{key: key, view: v, inode: inode}).prepare(r.host), nil
}

// pidNS is the file of a process's PID namespace.
func (r *Registry) pidNS(pid int) string {
	return filepath.Join(r.host.root, "proc", strconv.Itoa(pid), "ns/pid")
}

// initOf finds the init of a PID namespace, as the daemon sees it.
func (r *Registry) initOf(pid int, ns string) (int, error) {
	if f, err := os.Open(r.pidNS(pid)); err == nil {
		defer f.Close()
		const nsGetPIDFromPIDNS = 0x8004b706 // NS_GET_PID_FROM_PIDNS, since Linux 6.11
		if n, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), nsGetPIDFromPIDNS, 1); errno == 0 {
			return int(n), nil
		}
	}
	procs, err := os.ReadDir(filepath.Join(r.host.root, "proc"))
	if err != nil {
		return 0, fmt.Errorf("looking for the init of %s: %w", ns, err)
	}
	for _, e := range procs {
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if link, err := os.Readlink(r.pidNS(n)); err != nil || link != ns {
			continue
		}
		if pids := r.host.pids(n); len(pids) > 1 && pids[len(pids)-1] == 1 {
			return n, nil
		}
	}
	return 0, fmt.Errorf("%w: no init in %s", ErrGone, ns)
}

// limited says that some level limits memory, swap or CPUs.
func (v *View) limited() (bool, error) {
	g, err := v.cgroup()
	if err != nil {
		return false, err
	}
	if g.Root() {
		return false, nil
	}
	host, err := v.host.meminfo.get(v.host.now())
	if err != nil {
		return false, err
	}
	gov, err := v.governing(g, host.total)
	if err != nil || gov.level >= 0 {
		return true, err
	}
	mem := borrow()
	defer mem.giveBack()
	if !v.noSwap && !v.readSwap(g, &host, gov, nil, &mem.stat).host {
		return true, nil
	}
	c, err := v.readCPUs(g, mem)
	return !c.all, err
}
