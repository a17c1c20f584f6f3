package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

type tasksFiles struct {
	own     place
	name    string // cgroup.threads; v1 tasks; "" if the group can't be reached
	current *file  // pids.current
}

func newTasksFiles(g *Group) tasksFiles {
	t := tasksFiles{own: g.main}
	switch {
	case g.main.h == nil:
	case g.main.h.v2:
		t.name = "cgroup.threads"
	default:
		t.name = "tasks"
	}
	if p, ok := g.owns("pids"); ok && (!p.h.v2 || g.layout.offers("pids")) {
		t.current = p.file("pids.current")
	}
	return t
}

// TaskCount is the number of tasks (threads) in the group and its descendants.
// The error is os.ErrNotExist without the pids controller.
func (g *Group) TaskCount() (uint64, error) {
	if g.tasks.current == nil {
		return 0, fmt.Errorf("pids controller: %w", os.ErrNotExist)
	}
	return g.tasks.current.readUint()
}

// Tasks appends the ids of the tasks in the group and its descendants, at most
// limit of them: a container may hold very many.
func (g *Group) Tasks(tids []int, limit int) ([]int, error) {
	if g.tasks.name == "" {
		return tids, nil
	}
	err := g.tasks.subtree(func(dir string) error {
		b, err := os.ReadFile(filepath.Join(dir, g.tasks.name))
		if err != nil {
			return nil //nolint:nilerr // gone, or a v2 domain-invalid group: it has no tasks to tell of
		}
		for line := range lines(b) {
			tid, err := parseUint(line)
			if err != nil || tid == 0 {
				continue
			}
			if tids = append(tids, int(tid)); len(tids) >= limit {
				return fs.SkipAll
			}
		}
		return nil
	})
	return tids, err
}

// subtree calls use with the directories of the group and its descendants.
func (t *tasksFiles) subtree(use func(dir string) error) error {
	return filepath.WalkDir(t.own.dir, func(dir string, e fs.DirEntry, err error) error {
		switch {
		case err != nil && dir == t.own.dir:
			return err
		case err != nil: // a child that went away meanwhile
			return fs.SkipDir
		case !e.IsDir():
			return nil
		}
		return use(dir)
	})
}

// TaskStates counts tasks by what they do.
type TaskStates struct {
	Running, Blocked uint64
	// Known is the number of tasks whose state the kernel told. It tells only
	// of states that it knows whole: waits that a kill ends (TASK_KILLABLE: of
	// NFS, FUSE, vfork) are left out though they block, and so are, since Linux
	// 6.1, sleeps that may be frozen (TASK_FREEZABLE: of timers, futex, epoll),
	// which do not. With Known the number of all tasks, there are none of either.
	Known uint64
}

// TaskStates asks the kernel for the states of all tasks in the group and its
// descendants. The error is ErrUnsupported on v2, which has no such question.
func (g *Group) TaskStates() (TaskStates, error) {
	var t TaskStates
	if g.tasks.name == "" || g.tasks.own.h.v2 {
		return t, fmt.Errorf("states of a v2 group's tasks: %w", errors.ErrUnsupported)
	}
	err := g.tasks.subtree(func(dir string) error {
		st, err := g.fs.taskstats.group(dir)
		if isGone(err) && dir != g.tasks.own.dir {
			return nil
		}
		t.Running += st.Running
		// A killable wait for a device is told of apart.
		t.Blocked += st.Uninterruptible + st.Io_wait
		t.Known += st.Running + st.Sleeping + st.Stopped + st.Uninterruptible + st.Io_wait
		return err
	})
	return t, err
}
