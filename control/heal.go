package control

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// Heal replaces what a daemon that died has left in containers, of any runtime.
// With takeAway, containers that are not known get the kernel's own files back;
// before a runtime has told of its containers that would be too early.
func (a *Attacher) Heal(takeAway bool) {
	w := work{Ours: a.Ours, Heal: a.healer(takeAway)}
	d, err := w.apart(apartPatience)
	if err != nil {
		d = &done{Error: err.Error()}
	}
	if d.Error != "" {
		a.Log.Warn("some containers keep files that answer ENOTCONN: create them anew", "error", d.Error)
	}
	if d.Healed > 0 || d.Gone > 0 {
		a.Log.Info("healed what a daemon that died has left in containers", "replaced", d.Healed, "taken away", d.Gone)
	}
}

// healer says what takes the place of dead files.
type healer struct {
	Mountpoint string         `json:"mountpoint"`
	Inits      map[string]int `json:"inits"` // of registered containers, by their ids
	TakeAway   bool           `json:"takeAway"`
	// Daemon is the process that has asked. When it has died, its own files are
	// dead, too, and theirs to heal who comes next.
	Daemon int `json:"daemon"`

	groups *view.Groups // nil if they can't be read
}

func (a *Attacher) healer(takeAway bool) *healer {
	h := &healer{Mountpoint: a.Mountpoint, Inits: map[string]int{}, TakeAway: takeAway, Daemon: os.Getpid()}
	for _, v := range a.Registry.List() {
		h.Inits[v.Container().ID] = v.PID()
	}
	return h
}

// replaces says whether a dead file of a process is replaced, and by what; by
// the kernel's own for "".
func (h *healer) replaces(pid int, root string) (from string, replace bool) {
	from = h.source(pid, root)
	return from, (from != "" || h.TakeAway) && h.asked()
}

// asked says that the daemon was alive a moment ago. One that ends gives up its
// program first, then its descriptors, by which its files die, and is a parent
// until after that (do_exit in kernel/exit.c).
func (h *healer) asked() bool {
	_, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", h.Daemon))
	return err == nil && os.Getppid() == h.Daemon
}

// source is what a process gets in place of a dead file, "" for nothing. Only
// the kernel vouches for mounts: a container with a user namespace and /dev/fuse
// can make one that looks as if it had been another container's.
func (h *healer) source(pid int, root string) string {
	file, ok := strings.CutPrefix(root, "/")
	if !ok || filepath.Clean(root) != root || file == "" || file == view.ContainersDir {
		return ""
	}
	if rest, ok := strings.CutPrefix(file, view.ContainersDir+"/"); ok {
		id, _, _ := strings.Cut(rest, "/")
		if view.CheckID(id) != nil || !h.belongs(pid, id) {
			return ""
		}
	}
	from := filepath.Join(h.Mountpoint, file)
	if _, err := os.Lstat(from); err != nil {
		return ""
	}
	return from
}

// belongs reports whether a process is of a container: it shares the mount namespace
// of its init, or root gave its group the container's id, as with services to which an
// init in the container has given namespaces of their own.
func (h *healer) belongs(pid int, id string) bool {
	if init := h.Inits[id]; init != 0 {
		if both, err := shared(init, pid, "mnt"); err != nil || both {
			return err == nil
		}
	}
	return h.groups != nil && h.groups.ContainerOf(pid) == id
}
