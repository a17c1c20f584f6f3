package view

import "errors"

// Figures sums up what a view shows, for status displays.
type Figures struct {
	MemTotal    uint64 // bytes, as in meminfo
	MemoryLimit uint64 // bytes, of the governing level; 0 where the host governs
	Governing   string // cgroup path of the governing level; "host"
	CPUs        int
	Cgroup      string // path of the group
}

// Figures reads them now. The error is ErrGone for a container that ended, or
// that has no cgroup yet.
func (v *View) Figures() (Figures, error) {
	for {
		f, err := v.figures()
		if !errors.Is(err, errMoved) {
			return f, err
		}
	}
}

func (v *View) figures() (Figures, error) {
	g, err := v.cgroup()
	if err != nil {
		return Figures{}, err
	}
	host, err := v.host.meminfo.get(v.host.now())
	if err != nil {
		return Figures{}, err
	}
	gov, err := v.governing(g, host.total)
	if err != nil {
		return Figures{}, err
	}
	mem := borrow()
	defer mem.giveBack()
	c, err := v.readCPUs(g, mem)
	if err != nil {
		return Figures{}, err
	}
	f := Figures{MemTotal: gov.limit, Governing: "host", CPUs: len(c.set), Cgroup: g.Path()}
	if gov.level >= 0 {
		f.MemoryLimit, f.Governing = gov.limit, g.MemoryPath(gov.level)
	}
	return f, v.gone(g)
}
