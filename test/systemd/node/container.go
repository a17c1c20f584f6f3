package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/containerd/nri/pkg/api"
	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/test/systemd"
)

// container is one to be run.
type container struct {
	name    string
	limit   int    // of its memory, in kB
	users   bool   // a user namespace
	volumes bool   // caller-resolved files, of which the runtime says nothing
	label   string // of its processes, for SELinux; empty: the runtime's own
	api     *api.Container
}

// create has a plugin asked what the container is to have, and starts it.
func (n *node) create(ctx context.Context, c *container) error {
	dir := filepath.Join(n.cgroup, c.name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "memory.max"), []byte(strconv.Itoa(c.limit)+"K"), 0o644); err != nil {
		return err
	}
	c.api = &api.Container{
		Id: c.name + "-0123456789", PodSandboxId: pod.Id, Name: c.name, State: api.ContainerState_CONTAINER_CREATED,
		Mounts: []*api.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs"},
		},
		Linux: &api.LinuxContainer{
			CgroupsPath: dir[len(cgroups):],
			Namespaces:  []*api.LinuxNamespace{{Type: "pid"}, {Type: "mount"}, {Type: "cgroup"}},
		},
	}
	var mounts []*api.Mount
	if c.volumes {
		for _, f := range []string{"/proc/meminfo", "/proc/uptime"} {
			mounts = append(mounts, &api.Mount{Source: n.mountpoint + f, Destination: f})
		}
	} else {
		var err error
		if mounts, err = n.ask(ctx, c.api); err != nil {
			return err
		}
	}
	pid, err := c.start(dir, mounts)
	if err != nil || c.volumes {
		return err
	}
	c.api.Pid, c.api.State = uint32(pid), api.ContainerState_CONTAINER_RUNNING
	n.add(c.api)
	return n.runtime.StartContainer(ctx, &api.StartContainerRequest{Pod: pod, Container: c.api})
}

// ask asks for a container's mounts. A plugin that has connected is asked only
// after a while.
func (n *node) ask(ctx context.Context, c *api.Container) ([]*api.Mount, error) {
	for until := time.Now().Add(patience); time.Now().Before(until); time.Sleep(100 * time.Millisecond) {
		answer, err := n.runtime.CreateContainer(ctx, &api.CreateContainerRequest{Pod: pod, Container: c})
		if mounts := answer.GetAdjust().GetMounts(); err != nil || len(mounts) > 0 {
			return mounts, err
		}
	}
	return nil, fmt.Errorf("no plugin asked for mounts within %v", patience)
}

// start starts the program inside with copies of the mounts, as runtimes do:
// the folder of the container's files is for root only.
func (c *container) start(dir string, mounts []*api.Mount) (int, error) {
	group, err := os.Open(dir)
	if err != nil {
		return 0, err
	}
	defer group.Close()
	cmd := exec.Command("/proc/self/exe", "inside", c.name, strconv.Itoa(c.limit), c.label)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWCGROUP,
		UseCgroupFD: true, CgroupFD: int(group.Fd()),
	}
	if c.users {
		ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 100000, Size: 65536}}
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = ids, ids
		cmd.SysProcAttr.Credential = &syscall.Credential{}
	}
	for _, m := range mounts {
		fd, err := unix.OpenTree(unix.AT_FDCWD, m.Source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		if err != nil {
			return 0, fmt.Errorf("copy the mount of %s: %w", m.Source, err)
		}
		f := os.NewFile(uintptr(fd), m.Source)
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		cmd.Args = append(cmd.Args, m.Destination)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return 0, fmt.Errorf("container %s did not start: %w: %w", c.name, err, cmd.Wait())
	}
	return cmd.Process.Pid, nil
}

// inside is the container's program: it mounts, and becomes the one that reads.
func inside(name, limit, label string, targets []string) error {
	runtimeSees := []struct {
		from, to, fstype string
		flags            uintptr
	}{
		{"", "/", "", unix.MS_REC | unix.MS_PRIVATE},
		{"proc", "/proc", "proc", 0},
	}
	for _, m := range runtimeSees {
		if err := unix.Mount(m.from, m.to, m.fstype, m.flags, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.to, err)
		}
	}
	for i, target := range targets {
		if err := unix.MoveMount(3+i, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return fmt.Errorf("mount on %s: %w", target, err)
		}
		unix.Close(3 + i) //nolint:errcheck // it has been moved
	}
	program := "/proc/self/exe"
	if label != "" {
		program = filepath.Join(systemd.Dir, "program") // labelled as containers' files are
		runtime.LockOSThread()
		// Not with os.WriteFile, which would ask for a file to be created.
		f, err := os.OpenFile("/proc/thread-self/attr/exec", os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString(label)
		}
		if err != nil {
			return fmt.Errorf("run as %s: %w", label, err)
		}
	}
	return unix.Exec(program, []string{os.Args[0], "read", name, limit}, nil)
}
