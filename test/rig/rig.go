package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// folderPrefix and cgroupPrefix are followed by the number of the process
	// that made them, by which Sweep knows what nobody owns any more.
	folderPrefix = "lxn-"
	cgroupPrefix = "lxcfs-nri-test-"

	// closeTimeout bounds the orderly part of Close: removing the pods.
	closeTimeout = 2 * time.Minute
)

// Options says what a rig needs beyond a containerd, its shim and runc.
type Options struct {
	// Log gets one line per step, for a human; nil discards them.
	Log io.Writer
	// Userns adds a runtime handler for pods with a user namespace, for which
	// the runc of most distributions is too old.
	Userns bool
	// Busybox adds the image ImageBusybox.
	Busybox bool
	// NRISocket is where containerd waits for plugins; empty: in the rig's folder.
	NRISocket string
}

// Rig is a running containerd with images, and what was started on it.
type Rig struct {
	// Dir is the folder below which everything of this rig is.
	Dir string
	// NRISocket is where containerd waits for plugins.
	NRISocket string
	// CgroupParent is the parent of all pods, as a path below a hierarchy.
	CgroupParent string
	// Tools are the binaries containerd was started from.
	Tools Tools

	opts       Options
	containerd *process
	cri        *cri
	daemon     *Daemon
	pods       map[string]*Pod
	pod        int // names of pods that were given none
}

// Up checks and completes this machine's prerequisites, builds what is not
// built yet and starts containerd. On an error nothing is left behind.
func Up(ctx context.Context, opts Options) (*Rig, error) {
	if opts.Log == nil {
		opts.Log = io.Discard
	}
	if err := Prerequisites(ctx, opts); err != nil {
		return nil, err
	}
	if err := Sweep(opts.Log); err != nil {
		return nil, err
	}
	tools, err := BuildTools(ctx, opts)
	if err != nil {
		return nil, err
	}
	dir, err := newFolder()
	if err != nil {
		return nil, err
	}
	r := rigIn(dir)
	r.Tools, r.opts = tools, opts
	if opts.NRISocket != "" {
		r.NRISocket = opts.NRISocket
	}
	if err := r.start(ctx); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// rigIn gives the rig of a folder that newFolder made, perhaps in a process
// that is gone.
func rigIn(dir string) *Rig {
	pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), folderPrefix), "-")
	return &Rig{
		Dir:          dir,
		NRISocket:    filepath.Join(dir, "nri.sock"),
		CgroupParent: "/" + cgroupPrefix + pid,
		opts:         Options{Log: io.Discard},
		pods:         map[string]*Pod{},
	}
}

// NewFolder makes a folder for daemons that are started without a rig. Where this
// process is killed, Sweep removes it.
func NewFolder() (string, error) { return newFolder() }

// RemoveFolder ends the daemons in such a folder, whatever their state, and removes
// it with what is mounted there.
func RemoveFolder(dir string) error { return rigIn(dir).remove() }

// newFolder makes the folder of a rig. Its path must be short, for sockets,
// and programs must be allowed to run there, since the containers' files are
// in it.
func newFolder() (string, error) {
	dir, err := os.MkdirTemp("", folderPrefix+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		return "", fmt.Errorf("make the rig's folder: %w", err)
	}
	const longest, limit = "/containerd.sock.ttrpc", 107
	var fs unix.Statfs_t
	switch err := unix.Statfs(dir, &fs); {
	case err != nil:
		return "", errors.Join(fmt.Errorf("statfs %s: %w", dir, err), os.Remove(dir))
	case fs.Flags&unix.ST_NOEXEC != 0:
		return "", errors.Join(fmt.Errorf("%s is mounted noexec: set TMPDIR to a folder where programs may run", dir), os.Remove(dir))
	case len(dir)+len(longest) > limit:
		return "", errors.Join(fmt.Errorf("%s is too long a path for unix sockets: set TMPDIR to a shorter one", dir), os.Remove(dir))
	}
	// Root of a user namespace passes through it on the way to its rootfs.
	if err := os.Chmod(dir, 0o711); err != nil {
		return "", errors.Join(fmt.Errorf("open the rig's folder: %w", err), os.Remove(dir))
	}
	return dir, nil
}

func (r *Rig) start(ctx context.Context) error {
	if err := checkOverlay(r.Dir); err != nil {
		return err
	}
	if err := r.writeConfig(); err != nil {
		return err
	}
	r.say("starting containerd in %s", r.Dir)
	if err := r.startContainerd(ctx); err != nil {
		return err
	}
	return r.importImages(ctx)
}

// Close ends and removes everything of the rig: pods, the daemon, containerd,
// shims, mounts, cgroups and the folder. It goes on after an error and may be
// called on a rig that is half up.
func (r *Rig) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), Limit(closeTimeout))
	defer cancel()
	var errs []error
	for _, p := range r.pods {
		errs = append(errs, p.Remove(ctx))
	}
	if r.daemon != nil {
		errs = append(errs, r.daemon.Stop())
	}
	errs = append(errs, r.StopContainerd(), r.remove())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close the rig in %s: %w", r.Dir, err)
	}
	return nil
}

// Sweep removes what rigs of processes that no longer live have left behind.
func Sweep(log io.Writer) error {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), folderPrefix+"*-*"))
	if err != nil {
		return fmt.Errorf("look for rigs of earlier runs: %w", err)
	}
	var errs []error
	for _, dir := range dirs {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), folderPrefix), "-")
		if n, err := strconv.Atoi(pid); err != nil || n <= 0 || !errors.Is(unix.Kill(n, 0), unix.ESRCH) {
			continue
		}
		sayTo(log, "removing %s, left behind by a run that was killed", dir)
		errs = append(errs, rigIn(dir).remove())
	}
	return errors.Join(errs...)
}

// say writes one line of progress.
func (r *Rig) say(format string, args ...any) { sayTo(r.opts.Log, format, args...) }

// sayTo ignores errors: a run does not fail because nobody can read about it.
func sayTo(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, "  "+format+"\n", args...)
}
