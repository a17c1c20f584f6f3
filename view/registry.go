package view

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
)

// slots is how many views there can be at a time.
const slots = 1 << 16

// MaxNumber is above the number of every view: 24 bits of a node id are for it.
const MaxNumber = 1 << 24

// Options are the settings that change what views show.
type Options struct {
	NoSwap        bool // show no swap at all
	HideThrottled bool // time without quota is idle, not steal
	// Kept has CPU clocks outlive the process; nil: they begin anew with it.
	Kept *Kept
	// Journal has the list of containers outlive it.
	Journal *Journal
}

// Registry knows the containers and their views. All methods may be called at
// the same time.
type Registry struct {
	host *Host
	fs   *cgroup.FS
	log  *slog.Logger
	opts Options

	// byNumber is indexed by the low 16 bits of a view's number, without a lock.
	byNumber [slots]atomic.Pointer[View]

	mu      sync.Mutex
	byID    map[string]*View
	next    uint32   // slot not used so far
	free    []uint32 // numbers of views that ended, oldest first
	unknown []*View  // made for ids that nobody had told of, oldest first
	watch   *watch   // nil where it can't be had
	callers callers
	sampler sampler
}

// NewRegistry gives an empty registry.
func NewRegistry(host *Host, fs *cgroup.FS, log *slog.Logger, opts Options) *Registry {
	r := &Registry{host: host, fs: fs, log: log, opts: opts, byID: map[string]*View{}, next: 1}
	host.log = log
	r.callers.init(host.root)
	var err error
	if r.watch, err = newWatch(log, r.groupRemoved); err != nil {
		log.Warn("views end only when the runtime tells, or somebody reads", "error", err)
	}
	r.restore()
	return r
}

// found has the removal of a registered view's group noticed. It is called with the
// view's lock held, for each group that the view comes to.
func (r *Registry) found(v *View, g *cgroup.Group) {
	dir := g.Dir()
	if r.watch == nil || v.watched == dir {
		return
	}
	if v.watched != "" {
		r.watch.drop(v, v.watched)
		v.watched = ""
	}
	if dir == "" {
		return
	}
	if err := r.watch.add(v, dir); err != nil {
		r.log.Debug("a cgroup is not watched", "cgroup", dir, "error", err)
		return
	}
	v.watched = dir
}

func (r *Registry) unwatchLocked(v *View) {
	v.mu.Lock()
	dir := v.watched
	v.watched = ""
	v.mu.Unlock()
	if dir != "" {
		r.watch.drop(v, dir)
	}
}

// restore registers what an earlier process had registered, and lives.
func (r *Registry) restore() {
	j := r.opts.Journal
	if j == nil {
		return
	}
	for _, n := range j.gone {
		r.next = max(r.next, n%slots+1)
		r.free = append(r.free, n)
	}
	for n, l := range j.live {
		r.next = max(r.next, n%slots+1)
		v := r.newView(n, *l.Container)
		v.found, v.vanish = r.found, r.containerEnded
		if c := l.Container; c.PID != 0 {
			// Another process may have its number by now.
			if start, err := r.host.startOf(c.PID); err != nil || start != l.Start {
				r.free = append(r.free, n)
				r.note(journalLine{Number: n, Gone: true})
				continue
			}
		}
		r.byID[l.Container.ID] = v
		r.byNumber[n%slots].Store(v)
		if l.Container.OnlyID() {
			r.unknown = append(r.unknown, v)
		}
	}
}

// note writes a line of the journal. Where that fails, files are served all the
// same; only the next process would not know.
func (r *Registry) note(l journalLine) {
	j := r.opts.Journal
	if j == nil {
		return
	}
	before := j.last
	if err := j.write(l); err != nil && before == nil {
		r.log.Error("the list of containers can't be written: after a crash those that come now would lose their files", "file", j.name, "error", err)
	}
}

// noteLocked tells the journal what is known of a view.
func (r *Registry) noteLocked(v *View) {
	if r.opts.Journal == nil {
		return
	}
	start, _ := v.started()
	c := v.Container()
	r.note(journalLine{Number: v.Number, Container: &c, Start: start})
}

// MaxIDLength bounds container ids; runtimes use 64 hexadecimal digits.
const MaxIDLength = 128

// CheckID refuses what can't be a container's id: ids become file names.
func CheckID(id string) error {
	switch {
	case id == "" || len(id) > MaxIDLength:
		return fmt.Errorf("container id of %d bytes: 1 to %d are possible", len(id), MaxIDLength)
	case id[0] == '.' || id[0] == '-':
		return fmt.Errorf("container id %q begins with %q: letters, digits and _ can", id, id[:1])
	}
	for _, r := range id {
		if !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-", r) {
			return fmt.Errorf("container id %q holds %q: letters, digits, and _ . - can be in one", id, r)
		}
	}
	return nil
}

// Add makes a container known, or what is known of it complete. Where the init
// is another one than before, the container was started anew and gets a new view.
func (r *Registry) Add(c Container) (*View, error) {
	if err := CheckID(c.ID); err != nil {
		return nil, err
	}
	if c.CgroupsPath != "" {
		if _, err := cgroup.SpecPath(c.CgroupsPath); err != nil {
			return nil, fmt.Errorf("container %s: %w", c.ID, err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if v := r.byID[c.ID]; v != nil {
		before := v.Container()
		if v.update(c) {
			if v.Container() != before {
				r.noteLocked(v)
			}
			return v, nil
		}
		r.removeLocked(v)
	}
	number, err := r.numberLocked()
	if err != nil {
		return nil, err
	}
	v := r.newView(number, c)
	v.found, v.vanish = r.found, r.containerEnded
	r.byID[c.ID] = v
	r.noteLocked(v) // before the kernel can know the number
	r.byNumber[number%slots].Store(v)
	return v, nil
}

// update takes in what a second event tells; false where it speaks of another
// run of the container.
func (v *View) update(c Container) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.container.PID != 0 && c.PID != 0 && v.container.PID != c.PID || v.ended.Load() {
		return false
	}
	if c.PID == 0 {
		c.PID = v.container.PID
	}
	if c.CgroupsPath == "" {
		c.CgroupsPath = v.container.CgroupsPath
	}
	v.container = c
	return true
}

func (r *Registry) newView(number uint32, c Container) *View {
	v := &View{
		Number: number, host: r.host, fs: r.fs, log: r.log, container: c,
		noSwap: r.opts.NoSwap, hideThrottled: r.opts.HideThrottled, sampler: &r.sampler, kept: r.opts.Kept,
	}
	v.timeNS.load = func() (timeNamespace, error) { return r.host.readTimeNamespace(v.PID()) }
	return v
}

// numberLocked gives a number that no view has, and that was not given for as
// long as possible: the kernel may know old node ids still. The bits above
// the slot count how often it was given.
func (r *Registry) numberLocked() (uint32, error) {
	if r.next < slots {
		r.next++
		return r.next - 1, nil
	}
	if len(r.free) == 0 {
		return 0, fmt.Errorf("%d containers are registered: no more are possible", slots-1)
	}
	n := r.free[0]
	r.free = r.free[1:]
	return (n + slots) % MaxNumber, nil
}

// Remove ends a container's view. An unknown id is nothing to do.
func (r *Registry) Remove(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if v := r.byID[id]; v != nil {
		r.removeLocked(v)
	}
}

func (r *Registry) removeLocked(v *View) {
	delete(r.byID, v.Container().ID)
	r.byNumber[v.Number%slots].Store(nil)
	r.free = append(r.free, v.Number)
	r.note(journalLine{Number: v.Number, Gone: true})
	r.unwatchLocked(v)
	v.close()
}

// HostHas says that this kernel has a file of its own by that path.
func (r *Registry) HostHas(f *File) bool { return r.host.has(f) }

// Mode returns a file's permission bits: those of the host's own for one that
// triggers are written to.
func (r *Registry) Mode(f *File) uint32 {
	if !f.Triggers() {
		return f.Mode
	}
	return r.host.mode(f)
}

// Get finds a view by its container's id, nil for an unknown one.
func (r *Registry) Get(id string) *View {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.byID[id]
}

// ByNumber finds a view by its number, nil for one that ended.
func (r *Registry) ByNumber(n uint32) *View {
	v := r.byNumber[n%slots].Load()
	if v == nil || v.Number != n {
		return nil
	}
	return v
}

// List gives all views, by container id.
func (r *Registry) List() []*View {
	r.mu.Lock()
	all := make([]*View, 0, len(r.byID))
	for _, v := range r.byID {
		all = append(all, v)
	}
	r.mu.Unlock()
	slices.SortFunc(all, func(a, b *View) int { return strings.Compare(a.Container().ID, b.Container().ID) })
	return all
}

// Keep ends the views of a runtime's containers that it no longer lists.
func (r *Registry) Keep(runtime string, ids map[string]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, v := range r.byID {
		if v.Container().Runtime == runtime && !ids[id] {
			r.removeLocked(v)
		}
	}
}

// Close ends all views. The journal keeps them.
func (r *Registry) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opts.Journal = nil
	for _, v := range r.byID {
		r.removeLocked(v)
	}
	r.callers.closeAll()
	if r.watch != nil {
		r.watch.close()
	}
}
