package control

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/hook"
	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// Request names the containers to attach to or to detach: one, or all.
type Request struct {
	// ID is a container's, or how it begins: MinPrefix characters and more.
	ID  string `json:"id,omitempty"`
	All bool   `json:"all,omitempty"`
}

// Outcome is what was done.
type Outcome struct {
	Containers []Changed `json:"containers"`
	// Others counts mounts that were taken from containers that are not registered.
	Others int `json:"others,omitempty"`
	// Error says what failed in those.
	Error string `json:"error,omitempty"`
}

// Changed is what was done to one container.
type Changed struct {
	ID        string `json:"id"`
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	Name      string `json:"name"`
	Mounts    int    `json:"mounts"` // made, or taken away
	Error     string `json:"error,omitempty"`
}

// MinPrefix is how much of a container's id names it.
const MinPrefix = 4

const (
	maxRequest = 4 << 10
	// longest is what a request may take: a container that does not answer
	// costs seconds.
	longest = 5 * time.Minute
)

// Manage has the socket take requests to attach and to detach.
func (s *Server) Manage(a *Attacher) {
	s.mux.HandleFunc("POST /v1/attach", a.handle(a.attaching, func(*Outcome) {}))
	s.mux.HandleFunc("POST /v1/detach", a.handle(a.detaching, a.detachOthers))
}

// handle does one thing to containers; others finishes a request for all.
func (a *Attacher) handle(plan func(*view.View) (job, error), others func(*Outcome)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		c.SetWriteDeadline(time.Now().Add(longest)) //nolint:errcheck // a socket has deadlines
		req, err := decode(http.MaxBytesReader(w, r.Body, maxRequest))
		if err != nil {
			refuse(w, http.StatusBadRequest, err)
			return
		}
		var o Outcome
		if req.All {
			o = a.all(plan)
			others(&o)
		} else {
			v, status, err := a.find(req.ID)
			if err != nil {
				refuse(w, status, err)
				return
			}
			n, err := a.one(v, plan, apartPatience)
			o.Containers = []Changed{changed(v, n, err)}
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(o) //nolint:errcheck // the client went away
	}
}

// decode reads a request that says one thing, and nothing else.
func decode(r io.Reader) (Request, error) {
	var req Request
	if err := hook.DecodeStrictly(r, &req); err != nil {
		return req, fmt.Errorf("request: %w", err)
	}
	if req.All == (req.ID != "") {
		return req, errors.New(`request: write either {"id": "…"} or {"all": true}`)
	}
	if !req.All {
		if err := view.CheckID(req.ID); err != nil {
			return req, fmt.Errorf("request: %w", err)
		}
	}
	return req, nil
}

// refuse answers a request that nothing came of.
func refuse(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(Outcome{Error: err.Error()}) //nolint:errcheck // the client went away
}

// find finds a container by its id, or by what only its id begins with.
func (a *Attacher) find(id string) (v *view.View, status int, err error) {
	if v := a.Registry.Get(id); v != nil {
		return v, 0, nil
	}
	if len(id) < MinPrefix {
		return nil, http.StatusNotFound, fmt.Errorf("no container %s is registered: write %d characters of the id at least", id, MinPrefix)
	}
	var found []*view.View
	for _, v := range a.Registry.List() {
		if strings.HasPrefix(v.Container().ID, id) {
			found = append(found, v)
		}
	}
	switch len(found) {
	case 0:
		return nil, http.StatusNotFound, fmt.Errorf("no container %s is registered: see lxcfs-nri status; the daemon's log says whom the policy leaves alone", id)
	case 1:
		return found[0], 0, nil
	}
	return nil, http.StatusConflict, fmt.Errorf("%s begins the ids of %d containers, such as %s and %s: write more of it",
		id, len(found), found[0].Container().ID, found[1].Container().ID)
}

// all does one thing to every registered container that has a process.
func (a *Attacher) all(plan func(*view.View) (job, error)) Outcome {
	o := Outcome{Containers: []Changed{}}
	views := a.Registry.List()
	for i, r := range a.each(views, plan, apartPatience) {
		if r.err == nil || !ended(r.err) {
			o.Containers = append(o.Containers, changed(views[i], r.mounts, r.err))
		}
	}
	return o
}

// DetachAll takes the file system's files from every container of any runtime.
func (a *Attacher) DetachAll() Outcome {
	o := a.all(a.detaching)
	a.detachOthers(&o)
	return o
}

func (a *Attacher) detachOthers(o *Outcome) {
	w := work{Ours: a.Ours, Detach: true}
	d, err := w.apart(apartPatience)
	if err != nil {
		o.Error = err.Error()
		return
	}
	o.Others, o.Error = d.Gone, d.Error
}

func changed(v *view.View, mounts int, err error) Changed {
	c := v.Container()
	out := Changed{ID: c.ID, Namespace: c.Namespace, Pod: c.Pod, Name: c.Name, Mounts: mounts}
	if err != nil {
		out.Error = err.Error()
	}
	return out
}

// Err is nil where all went well.
func (o *Outcome) Err() error {
	failed, first := 0, ""
	for i := range o.Containers {
		if e := o.Containers[i].Error; e != "" {
			failed++
			first = cmp.Or(first, e)
		}
	}
	switch {
	case failed > 0:
		return fmt.Errorf("%d of %d containers failed: %s", failed, len(o.Containers), first)
	case o.Error != "":
		return errors.New(o.Error)
	}
	return nil
}
