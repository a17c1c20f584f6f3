package rig

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ContainerOptions describe a container. All of them may be left out.
type ContainerOptions struct {
	// Name is "main" if it is empty.
	Name string
	// Image is ImageTools if it is empty.
	Image string
	// Command sleeps for ever if it is empty.
	Command     []string
	Limits      Limits
	Annotations map[string]string
	// Capabilities are given beside the usual ones.
	Capabilities []string
	// Mounts maps paths in the container to paths on the host.
	Mounts map[string]string
}

// Container is a running container.
type Container struct {
	ID, Name string
	Pod      *Pod
	// Cgroup is the container's, as a path below a hierarchy.
	Cgroup string
}

// Start creates a container in the pod and starts it.
func (p *Pod) Start(ctx context.Context, o ContainerOptions) (*Container, error) {
	if o.Name == "" {
		o.Name = "main"
	}
	if o.Image == "" {
		o.Image = ImageTools
	}
	config := &runtimeapi.ContainerConfig{
		Metadata:    &runtimeapi.ContainerMetadata{Name: o.Name},
		Image:       &runtimeapi.ImageSpec{Image: o.Image},
		Command:     o.Command,
		Annotations: o.Annotations,
		// As the kubelet does.
		Labels: map[string]string{
			"io.kubernetes.container.name": o.Name,
			"io.kubernetes.pod.name":       p.Name, "io.kubernetes.pod.namespace": p.Namespace,
		},
		Linux: &runtimeapi.LinuxContainerConfig{
			Resources: o.Limits.cri(),
			SecurityContext: &runtimeapi.LinuxContainerSecurityContext{
				NamespaceOptions: p.config.GetLinux().GetSecurityContext().GetNamespaceOptions(),
				Privileged:       p.config.GetLinux().GetSecurityContext().GetPrivileged(),
				Capabilities:     &runtimeapi.Capability{AddCapabilities: o.Capabilities},
			},
		},
	}
	for inside, host := range o.Mounts {
		config.Mounts = append(config.Mounts, &runtimeapi.Mount{ContainerPath: inside, HostPath: host, Readonly: true})
	}
	cri := p.rig.cri.runtime
	res, err := cri.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{PodSandboxId: p.ID, Config: config, SandboxConfig: p.config})
	if err != nil {
		return nil, fmt.Errorf("create the container %s/%s: %w", p.Name, o.Name, err)
	}
	c := &Container{ID: res.GetContainerId(), Name: o.Name, Pod: p, Cgroup: p.Cgroup + "/" + res.GetContainerId()}
	if _, err := cri.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: c.ID}); err != nil {
		return nil, fmt.Errorf("start the container %s/%s: %w", p.Name, o.Name, err)
	}
	return c, nil
}

func (l Limits) cri() *runtimeapi.LinuxContainerResources {
	return &runtimeapi.LinuxContainerResources{
		MemoryLimitInBytes: l.Memory, CpuQuota: l.Quota, CpuPeriod: l.period(), CpusetCpus: l.CPUs,
	}
}

// Exec runs a program in the container and returns its standard output. A
// program that fails is an error, with what it wrote on standard error.
func (c *Container) Exec(ctx context.Context, args ...string) (string, error) {
	const timeout = time.Minute
	res, err := c.Pod.rig.cri.runtime.ExecSync(ctx, &runtimeapi.ExecSyncRequest{ContainerId: c.ID, Cmd: args, Timeout: int64(timeout.Seconds())})
	if err == nil && res.GetExitCode() != 0 {
		err = fmt.Errorf("exit code %d: %s", res.GetExitCode(), strings.TrimSpace(string(res.GetStderr())))
	}
	if err != nil {
		return string(res.GetStdout()), fmt.Errorf("%s in %s/%s: %w", strings.Join(args, " "), c.Pod.Name, c.Name, err)
	}
	return string(res.GetStdout()), nil
}

// Update changes the container's limits in place; what is zero stays.
func (c *Container) Update(ctx context.Context, l Limits) error {
	_, err := c.Pod.rig.cri.runtime.UpdateContainerResources(ctx, &runtimeapi.UpdateContainerResourcesRequest{ContainerId: c.ID, Linux: l.cri()})
	if err != nil {
		return fmt.Errorf("change the limits of %s/%s: %w", c.Pod.Name, c.Name, err)
	}
	return nil
}

// Remove ends the container at once and removes it.
func (c *Container) Remove(ctx context.Context) error {
	cri := c.Pod.rig.cri.runtime
	if _, err := cri.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: c.ID}); err != nil {
		return fmt.Errorf("stop the container %s/%s: %w", c.Pod.Name, c.Name, err)
	}
	if _, err := cri.RemoveContainer(ctx, &runtimeapi.RemoveContainerRequest{ContainerId: c.ID}); err != nil {
		return fmt.Errorf("remove the container %s/%s: %w", c.Pod.Name, c.Name, err)
	}
	return nil
}

// Pid is the number of the container's first process on the host.
func (c *Container) Pid(ctx context.Context) (int, error) {
	res, err := c.Pod.rig.cri.runtime.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: c.ID, Verbose: true})
	if err != nil {
		return 0, fmt.Errorf("ask for the status of %s/%s: %w", c.Pod.Name, c.Name, err)
	}
	var info struct {
		Pid int `json:"pid"`
	}
	if err := json.Unmarshal([]byte(res.GetInfo()["info"]), &info); err != nil {
		return 0, fmt.Errorf("read the status of %s/%s: %w", c.Pod.Name, c.Name, err)
	}
	return info.Pid, nil
}

// Running tells whether the container's first process runs.
func (c *Container) Running(ctx context.Context) (bool, error) {
	res, err := c.Pod.rig.cri.runtime.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: c.ID})
	if err != nil {
		return false, fmt.Errorf("ask for the status of %s/%s: %w", c.Pod.Name, c.Name, err)
	}
	return res.GetStatus().GetState() == runtimeapi.ContainerState_CONTAINER_RUNNING, nil
}
