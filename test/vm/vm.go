// Package vm runs shell scripts on a machine of its own: a Debian kernel in
// QEMU, with pure cgroup v2, PSI and swap, whose root is the host's root seen
// read-only with a tmpfs above. Programs that were built or installed on the
// host are there at the same paths; what the script writes is gone afterwards.
// The processors are emulated, so no /dev/kvm is needed: system calls take some
// four times as long as on the host, Go's garbage collector twenty.
package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Options choose the machine.
type Options struct {
	Kernel string // "6.12" or "6.1"; empty: 6.12
	Memory int    // in MiB; 0: 2048
	// Log gets one line per step, for a human; nil discards them.
	Log io.Writer
}

// ExitError is the exit status of a script that failed.
type ExitError int

func (e ExitError) Error() string { return fmt.Sprintf("the script ended with status %d", int(e)) }

// Run starts a machine, runs the script there in the working directory with
// busybox's shell and copies what it writes to out. It needs root, for the
// host's files.
func Run(ctx context.Context, o Options, script string, out io.Writer) (err error) {
	if o.Kernel == "" {
		o.Kernel = "6.12"
	}
	if o.Memory == 0 {
		o.Memory = 2048
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	img, err := prepare(ctx, o.Kernel, o.Log)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "lxn-vm-")
	if err != nil {
		return fmt.Errorf("make the machine's folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	// Temporary files are on a disk, so that they are page cache and block I/O as elsewhere.
	if err := sh(ctx, dir, "truncate -s 2G disk && mkfs.ext4 -q -E nodiscard -O ^has_journal disk"); err != nil {
		return fmt.Errorf("make the machine's disk: %w: install the package e2fsprogs", err)
	}
	if err := initramfs(ctx, dir, img, script); err != nil {
		return err
	}
	socket := filepath.Join(dir, "fs.sock")
	stop, err := share(ctx, socket)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	return boot(ctx, dir, socket, img, o, out)
}

// initramfs appends the parts that are this run's to the modules: the kernel
// takes several archives, one after the other.
func initramfs(ctx context.Context, dir string, img image, script string) error {
	wd, err := os.Getwd()
	if err != nil {
		return err
	}
	var job strings.Builder
	// The root is an overlay, on which there can be no second one.
	job.WriteString("export TMPDIR=/run/tmp\n")
	for _, name := range []string{"HOME", "PATH", "GOFLAGS", "GOPATH", "GOMODCACHE", "XDG_CACHE_HOME"} {
		if v, ok := os.LookupEnv(name); ok {
			fmt.Fprintf(&job, "export %s=%s\n", name, Quote(v))
		}
	}
	fmt.Fprintf(&job, "cd %s || exit\n%s\n", Quote(wd), script)
	for name, content := range map[string]string{"init": initScript, "job": job.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o700); err != nil {
			return err
		}
	}
	if err := sh(ctx, dir, `cp "$0" initramfs && printf 'init\njob\n' | cpio -o -H newc --quiet >>initramfs`, img.initramfs); err != nil {
		return fmt.Errorf("pack the initramfs: %w", err)
	}
	return nil
}

// Quote makes one word of s, for a script.
func Quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// share serves the host's root to the machine, on a socket.
func share(ctx context.Context, socket string) (stop func() error, err error) {
	var daemon string
	// QEMU's own of Debian 12, and the one that has replaced it; both know these flags.
	for _, p := range []string{"/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd"} {
		if _, err := os.Stat(p); err == nil {
			daemon = p
			break
		}
	}
	if daemon == "" {
		return nil, errors.New("no virtiofsd: install the package virtiofsd, on Debian 12 qemu-system-common")
	}
	var log strings.Builder
	cmd := exec.CommandContext(ctx, daemon, "--socket-path="+socket, "-o", "source=/", "-o", "sandbox=chroot", "-o", "cache=auto")
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start virtiofsd: %w", err)
	}
	stop = func() error {
		// It ends by itself with the machine, or not at all if that never started.
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stop virtiofsd: %w", err)
		}
		cmd.Wait() //nolint:errcheck // ended by a signal
		return nil
	}
	for range 100 {
		if _, err := os.Stat(socket); err == nil {
			return stop, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return nil, errors.Join(fmt.Errorf("virtiofsd does not listen on %s", socket), stop(), errors.New(log.String()))
}

// boot runs QEMU to its end.
func boot(ctx context.Context, dir, socket string, img image, o Options, out io.Writer) error {
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		return fmt.Errorf("%w: install the package qemu-system-x86", err)
	}
	thread, err := threads(ctx, qemu)
	if err != nil {
		return err
	}
	console := filepath.Join(dir, "console")
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-M", "q35",
		"-accel", "tcg,thread=" + thread, "-cpu", "max", "-smp", "2", "-m", strconv.Itoa(o.Memory),
		"-kernel", img.kernel, "-initrd", filepath.Join(dir, "initramfs"),
		// What is off only costs seconds of start here: self tests, certificates, mitigations.
		"-append", "console=ttyS0 quiet loglevel=4 panic=-1 random.trust_cpu=on mitigations=off tsc=reliable no_timer_check cryptomgr.notests initcall_blacklist=jent_mod_init,crypto_kdf108_init,init_encrypted,load_system_certificate_list apparmor=0",
		"-serial", "file:" + console, "-chardev", "stdio,id=c0,signal=off",
		"-device", "virtio-serial-pci", "-device", "virtconsole,chardev=c0",
		"-drive", "file=" + filepath.Join(dir, "disk") + ",if=none,id=disk,format=raw,cache=unsafe", "-device", "virtio-blk-pci,drive=disk",
		"-object", fmt.Sprintf("memory-backend-memfd,id=mem,size=%dM,share=on", o.Memory),
		"-chardev", "socket,id=fs,path=" + socket, "-device", "vhost-user-fs-pci,chardev=fs,tag=host", "-numa", "node,memdev=mem",
	}
	_, _ = fmt.Fprintf(o.Log, "  starting a machine with kernel %s\n", o.Kernel)
	cmd := exec.CommandContext(ctx, qemu, args...)
	var stderr strings.Builder
	cmd.Stdout, cmd.Stderr = out, &stderr
	cmd.WaitDelay = 5 * time.Second
	ran := cmd.Run()
	said, err := os.ReadFile(console)
	if err != nil {
		return errors.Join(ran, err, errors.New(stderr.String()))
	}
	if m := exited.FindSubmatch(said); m != nil {
		status, err := strconv.Atoi(string(m[1]))
		if status != 0 {
			err = ExitError(status)
		}
		return err
	}
	return errors.Join(fmt.Errorf("the machine did not come to its end (%w): %s", ran, stderr.String()),
		context.Cause(ctx), errors.New(lastLines(string(said), 30)))
}

var (
	exited  = regexp.MustCompile(`(?m)^VM_EXIT (\d+)\r?$`)
	version = regexp.MustCompile(`version (\d+)\.`)
)

// threads chooses how QEMU emulates the processors. Up to 7.2 (Debian 12) each
// in a thread of its own corrupts the kernel's jump labels: "Oops: int3".
func threads(ctx context.Context, qemu string) (string, error) {
	b, err := exec.CommandContext(ctx, qemu, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("ask QEMU for its version: %w", err)
	}
	m := version.FindSubmatch(b)
	if m == nil {
		return "", fmt.Errorf("QEMU tells no version: %q", b)
	}
	if major, err := strconv.Atoi(string(m[1])); err != nil || major < 10 {
		return "single", err
	}
	return "multi", nil
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
