package cgroup

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

type tasksFiles struct {
	own     place
	name    string // cgroup.threads; v1 tasks
	current *file  // pids.current
	ok      bool
}

// newTasksFiles takes v1's cpu hierarchy, where every container has a group of its own.
func newTasksFiles(g *Group) tasksFiles {
	var t tasksFiles
	if t.own, t.ok = g.own("cpu"); t.ok {
		t.name = "tasks"
		if t.own.v2 {
			t.name = "cgroup.threads"
		}
	}
	if p, ok := g.own("pids"); ok && (!p.v2 || g.fs.v2["pids"]) && p.path != "/" {
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
	if !g.tasks.ok {
		return tids, nil
	}
	err := filepath.WalkDir(g.tasks.own.dir, func(dir string, e fs.DirEntry, err error) error {
		switch {
		case err != nil && dir == g.tasks.own.dir:
			return err
		case err != nil: // a child that went away meanwhile
			return fs.SkipDir
		case !e.IsDir():
			return nil
		}
		b, err := os.ReadFile(filepath.Join(dir, g.tasks.name))
		if err != nil {
			return nil //nolint:nilerr // gone, or a v2 domain-invalid group: it has no tasks to tell of
		}
		return forLines(b, func(line []byte) error {
			tid, err := parseUint(line)
			if err != nil {
				return err
			}
			if tids = append(tids, int(tid)); len(tids) >= limit {
				return fs.SkipAll
			}
			return nil
		})
	})
	return tids, err
}
