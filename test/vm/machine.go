package vm

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Machine is a running machine. It runs one script at a time.
type Machine struct {
	dir    string
	root   string // the machine's, a folder or an image of the host; empty: the host's own
	qemu   *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	stderr strings.Builder
	stop   func() error // ends the sharing of the host's files
	dead   bool
	closed bool
}

// HostDir is where a machine with a Release has the host's files.
const HostDir = "/host"

// ExitError is the exit status of a script that failed.
type ExitError int

func (e ExitError) Error() string { return fmt.Sprintf("the script ended with status %d", int(e)) }

// Start starts a machine, which ends with the context. It needs root, for the
// host's files.
func Start(ctx context.Context, o Options) (*Machine, error) {
	o = o.withDefaults()
	img, err := prepare(ctx, o.Kernel, o.Log)
	if err != nil {
		return nil, err
	}
	emulator, err := findEmulator(ctx, o.Log)
	if err != nil {
		return nil, err
	}
	var root string
	if o.Release != "" {
		if root, err = prepareRelease(ctx, o.Release, o.SELinux, o.Log); err != nil {
			return nil, err
		}
	}
	for try := 1; ; try++ {
		_, _ = fmt.Fprintf(o.Log, "  starting a machine with kernel %s, QEMU %s\n", o.Kernel, emulator)
		m, err := startOnce(ctx, emulator, img, root, o)
		if !errors.Is(err, errNotUp) || try == tries {
			return m, err
		}
		_, _ = fmt.Fprintf(o.Log, "  %v, the next one is tried\n", errNotUp)
	}
}

// On a host that is very busy the emulator loses a processor's timer now and
// then while the kernel starts, which hangs then ("rcu_preempt kthread timer
// wakeup didn't happen"): it is given that long, that many times.
const (
	upLimit = 3 * time.Minute
	tries   = 3
)

var errNotUp = fmt.Errorf("it is not up after %s", upLimit)

func startOnce(ctx context.Context, emulator emulator, img image, root string, o Options) (m *Machine, err error) {
	m = &Machine{root: root, stop: func() error { return nil }}
	if m.dir, err = os.MkdirTemp("", "lxn-vm-"); err != nil {
		return nil, fmt.Errorf("make the machine's folder: %w", err)
	}
	begun := time.Now()
	if err := m.start(ctx, emulator, img, o); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	_, _ = fmt.Fprintf(o.Log, "  it is up after %s\n", time.Since(begun).Round(time.Second/10))
	return m, nil
}

func (m *Machine) start(ctx context.Context, e emulator, img image, o Options) error {
	// Temporary files are on a disk, so that they are page cache and block I/O as elsewhere.
	if err := sh(ctx, m.dir, "truncate -s 2G disk && mkfs.ext4 -q -E nodiscard -O ^has_journal disk"); err != nil {
		return fmt.Errorf("make the machine's disk: %w: install the package e2fsprogs", err)
	}
	// The kernel takes several archives, one after the other.
	if err := os.WriteFile(filepath.Join(m.dir, "init"), []byte(initScript), 0o700); err != nil {
		return err
	}
	if err := sh(ctx, m.dir, `cp "$0" initramfs && echo init | cpio -o -H newc --quiet >>initramfs`, img.initramfs); err != nil {
		return fmt.Errorf("pack the initramfs: %w", err)
	}
	socket := filepath.Join(m.dir, "fs.sock")
	stop, err := share(ctx, socket)
	if err != nil {
		return err
	}
	m.stop = stop
	m.qemu = exec.CommandContext(ctx, e.path, m.arguments(e, img, socket, o)...)
	m.qemu.Stderr = &m.stderr
	m.qemu.WaitDelay = 5 * time.Second
	if m.in, err = m.qemu.StdinPipe(); err != nil {
		return err
	}
	out, err := m.qemu.StdoutPipe()
	if err != nil {
		return err
	}
	m.out = bufio.NewReader(out)
	if err := m.qemu.Start(); err != nil {
		m.qemu = nil
		return fmt.Errorf("start QEMU: %w", err)
	}
	hangs := time.AfterFunc(upLimit, func() { m.qemu.Process.Kill() }) //nolint:errcheck // it may have ended
	_, err = m.until(upMark, io.Discard)
	if !hangs.Stop() {
		err = errNotUp
	}
	if err != nil {
		return m.failed(ctx, err)
	}
	return nil
}

// arguments of QEMU.
func (m *Machine) arguments(e emulator, img image, socket string, o Options) []string {
	var more string
	var disk []string
	if root := m.root; root != "" {
		if o.SELinux {
			root, disk = "/dev/vdb", []string{"-drive", "file=" + m.root + ",if=none,id=root,format=raw,snapshot=on", "-device", "virtio-blk-pci,drive=root"}
		}
		more = " vm.root=" + root + " systemd.unit=vm.target systemd.show_status=0 systemd.firstboot=off"
	}
	if o.Append != "" {
		more += " " + o.Append
	}
	return append([]string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-M", "q35",
		"-accel", "tcg,thread=" + e.thread, "-cpu", "max", "-smp", strconv.Itoa(o.CPUs), "-m", strconv.Itoa(o.Memory),
		"-kernel", img.kernel, "-initrd", filepath.Join(m.dir, "initramfs"),
		// What is off only costs seconds of start here: self tests, certificates, mitigations.
		"-append", "console=ttyS0 quiet loglevel=4 panic=-1 random.trust_cpu=on mitigations=off tsc=reliable no_timer_check cryptomgr.notests initcall_blacklist=jent_mod_init,crypto_kdf108_init,init_encrypted,load_system_certificate_list apparmor=0" + more,
		"-serial", "file:" + m.console(), "-chardev", "stdio,id=c0,signal=off",
		"-device", "virtio-serial-pci", "-device", "virtconsole,chardev=c0",
		"-drive", "file=" + filepath.Join(m.dir, "disk") + ",if=none,id=disk,format=raw,cache=unsafe", "-device", "virtio-blk-pci,drive=disk",
		"-object", fmt.Sprintf("memory-backend-memfd,id=mem,size=%dM,share=on", o.Memory),
		"-chardev", "socket,id=fs,path=" + socket, "-device", "vhost-user-fs-pci,chardev=fs,tag=host", "-numa", "node,memdev=mem",
	}, disk...)
}

// console is where the kernel's messages go.
func (m *Machine) console() string { return filepath.Join(m.dir, "console") }

// Marks in what comes from the machine; no program prints a zero byte.
const (
	upMark  = "\x00up "
	endMark = "\x00end "
)

// maxScript is what the machine's console takes at once.
const maxScript = 4000

// Run runs a script in this process' working directory with the shell, copies
// what it writes to out, and waits until it ends. With the context the machine ends.
func (m *Machine) Run(ctx context.Context, script string, out io.Writer) error {
	job, err := m.environment()
	if err != nil {
		return err
	}
	job += script + "\n"
	if len(job) > maxScript {
		return fmt.Errorf("the script has %d bytes, at most %d can be passed: put it into a file", len(job), maxScript)
	}
	stop := context.AfterFunc(ctx, func() { m.qemu.Process.Kill() }) //nolint:errcheck // it may have ended
	defer func() {
		if !stop() {
			m.dead = true
		}
	}()
	if _, err := fmt.Fprintf(m.in, "%d\n%s", len(job), job); err != nil {
		return m.failed(ctx, err)
	}
	word, err := m.until(endMark, out)
	if err != nil {
		return m.failed(ctx, err)
	}
	status, err := strconv.Atoi(word)
	if status != 0 {
		err = ExitError(status)
	}
	return err
}

// environment has the parts of this process' that programs go by.
func (m *Machine) environment() (string, error) {
	wd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	if m.root != "" {
		wd = filepath.Join(HostDir, wd)
	}
	var job strings.Builder
	// The root is an overlay, on which there can be no second one.
	job.WriteString("export TMPDIR=/run/tmp\n")
	for _, name := range []string{"HOME", "PATH", "GOFLAGS", "GOPATH", "GOMODCACHE", "XDG_CACHE_HOME"} {
		if v, ok := os.LookupEnv(name); ok {
			fmt.Fprintf(&job, "export %s=%s\n", name, Quote(v))
		}
	}
	fmt.Fprintf(&job, "cd %s || exit\n", Quote(wd))
	return job.String(), nil
}

// Quote makes one word of s, for a script.
func Quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// until copies what comes to out until there is a mark, and gives what follows it.
func (m *Machine) until(mark string, out io.Writer) (string, error) {
	for {
		line, err := m.out.ReadBytes('\n')
		before, after, found := bytes.Cut(line, []byte(mark))
		if _, err := out.Write(before); err != nil {
			return "", err
		}
		if found {
			return strings.TrimSpace(string(after)), nil
		}
		if err != nil {
			return "", err
		}
	}
}

// Dead tells whether the machine has ended, as it does with a context of Run.
func (m *Machine) Dead() bool { return m.dead }

// failed adds to an error all that may tell why.
func (m *Machine) failed(ctx context.Context, err error) error {
	m.dead = true
	m.qemu.Process.Kill() //nolint:errcheck // it may have ended
	m.qemu.Wait()         //nolint:errcheck // what it wrote tells more
	said, _ := os.ReadFile(m.console())
	return errors.Join(fmt.Errorf("the machine ended too early: %w", err), context.Cause(ctx),
		errors.New(m.stderr.String()), errors.New(lastLines(string(said), 30)))
}

// Close ends the machine and removes its folder.
func (m *Machine) Close() error {
	if m.closed {
		return nil
	}
	m.closed, m.dead = true, true
	if m.qemu != nil {
		m.in.Close()
		m.qemu.Process.Kill() //nolint:errcheck // it may have ended
		m.qemu.Wait()         //nolint:errcheck // ended by a signal
	}
	return errors.Join(m.stop(), os.RemoveAll(m.dir))
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
