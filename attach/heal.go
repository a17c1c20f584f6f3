package attach

import (
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/moby/sys/mountinfo"
)

// Heal replaces, in every mount namespace but the caller's own, the mounts of
// ours whose daemon died. source gives the path, in the caller's namespace, of
// what a process shall have in place of a file that was at root in the dead
// file system: "" for the kernel's own. What it does not have replaced stays. It
// returns how many were replaced, and taken away.
func Heal(o Ours, source func(pid int, root string) (from string, replace bool)) (healed, gone int, err error) {
	h := healing{ours: o, source: source, dead: map[[2]int]bool{}}
	err = o.each(h.heal)
	return h.healed, h.gone, err
}

// DetachAll takes the mounts of ours, alive or dead, from every mount namespace
// but the caller's own. It returns how many it took.
func DetachAll(o Ours) (gone int, err error) {
	var mu sync.Mutex
	err = o.each(func(p *process) error {
		targets, err := p.targets(o.takes)
		n, errRemove := p.remove(targets, o.takes)
		mu.Lock()
		gone += n
		mu.Unlock()
		return errors.Join(err, errRemove)
	})
	return gone, err
}

// healing is one run of Heal.
type healing struct {
	ours   Ours
	source func(pid int, root string) (from string, replace bool)

	mu           sync.Mutex
	dead         map[[2]int]bool // by the file system's device number
	healed, gone int
}

func (h *healing) heal(p *process) error {
	targets, errTargets := p.targets(h.ours.has)
	var todo []change
	for _, target := range targets {
		on := p.at(target)
		top := on[len(on)-1]
		if !h.ours.has(top) || !h.isDead(p, top) {
			continue
		}
		from, replace := h.source(p.pid, strings.TrimSuffix(top.Root, deleted))
		if !replace {
			continue
		}
		c := change{target: target, remove: onTop(on, h.ours.has)}
		if from != "" {
			c.mount = &Mount{Source: from, Target: target, Writable: isWritable(top)}
		}
		todo = append(todo, c)
	}
	if len(todo) == 0 {
		return errTargets
	}
	err := p.change(todo)
	errs := []error{errTargets, err}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range todo {
		switch c := &todo[i]; {
		case c.err != nil:
			errs = append(errs, c.err)
		case err != nil:
		case c.mount != nil:
			h.healed++
		default:
			h.gone++
		}
	}
	return errors.Join(errs...)
}

// isWritable reports whether a mount was made for writing.
func isWritable(m *mountinfo.Info) bool {
	return !slices.Contains(strings.Split(m.Options, ","), "ro")
}

// deleted is what the kernel puts after the root of a mount whose name it has
// dropped from its cache (dentry_path in fs/d_path.c).
const deleted = "//deleted"

// isDead asks each file system once: one whose daemon hangs costs time. After
// the first such one in a namespace no other is asked there.
func (h *healing) isDead(p *process, m *mountinfo.Info) bool {
	device := [2]int{m.Major, m.Minor}
	h.mu.Lock()
	dead, known := h.dead[device]
	h.mu.Unlock()
	if known || p.stuck {
		return dead
	}
	dead = p.dead(m)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dead[device] = dead
	return dead
}
