package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lxcfs-nri/lxcfs-nri/attach"
	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
	"github.com/lxcfs-nri/lxcfs-nri/config"
	"github.com/lxcfs-nri/lxcfs-nri/control"
	"github.com/lxcfs-nri/lxcfs-nri/fusefs"
	"github.com/lxcfs-nri/lxcfs-nri/internal/fdstore"
	"github.com/lxcfs-nri/lxcfs-nri/plugin"
	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// defaultConfigFile is read where it exists and no other is named.
const defaultConfigFile = "/etc/lxcfs-nri/config.yaml"

// serveFlags are those of serve, and of supervise, which hands them on.
type serveFlags struct{ file, mountpoint, runDir, socket string }

func (f *serveFlags) register(flags *pflag.FlagSet) {
	d := config.Default()
	flags.StringVar(&f.file, "config", "", "configuration `FILE` (default "+defaultConfigFile+" where it exists)")
	flags.StringVar(&f.mountpoint, "mountpoint", d.Mountpoint, "`DIR` to mount the file system on")
	flags.StringVar(&f.runDir, "run-dir", d.RunDir, "`DIR` for the control socket and state")
	flags.StringVar(&f.socket, "nri-socket", d.NRI.Socket, "`PATH` of the runtime's NRI socket, or none")
}

// given are the flags that were set, as arguments.
func (f *serveFlags) given(flags *pflag.FlagSet) []string {
	var args []string
	flags.Visit(func(flag *pflag.Flag) { args = append(args, "--"+flag.Name+"="+flag.Value.String()) })
	return args
}

func serveCommand() *cobra.Command {
	var f serveFlags
	c := &cobra.Command{
		Use:   "serve",
		Short: "Serve the files, and have them mounted into containers",
		Long: `serve mounts the file system, connects to the container runtime by NRI and
adds the mounts to every container that the policy takes. It runs in the
foreground. Nothing needs to be configured; ` + defaultConfigFile + ` is read
where it exists.

SIGINT ends it for good: containers get the kernel's own files back, and the file
system is unmounted. SIGTERM does the same, unless a service manager keeps the
connection (systemd with FileDescriptorStoreMax=, or lxcfs-nri supervise): then the
files stay, reads wait, and the next process goes on, as it does after a crash.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := f.load(c.Flags())
			if err != nil {
				return err
			}
			ctx, stop := untilSignal(c.Context())
			defer stop()
			return serve(ctx, cfg, newLogger(cfg.Log))
		},
	}
	f.register(c.Flags())
	return c
}

// errForGood says that nobody will go on.
var errForGood = errors.New("asked to end for good")

// untilSignal ends with SIGTERM, or with SIGINT for good.
func untilSignal(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		select {
		case s := <-signals:
			if s == syscall.SIGINT {
				cancel(errForGood)
			}
		case <-ctx.Done():
		}
		cancel(nil)
	}()
	return ctx, func() { signal.Stop(signals); cancel(nil) }
}

// load reads the configuration; flags that were given win over it.
func (f *serveFlags) load(flags *pflag.FlagSet) (config.Config, error) {
	cfg, file := config.Default(), f.file
	if file == "" {
		if _, err := os.Stat(defaultConfigFile); err == nil {
			file = defaultConfigFile
		}
	}
	if file != "" {
		var err error
		if cfg, err = config.Load(file, view.Paths()); err != nil {
			return cfg, err
		}
	}
	for name, to := range map[string]struct {
		field *string
		value string
	}{
		"mountpoint": {&cfg.Mountpoint, f.mountpoint},
		"run-dir":    {&cfg.RunDir, f.runDir},
		"nri-socket": {&cfg.NRI.Socket, f.socket},
	} {
		if flags.Changed(name) {
			*to.field = to.value
		}
	}
	return cfg, cfg.Validate(view.Paths())
}

func newLogger(c config.Log) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		level = slog.LevelInfo // config.Validate has checked it
	}
	opts := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, opts))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, opts))
}

// serve runs the daemon until ctx is done.
func serve(ctx context.Context, cfg config.Config, log *slog.Logger) error {
	if os.Geteuid() != 0 {
		return errors.New("serve needs root: run it with sudo, or as a system service")
	}
	groups, err := cgroup.Open("/")
	if err != nil {
		return err
	}
	host := view.NewHost("/")
	var registry *view.Registry
	var nri *plugin.Plugin
	// The socket comes first: it keeps a second daemon from the same files.
	ctl, err := control.Listen(cfg.RunDir, func() control.Status { return status(&cfg, registry, nri) })
	if err != nil {
		return err
	}
	defer ctl.Close() //nolint:errcheck // the process ends
	// Reads may be under way until the process ends: nothing is unmapped before, and
	// no view closed.
	kept, err := view.OpenKept(filepath.Join(cfg.RunDir, "clocks"), host)
	if err != nil {
		log.Warn("CPU counters will begin anew with the next daemon", "error", err)
	}
	journal, err := view.OpenJournal(filepath.Join(cfg.RunDir, "containers"))
	if err != nil {
		log.Warn("containers would lose their files in a crash", "error", err)
	}
	registry = view.NewRegistry(host, groups, log, view.Options{
		NoSwap:        !cfg.Swap,
		HideThrottled: cfg.Stat.Throttled == config.ThrottledHide,
		Kept:          kept,
		Journal:       journal,
	})
	attacher := &control.Attacher{
		Mountpoint: cfg.Mountpoint, Ours: attach.Ours{FSType: fusefs.Type, Source: fusefs.Source(cfg.Mountpoint)},
		Files: registry.Mountable(cfg.Files.Serves), Registry: registry, Log: log,
	}
	ctl.Manage(attacher)
	ctl.Hook(&control.Hooks{Policy: cfg.Policy, Attacher: attacher})
	before := newRunning(&cfg, attacher)
	links := fallback{log: log}
	nri = plugin.New(cfg, registry, log, plugin.Tell{
		Created: links.created,
		Started: attacher.Start,
		Synchronized: func(runtime string, listed map[string]bool, views []*view.View) {
			links.synchronized(runtime, listed)
			before.synchronized(views)
		},
	})
	conn, err := connect(&cfg, fusefs.New(registry, log, cfg.Files.Serves), log)
	if err != nil {
		return err
	}
	attacher.Triggers = conn.TakesTriggers()
	links.open(cfg.Mountpoint, attacher.Files)
	warnNested(log, groups)
	log.Info("ready", "version", versionString(), "mountpoint", cfg.Mountpoint, "cgroups", groups.Mode(), "nri", cfg.NRI.Socket,
		"tookOver", conn.took, "kept", conn.kept)
	return run(ctx, &cfg, log, &conn, ctl, nri, before)
}

// run keeps the parts going. The first that ends, or ctx, ends all. What is
// kept for the next process stays mounted.
func run(ctx context.Context, cfg *config.Config, log *slog.Logger, conn *connection, ctl *control.Server, nri *plugin.Plugin, before *running) error {
	asked := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	runtime := cfg.NRI.Socket != config.NoSocket
	ended := make(chan error, 3)
	away := make(chan struct{}) // the runtime was left
	go func() { ended <- conn.Serve() }()
	go func() { ended <- ctl.Serve() }()
	go before.run(ctx, runtime)
	go func() {
		defer close(away)
		if runtime {
			ended <- nri.Run(ctx)
		}
	}()
	notify(log, "READY=1")
	var err error
	select {
	case err = <-ended:
		if err == nil && ctx.Err() == nil {
			err = fmt.Errorf("the file system on %s was ended by somebody else: start again, and containers created from then on have the files", cfg.Mountpoint)
		}
	case <-ctx.Done():
	}
	notify(log, "STOPPING=1")
	if conn.kept && err == nil && !errors.Is(context.Cause(asked), errForGood) {
		log.Info("stopping: the files stay, the next process goes on", "mountpoint", cfg.Mountpoint)
		return nil
	}
	log.Info("stopping", "mountpoint", cfg.Mountpoint)
	cancel()
	before.stop(away, log)
	return errors.Join(err, conn.end())
}

func notify(log *slog.Logger, state string) {
	if err := fdstore.Notify(state); err != nil {
		log.Warn("the service manager was not told", "error", err)
	}
}

// warnNested logs what will not work because of what the daemon can't see from where
// it runs.
func warnNested(log *slog.Logger, groups *cgroup.FS) {
	// Numbers of the host's namespaces are in linux/proc_ns.h.
	if ns, err := os.Readlink("/proc/self/ns/pid"); err == nil && ns != "pid:[4026531836]" {
		log.Warn("running in a PID namespace: containers outside of it can't be resolved; give the daemon the host's (hostPID: true)")
	}
	if ns, err := os.Readlink("/proc/self/ns/cgroup"); err == nil && ns != "cgroup:[4026531835]" {
		log.Warn("running in a cgroup namespace: limits of containers outside of it count only if the host's /sys/fs/cgroup is mounted; give the daemon the host's namespace (cgroupns: host)")
	}
	if groups.Mode() == cgroup.ModeNone {
		log.Warn("no cgroup hierarchy can be reached: containers see the host's figures; mount cgroup2 on /sys/fs/cgroup, or run where the host's /sys/fs/cgroup can be seen")
	}
}

// status collects what the daemon tells of itself.
func status(cfg *config.Config, registry *view.Registry, nri *plugin.Plugin) control.Status {
	s := control.NewStatus(versionString(), cfg.Mountpoint)
	for _, path := range view.Paths() {
		if cfg.Files.Serves(path) {
			s.Files = append(s.Files, path)
		}
	}
	if r := nri.Runtime(); cfg.NRI.Socket != config.NoSocket {
		s.Runtimes = append(s.Runtimes, control.Runtime{
			Name: strings.TrimSpace(r.Name), Version: r.Version, Socket: r.Socket, Connected: r.Connected,
		})
	}
	s.Containers = control.Containers(registry)
	return s
}
