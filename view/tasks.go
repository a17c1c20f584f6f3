package view

import (
	"bytes"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
)

// maxTasksScanned bounds what a container with very many threads costs.
const maxTasksScanned = 1024

// taskCount is a view's tasks, as counted at most a second ago.
type taskCount struct {
	mu               sync.Mutex
	at               time.Duration
	set              bool
	running, blocked uint64
	most             uint64 // the largest number of tasks seen
}

// readTasks counts the group's tasks. The kernel keeps no number of started
// processes per group, so processes is the largest number of tasks seen: like
// the host's it never falls.
func (v *View) readTasks(g *cgroup.Group) (processes, running, blocked uint64) {
	t := &v.tasks
	t.mu.Lock()
	defer t.mu.Unlock()
	now := v.host.now()
	if t.set && now-t.at < hostAge && now >= t.at {
		return t.most, t.running, t.blocked
	}
	tids, err := g.Tasks(nil, maxTasksScanned)
	v.fault(err)
	t.running, t.blocked = 0, 0
	var buf [512]byte
	for _, tid := range tids {
		switch v.host.taskState(tid, buf[:]) {
		case 'R':
			t.running++
		case 'D':
			t.blocked++
		}
	}
	count := uint64(len(tids))
	if n, err := g.TaskCount(); err == nil {
		count = n
	}
	t.most = max(t.most, count)
	t.at, t.set = now, true
	return t.most, t.running, t.blocked
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
