package view

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// watch learns of groups that are removed. It waits for the kernel to tell
// (inotify(7)): of a group's parent, since the group's own inode stays while its
// files are open here.
type watch struct {
	events *fsnotify.Watcher
	gone   func(*View)

	mu   sync.Mutex
	dirs map[string]map[string]map[*View]bool // parent, name
}

func newWatch(log *slog.Logger, gone func(*View)) (*watch, error) {
	events, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch cgroups: %w", err)
	}
	w := &watch{events: events, gone: gone, dirs: map[string]map[string]map[*View]bool{}}
	go w.run(log)
	return w, nil
}

func (w *watch) run(log *slog.Logger) {
	for {
		select {
		case e, ok := <-w.events.Events:
			if !ok {
				return
			}
			if e.Has(fsnotify.Remove) {
				w.removed(filepath.Split(e.Name))
			}
		case err, ok := <-w.events.Errors:
			if !ok {
				return
			}
			log.Warn("watching cgroups: all are looked at", "error", err) // events were lost
			w.mu.Lock()
			var all [][2]string
			for dir, names := range w.dirs {
				for name := range names {
					all = append(all, [2]string{dir, name})
				}
			}
			w.mu.Unlock()
			for _, a := range all {
				w.removed(a[0], a[1])
			}
		}
	}
}

func (w *watch) removed(dir, name string) {
	w.mu.Lock()
	var views []*View
	for v := range w.dirs[filepath.Clean(dir)][name] {
		views = append(views, v)
	}
	w.mu.Unlock()
	for _, v := range views {
		w.gone(v)
	}
}

// add watches a view's group.
func (w *watch) add(v *View, group string) error {
	dir, name := filepath.Split(group)
	dir = filepath.Clean(dir)
	w.mu.Lock()
	defer w.mu.Unlock()
	names := w.dirs[dir]
	if names == nil {
		if err := w.events.Add(dir); err != nil {
			return err
		}
		names = map[string]map[*View]bool{}
		w.dirs[dir] = names
	}
	if names[name] == nil {
		names[name] = map[*View]bool{}
	}
	names[name][v] = true
	return nil
}

// drop ends the watch of a view's group.
func (w *watch) drop(v *View, group string) {
	dir, name := filepath.Split(group)
	dir = filepath.Clean(dir)
	w.mu.Lock()
	defer w.mu.Unlock()
	names := w.dirs[dir]
	delete(names[name], v)
	if len(names[name]) == 0 {
		delete(names, name)
	}
	if names != nil && len(names) == 0 {
		delete(w.dirs, dir)
		w.events.Remove(dir) //nolint:errcheck // it may have been removed itself
	}
}

func (w *watch) close() {
	w.events.Close() //nolint:errcheck // nothing to lose
}
