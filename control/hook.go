package control

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/config"
	"github.com/lxcfs-nri/lxcfs-nri/hook"
	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// Hooks is the daemon's end of the OCI hook.
type Hooks struct {
	Policy   config.Policy
	Attacher *Attacher

	mu   sync.Mutex
	told map[string]bool // containers whose decision was logged
}

// byHook is the runtime of containers that a hook has told of.
const byHook = "OCI hook"

// maxTold bounds the memory of decisions: not every runtime tells of an end.
const maxTold = 4096

// Hook has the socket take the requests of OCI hooks.
func (s *Server) Hook(h *Hooks) {
	s.mux.HandleFunc("POST /v1/hook", func(w http.ResponseWriter, r *http.Request) {
		// The hook itself waits a second.
		http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Minute)) //nolint:errcheck // a socket has deadlines
		status, answer := http.StatusOK, hook.Answer{}
		req, err := hook.Decode(http.MaxBytesReader(w, r.Body, hook.MaxRequest))
		if err != nil {
			status = http.StatusBadRequest
		} else if answer, err = h.answer(req, func() (int, error) { return peer(r.Context()) }); err != nil {
			status = http.StatusInternalServerError
		}
		if err != nil {
			answer.Error = err.Error()
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(answer) //nolint:errcheck // the client went away
	})
}

// answer does what a hook asks for. asks gives the process that asks.
func (h *Hooks) answer(req hook.Request, asks func() (int, error)) (hook.Answer, error) {
	if req.Gone {
		h.gone(req.ID)
		return hook.Answer{}, nil
	}
	pid := req.PID
	if pid == 0 {
		asking, err := asks()
		if err == nil {
			pid, err = initOf(asking)
		}
		if err != nil {
			return hook.Answer{}, fmt.Errorf("look for the container's init, of which the hook is a child: %w", err)
		}
	}
	host, err := same(pid, "pid")
	if err != nil {
		return hook.Answer{}, err
	}
	t := target(req.Annotations)
	t.HostPID = host
	d := h.decide(&req, t)
	a := hook.Answer{Inject: d.Inject, Reason: d.Reason}
	if !d.Inject {
		return a, nil
	}
	v, err := h.Attacher.Registry.Add(h.container(req.ID, t, pid))
	if err != nil {
		return a, err
	}
	if a.Mounts, err = h.Attacher.Create(v, req.Rootfs); err != nil {
		h.Attacher.warn(v, err)
	}
	return a, err
}

// container is what is known of a container. What its runtime has told by NRI,
// too, is more.
func (h *Hooks) container(id string, t config.Target, pid int) view.Container {
	if v := h.Attacher.Registry.Get(id); v != nil {
		if c := v.Container(); c.Runtime != "" && c.Runtime != byHook {
			c.PID = pid
			return c
		}
	}
	return view.Container{ID: id, Runtime: byHook, Namespace: t.Namespace, Pod: t.Pod, Name: t.Container, PID: pid}
}

// gone ends the view of a container that has ended.
func (h *Hooks) gone(id string) {
	if v := h.Attacher.Registry.Get(id); v != nil && !v.Running() {
		h.Attacher.Registry.Remove(id)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.told, id)
}

// decide asks the policy, and logs its decision once per container: hooks may
// be installed for several stages.
func (h *Hooks) decide(req *hook.Request, t config.Target) config.Decision {
	d := h.Policy.Decide(t)
	if req.Annotations[hook.AnnotationType] == "sandbox" {
		d = config.Decision{Reason: "it is a pod's sandbox"}
	}
	h.mu.Lock()
	known := h.told[req.ID]
	if h.told == nil || len(h.told) >= maxTold {
		h.told = map[string]bool{}
	}
	h.told[req.ID] = true
	h.mu.Unlock()
	if !known {
		log := h.Attacher.Log.With("id", req.ID)
		for _, w := range d.Warnings {
			log.Warn(w)
		}
		log.Info("decided", "by", byHook, "inject", d.Inject, "reason", d.Reason)
	}
	return d
}

// target returns what the policy is asked about. A hook learns no labels.
func target(annotations map[string]string) config.Target {
	pod, own := hook.Split(annotations)
	return config.Target{
		Namespace:            annotations[hook.AnnotationNamespace],
		Pod:                  annotations[hook.AnnotationPod],
		Container:            annotations[hook.AnnotationContainer],
		PodAnnotations:       pod,
		ContainerAnnotations: own,
		RuntimeHandler:       annotations[hook.AnnotationHandler],
	}
}
