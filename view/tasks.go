package view

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
)

// maxTasksScanned bounds what a container with very many threads costs.
const maxTasksScanned = 1024

// taskFigures sums up a group's tasks (threads).
type taskFigures struct {
	running, blocked, count uint64
	lastPID                 int // newest of them, as numbered in the container's PID namespace
}

// tasks is a view's figures, as counted at most a second ago.
type tasks struct {
	mu  sync.Mutex // held across the count: all who wait want this view's
	at  time.Duration
	set bool
	of  *cgroup.Group
	taskFigures
}

// readTasks counts the group's tasks.
func (v *View) readTasks(g *cgroup.Group) taskFigures {
	t := &v.tasks
	t.mu.Lock()
	defer t.mu.Unlock()
	now := v.host.now()
	if t.set && t.of == g && now-t.at < hostAge && now >= t.at {
		return t.taskFigures
	}
	tids, err := g.Tasks(nil, maxTasksScanned)
	v.fault(err)
	t.running, t.blocked = v.host.states(g, tids)
	t.count = uint64(len(tids))
	if n, err := g.TaskCount(); err == nil {
		t.count = n
	}
	if len(tids) > 0 {
		if pid := v.host.pidInside(v.PID(), slices.Max(tids)); pid > 0 {
			t.lastPID = pid
		}
	}
	t.at, t.of, t.set = now, g, true
	return t.taskFigures
}

// states counts the running and the blocked tasks of a group. The kernel's own
// count is one question a group (v1), but knows nothing of some tasks that
// block; it counts where it knows of all tasks, or where there are more than
// would be looked at one by one.
func (h *Host) states(g *cgroup.Group, tids []int) (running, blocked uint64) {
	if t, err := g.TaskStates(); err == nil && (t.Known >= uint64(len(tids)) || len(tids) >= maxTasksScanned) {
		return t.Running, t.Blocked
	}
	return h.scanStates(tids)
}

// scanStates looks at each task.
func (h *Host) scanStates(tids []int) (running, blocked uint64) {
	var buf [512]byte
	for _, tid := range tids {
		switch h.taskState(tid, buf[:]) {
		case 'R':
			running++
		case 'D':
			blocked++
		}
	}
	return running, blocked
}

// pidInside is the number of a task in the PID namespace of a container's init;
// its own where no init is known, 0 where it has ended.
func (h *Host) pidInside(init, tid int) int {
	level := len(h.pids(init)) - 1
	pids := h.pids(tid)
	if len(pids) == 0 {
		return 0
	}
	return pids[max(0, min(level, len(pids)-1))]
}

// pids returns the numbers of a task from the daemon's PID namespace inwards: the
// NSpid line of its status (proc_pid_status(5)), or only the one that is known; none of
// a task that ended.
func (h *Host) pids(tid int) []int {
	if tid == 0 {
		return nil
	}
	b, err := os.ReadFile(h.root + "/proc/" + strconv.Itoa(tid) + "/status")
	if err != nil {
		return nil
	}
	if all := parseNSpid(b); len(all) > 0 {
		return all
	}
	return []int{tid}
}

func parseNSpid(b []byte) []int {
	for line := range bytes.Lines(b) {
		ids, ok := bytes.CutPrefix(line, []byte("NSpid:"))
		if !ok {
			continue
		}
		var all []int
		for id := range bytes.FieldsSeq(ids) {
			n, err := strconv.Atoi(string(id))
			if err != nil || n <= 0 {
				all = nil
				break
			}
			all = append(all, n)
		}
		if len(all) > 0 {
			return all
		}
	}
	return nil
}

// taskState is the state letter of a task (proc_pid_stat(5), field 3), 0 for
// one that ended. The name in field 2 may hold anything, parentheses included.
func (h *Host) taskState(tid int, buf []byte) byte {
	f, err := os.Open(h.root + "/proc/" + strconv.Itoa(tid) + "/stat")
	if err != nil {
		return 0
	}
	defer f.Close()
	n, err := f.Read(buf)
	if err != nil {
		return 0
	}
	i := bytes.LastIndexByte(buf[:n], ')')
	if i < 0 || i+2 >= n {
		return 0
	}
	return buf[i+2]
}

// earliest is when the oldest task of a group started: its birth, where no
// init is known.
func (h *Host) earliest(g *cgroup.Group) (first time.Duration, known bool) {
	tids, err := g.Tasks(nil, maxTasksScanned)
	if err != nil {
		return 0, false
	}
	for _, tid := range tids {
		if start, err := h.startOf(tid); err == nil && (!known || start < first) {
			first, known = start, true
		}
	}
	return first, known
}
