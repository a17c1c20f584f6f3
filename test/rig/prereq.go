package rig

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// needs lists the programs that not every machine has and the Debian packages
// they come in.
var needs = []struct {
	program, pkg string
	when         func(Options) bool
}{
	{"runc", "runc", always},
	{"free", "procps", always},
	{"top", "procps", always},
	{"uptime", "procps", always},
	{"ldd", "libc-bin", always},
	{"busybox", "busybox-static", func(o Options) bool { return o.Busybox }},
	{"gcc", "gcc", func(o Options) bool { return o.Userns }},
}

func always(Options) bool { return true }

// Prerequisites checks what the kernel has to offer and installs the programs
// that are missing, telling opts.Log which. Each error says what to do.
func Prerequisites(ctx context.Context, opts Options) error {
	if os.Geteuid() != 0 {
		return errors.New("not root: cgroups and mounts need it, run this with sudo")
	}
	if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil {
		return fmt.Errorf("open /dev/fuse: %w: load the module (modprobe fuse); in a container, pass the device (--device /dev/fuse)", err)
	} else if err := f.Close(); err != nil {
		return fmt.Errorf("close /dev/fuse: %w", err)
	}
	hs, err := hierarchies()
	if err != nil {
		return err
	}
	for _, c := range []string{"memory", "cpu"} {
		if !slices.ContainsFunc(hs, func(h hierarchy) bool { return h.has(c) }) {
			return fmt.Errorf("no cgroup hierarchy has the %s controller: mount one (v2: mount -t cgroup2 none /sys/fs/cgroup), or boot with cgroup_enable=%s", c, c)
		}
	}
	return install(ctx, opts)
}

func install(ctx context.Context, opts Options) error {
	var missing, packages []string
	for _, n := range needs {
		if n.when(opts) && lookPath(n.program) == "" {
			missing = append(missing, n.program)
			if !slices.Contains(packages, n.pkg) {
				packages = append(packages, n.pkg)
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	what, which := strings.Join(missing, ", "), strings.Join(packages, " ")
	if slices.Contains(packages, "gcc") {
		packages = append(packages, "libc6-dev")
	}
	apt := lookPath("apt-get")
	if apt == "" {
		return fmt.Errorf("%s missing and there is no apt-get to install them with: install the packages %s", what, which)
	}
	sayTo(opts.Log, "installing %s with apt-get, for %s", which, what)
	args := append([]string{"install", "-y", "-q", "--no-install-recommends"}, packages...)
	if run(ctx, apt, args...) == nil {
		return nil
	}
	// The package lists may be absent, as in container images, or old.
	if err := run(ctx, apt, "update", "-q"); err != nil {
		return err
	}
	return run(ctx, apt, args...)
}

// run runs a program whose output matters only if it fails.
func run(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), strings.Join(args, " "), err, lastLines(out, 20))
	}
	return nil
}

// lookPath finds a program, also in the sbin folders, which are not in every
// root's PATH. Empty: there is none.
func lookPath(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	return ""
}

// checkOverlay mounts an overlay in dir, as containerd will: the module may be
// missing, and an overlay on an overlay (a container's own root) is refused.
func checkOverlay(dir string) (err error) {
	probe := filepath.Join(dir, "overlay")
	for _, d := range []string{"lower", "upper", "work", "merged"} {
		if err := os.MkdirAll(filepath.Join(probe, d), 0o700); err != nil {
			return fmt.Errorf("prepare a trial overlay: %w", err)
		}
	}
	data := fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", probe)
	merged := filepath.Join(probe, "merged")
	if err := unix.Mount("overlay", merged, "overlay", 0, data); err != nil {
		return fmt.Errorf("mount an overlay in %s: %w: load the module (modprobe overlay), or set TMPDIR to a folder on ext4, xfs or tmpfs", dir, err)
	}
	if err := unix.Unmount(merged, 0); err != nil {
		return fmt.Errorf("unmount the trial overlay: %w", err)
	}
	if err := os.RemoveAll(probe); err != nil {
		return fmt.Errorf("remove the trial overlay: %w", err)
	}
	return nil
}

// lastLines gives the end of a program's output, for an error.
func lastLines(out []byte, n int) string {
	var lines []string
	sc := bufio.NewScanner(bytes.NewReader(out))
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		lines = append(lines, sc.Text())
	}
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
