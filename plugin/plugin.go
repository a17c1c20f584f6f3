package plugin

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"sync"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"

	"github.com/lxcfs-nri/lxcfs-nri/config"
	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// Plugin handles the events of one runtime.
type Plugin struct {
	cfg      config.Config
	registry *view.Registry
	log      *slog.Logger
	files    []string // to be mounted
	tell     Tell

	mu      sync.Mutex
	runtime Runtime
	told    map[string]bool // containers whose decision was logged
	created int
}

// Docker is a runtime's name. It keeps the mounts that a plugin asks for in a
// container's configuration, and tells no more of containers than that they were
// created (daemon/internal/nri in github.com/moby/moby).
const Docker = "docker"

// Tell is who is told of what the plugin learns. All must return quickly: the
// runtime waits.
type Tell struct {
	// Created: a container is about to be created with its files among its mounts.
	Created func(*view.View)
	// Started: a container has a process, whose program has not run yet.
	Started func(*view.View)
	// Synchronized: the runtime has told of all its containers, as at each
	// connect. The views are of those that are registered, and may have started
	// without files.
	Synchronized func(runtime string, listed map[string]bool, views []*view.View)
}

// Runtime is the runtime at the other end of the NRI socket.
type Runtime struct {
	Socket    string
	Name      string // as it calls itself; "" before it first connected
	Version   string
	Connected bool
}

var (
	_ stub.ConfigureInterface       = (*Plugin)(nil)
	_ stub.SynchronizeInterface     = (*Plugin)(nil)
	_ stub.CreateContainerInterface = (*Plugin)(nil)
	_ stub.StartContainerInterface  = (*Plugin)(nil)
	_ stub.StopContainerInterface   = (*Plugin)(nil)
	_ stub.RemoveContainerInterface = (*Plugin)(nil)
)

// New makes a plugin that registers containers and has cfg.Mountpoint's files
// mounted into them.
func New(cfg config.Config, registry *view.Registry, log *slog.Logger, tell Tell) *Plugin {
	return &Plugin{
		cfg: cfg, registry: registry, log: log, files: mountable(&cfg, registry), tell: tell,
		runtime: Runtime{Socket: cfg.NRI.Socket},
		told:    map[string]bool{},
	}
}

// Runtime tells whom the plugin is connected to.
func (p *Plugin) Runtime() Runtime {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.runtime
}

// Configure is the runtime's greeting.
func (p *Plugin) Configure(_ context.Context, _, runtime, version string) (api.EventMask, error) {
	p.mu.Lock()
	p.runtime.Name, p.runtime.Version = runtime, version
	p.mu.Unlock()
	p.log.Info("connected to the runtime", "runtime", runtime, "version", version, "socket", p.cfg.NRI.Socket)
	return 0, nil // all events that are handled
}

// Synchronize registers what runs, and forgets what no longer does.
func (p *Plugin) Synchronize(_ context.Context, pods []*api.PodSandbox, containers []*api.Container) ([]*api.ContainerUpdate, error) {
	byID := make(map[string]*api.PodSandbox, len(pods))
	for _, pod := range pods {
		byID[pod.GetId()] = pod
	}
	listed := make(map[string]bool, len(containers))
	var views []*view.View
	for _, ctr := range containers {
		listed[ctr.GetId()] = true
		switch ctr.GetState() {
		case api.ContainerState_CONTAINER_STOPPED:
			p.registry.Remove(ctr.GetId())
			continue
		case api.ContainerState_CONTAINER_CREATED, api.ContainerState_CONTAINER_RUNNING, api.ContainerState_CONTAINER_PAUSED:
		default: // Docker tells no state
		}
		if pod := byID[ctr.GetPodSandboxId()]; p.decide(pod, ctr) {
			if v, err := p.register(pod, ctr, p.initOf(ctr)); err == nil {
				views = append(views, v)
			}
		}
	}
	p.registry.Keep(p.Runtime().Name, listed)
	p.synchronized(listed)
	p.tell.Synchronized(p.Runtime().Name, listed, views)
	return nil, nil
}

// synchronized notes that the runtime has told of all its containers, and
// keeps the memory of decisions to those that exist.
func (p *Plugin) synchronized(listed map[string]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.runtime.Connected = true
	for id := range p.told {
		if !listed[id] {
			delete(p.told, id)
		}
	}
}

// CreateContainer decides, registers, and asks for the mounts. A fault of ours
// is logged and leaves the container as it is, but where files are required.
func (p *Plugin) CreateContainer(_ context.Context, pod *api.PodSandbox, ctr *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	p.count()
	if !p.decide(pod, ctr) {
		return nil, nil, nil
	}
	v, err := p.register(pod, ctr, int(ctr.GetPid()))
	if err != nil {
		if p.cfg.Required {
			return nil, nil, fmt.Errorf("container %s can't have its files, which the configuration of lxcfs-nri requires: %w", ctr.GetId(), err)
		}
		return nil, nil, nil
	}
	p.tell.Created(v)
	adjust := &api.ContainerAdjustment{}
	for _, m := range mounts(p.Runtime().Name, p.cfg.Mountpoint, p.files, ctr) {
		adjust.AddMount(m)
	}
	return adjust, nil, nil
}

// StartContainer learns the pid.
func (p *Plugin) StartContainer(_ context.Context, pod *api.PodSandbox, ctr *api.Container) error {
	if p.registry.Get(ctr.GetId()) == nil {
		return nil
	}
	if v, err := p.register(pod, ctr, p.initOf(ctr)); err == nil {
		p.tell.Started(v)
	}
	return nil
}

// StopContainer ends the view. Should a runtime tell before the processes have
// ended, they keep their files until RemoveContainer.
func (p *Plugin) StopContainer(_ context.Context, _ *api.PodSandbox, ctr *api.Container) ([]*api.ContainerUpdate, error) {
	if v := p.registry.Get(ctr.GetId()); v != nil && !v.Running() {
		p.registry.Remove(ctr.GetId())
	}
	return nil, nil
}

// RemoveContainer forgets the container, also one that never started.
func (p *Plugin) RemoveContainer(_ context.Context, _ *api.PodSandbox, ctr *api.Container) error {
	p.registry.Remove(ctr.GetId())
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.told, ctr.GetId())
	return nil
}

// register adds a container to the registry, or what an event newly tells of it.
func (p *Plugin) register(pod *api.PodSandbox, ctr *api.Container, pid int) (*view.View, error) {
	v, err := p.registry.Add(view.Container{
		ID:          ctr.GetId(),
		Runtime:     p.Runtime().Name,
		Namespace:   pod.GetNamespace(),
		Pod:         pod.GetName(),
		Name:        ctr.GetName(),
		CgroupsPath: ctr.GetLinux().GetCgroupsPath(),
		PID:         pid,
	})
	if err != nil {
		p.logOf(pod, ctr).Error("the container keeps the host's files: it can't be registered", "error", err)
	}
	return v, err
}

// initOf is the container's process. CRI-O tells it since version 1.36 only
// (github.com/cri-o/cri-o/pull/9706).
func (p *Plugin) initOf(ctr *api.Container) int {
	if pid := int(ctr.GetPid()); pid != 0 {
		return pid
	}
	return p.registry.InitIn(ctr.GetId(), ctr.GetLinux().GetCgroupsPath())
}

// decide asks the policy, and logs its decision once per container.
func (p *Plugin) decide(pod *api.PodSandbox, ctr *api.Container) bool {
	d := p.cfg.Policy.Decide(target(p.Runtime().Name, pod, ctr))
	p.mu.Lock()
	known := p.told[ctr.GetId()]
	p.told[ctr.GetId()] = true
	p.mu.Unlock()
	if !known {
		log := p.logOf(pod, ctr)
		for _, w := range d.Warnings {
			log.Warn(w)
		}
		log.Info("decided", "inject", d.Inject, "reason", d.Reason)
	}
	return d.Inject
}

// target is what the policy is asked about. With Docker, labels are what people
// tell a container's properties by.
func target(runtime string, pod *api.PodSandbox, ctr *api.Container) config.Target {
	annotations := ctr.GetAnnotations()
	if runtime == Docker {
		annotations = maps.Clone(ctr.GetLabels())
		if annotations == nil {
			annotations = map[string]string{}
		}
		maps.Copy(annotations, ctr.GetAnnotations())
	}
	return config.Target{
		Namespace:            pod.GetNamespace(),
		Pod:                  pod.GetName(),
		Container:            ctr.GetName(),
		PodLabels:            pod.GetLabels(),
		PodAnnotations:       pod.GetAnnotations(),
		ContainerAnnotations: annotations,
		RuntimeHandler:       pod.GetRuntimeHandler(),
		HostPID:              sharesHostPID(ctr),
	}
}

// sharesHostPID says that the container has no PID namespace of its own: its
// spec has none, or (containerd) joins the host's by its pod's sandbox. Docker
// tells of no namespace at all.
func sharesHostPID(ctr *api.Container) bool {
	namespaces := ctr.GetLinux().GetNamespaces()
	for _, ns := range namespaces {
		if ns.GetType() == "pid" {
			return isHostPID(ns.GetPath())
		}
	}
	return len(namespaces) > 0
}

// isHostPID says that a namespace's path leads to the daemon's own, which is the host's.
func isHostPID(path string) bool {
	if path == "" {
		return false
	}
	joined, err := os.Stat(path)
	if err != nil {
		return false
	}
	own, err := os.Stat("/proc/self/ns/pid")
	return err == nil && os.SameFile(joined, own)
}

func (p *Plugin) logOf(pod *api.PodSandbox, ctr *api.Container) *slog.Logger {
	return p.log.With("container", fmt.Sprintf("%s/%s/%s", pod.GetNamespace(), pod.GetName(), ctr.GetName()), "id", ctr.GetId())
}
