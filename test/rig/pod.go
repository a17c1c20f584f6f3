package rig

import (
	"context"
	"fmt"
	"maps"
	"slices"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// PodOptions describe a pod. All of them may be left out.
type PodOptions struct {
	// Namespace is "default" if it is empty.
	Namespace string
	// Name is made up if it is empty.
	Name                string
	Annotations, Labels map[string]string
	// Handler is the runtime handler, runc if it is empty; with Userns it is
	// HandlerUserns then.
	Handler string
	// HostPID lets the pod's containers see the host's processes.
	HostPID bool
	// Privileged gives the pod's containers all capabilities, and the host's cgroup
	// namespace.
	Privileged bool
	// Userns gives the pod a user namespace of its own.
	Userns bool
	// Limits are those of the pod as a whole.
	Limits Limits
}

// Pod is a sandbox and its containers.
type Pod struct {
	// ID is the sandbox's, 64 hexadecimal digits.
	ID              string
	Namespace, Name string
	// Cgroup is the pod's, as a path below a hierarchy.
	Cgroup string

	rig    *Rig
	config *runtimeapi.PodSandboxConfig
}

// userns maps the container's users to such as nobody on the host is.
var userns = &runtimeapi.UserNamespace{
	Mode: runtimeapi.NamespaceMode_POD,
	Uids: []*runtimeapi.IDMapping{{HostId: 1 << 20, ContainerId: 0, Length: 1 << 16}},
	Gids: []*runtimeapi.IDMapping{{HostId: 1 << 20, ContainerId: 0, Length: 1 << 16}},
}

// RunPod starts a pod without containers.
func (r *Rig) RunPod(ctx context.Context, o PodOptions) (*Pod, error) {
	r.pod++
	if o.Name == "" {
		o.Name = fmt.Sprintf("pod%d", r.pod)
	}
	if o.Namespace == "" {
		o.Namespace = "default"
	}
	if o.Userns && o.Handler == "" {
		o.Handler = HandlerUserns
	}
	p := &Pod{Namespace: o.Namespace, Name: o.Name, Cgroup: fmt.Sprintf("%s/pod%d", r.CgroupParent, r.pod), rig: r}
	if err := limitCgroup(p.Cgroup, o.Limits); err != nil {
		return nil, fmt.Errorf("run the pod %s: %w", o.Name, err)
	}
	namespaces := &runtimeapi.NamespaceOption{Network: runtimeapi.NamespaceMode_NODE}
	if o.HostPID {
		namespaces.Pid = runtimeapi.NamespaceMode_NODE
	} else {
		namespaces.Pid = runtimeapi.NamespaceMode_CONTAINER
	}
	if o.Userns {
		namespaces.UsernsOptions = userns
	}
	labels := maps.Clone(o.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	// As the kubelet does.
	labels["io.kubernetes.pod.name"], labels["io.kubernetes.pod.namespace"] = o.Name, o.Namespace
	p.config = &runtimeapi.PodSandboxConfig{
		Metadata:    &runtimeapi.PodSandboxMetadata{Name: o.Name, Namespace: o.Namespace, Uid: o.Namespace + "-" + o.Name},
		Annotations: o.Annotations,
		Labels:      labels,
		Linux: &runtimeapi.LinuxPodSandboxConfig{
			CgroupParent:    p.Cgroup,
			SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{NamespaceOptions: namespaces, Privileged: o.Privileged},
		},
	}
	res, err := r.cri.runtime.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: p.config, RuntimeHandler: o.Handler})
	if err != nil {
		return nil, fmt.Errorf("run the pod %s: %w", o.Name, err)
	}
	p.ID = res.GetPodSandboxId()
	r.pods[p.ID] = p
	return p, nil
}

// Remove ends the pod and its containers. It may be called twice.
func (p *Pod) Remove(ctx context.Context) error {
	if p.rig.cri == nil {
		return nil // without containerd, Rig.Close removes what is left
	}
	if _, err := p.rig.cri.runtime.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: p.ID}); err != nil {
		return fmt.Errorf("stop the pod %s: %w", p.Name, err)
	}
	if _, err := p.rig.cri.runtime.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: p.ID}); err != nil {
		return fmt.Errorf("remove the pod %s: %w", p.Name, err)
	}
	delete(p.rig.pods, p.ID)
	return nil
}

// usernsHandlers lists the runtime handlers that can give a pod a user namespace.
func (r *Rig) usernsHandlers(ctx context.Context) ([]string, error) {
	s, err := r.cri.runtime.Status(ctx, &runtimeapi.StatusRequest{})
	if err != nil {
		return nil, fmt.Errorf("ask for the runtime's status: %w", err)
	}
	var names []string
	for _, h := range s.GetRuntimeHandlers() {
		if h.GetFeatures().GetUserNamespaces() {
			names = append(names, h.GetName())
		}
	}
	slices.Sort(names)
	return names, nil
}
