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

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
	"github.com/lxcfs-nri/lxcfs-nri/config"
	"github.com/lxcfs-nri/lxcfs-nri/control"
	"github.com/lxcfs-nri/lxcfs-nri/fusefs"
	"github.com/lxcfs-nri/lxcfs-nri/plugin"
	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// defaultConfigFile is read where it exists and no other is named.
const defaultConfigFile = "/etc/lxcfs-nri/config.yaml"

func serveCommand() *cobra.Command {
	var file, mountpoint, runDir, socket string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Serve the files, and have them mounted into containers",
		Long: `serve mounts the file system, connects to the container runtime by NRI and
adds the mounts to every container that the policy takes. It runs in the
foreground until SIGTERM or SIGINT, then unmounts. Nothing needs to be
configured; ` + defaultConfigFile + ` is read where it exists.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := loadConfig(file, c.Flags(), mountpoint, runDir, socket)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			return serve(ctx, cfg, newLogger(cfg.Log))
		},
	}
	d := config.Default()
	c.Flags().StringVar(&file, "config", "", "configuration `FILE` (default "+defaultConfigFile+" where it exists)")
	c.Flags().StringVar(&mountpoint, "mountpoint", d.Mountpoint, "`DIR` to mount the file system on")
	c.Flags().StringVar(&runDir, "run-dir", d.RunDir, "`DIR` for the control socket and state")
	c.Flags().StringVar(&socket, "nri-socket", d.NRI.Socket, "`PATH` of the runtime's NRI socket, or none")
	return c
}

// loadConfig reads the file; flags that were given win over it.
func loadConfig(file string, flags *pflag.FlagSet, mountpoint, runDir, socket string) (config.Config, error) {
	cfg := config.Default()
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
		"mountpoint": {&cfg.Mountpoint, mountpoint},
		"run-dir":    {&cfg.RunDir, runDir},
		"nri-socket": {&cfg.NRI.Socket, socket},
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
	// Not unmapped before the process ends: a read may be under way until then.
	kept, err := view.OpenKept(filepath.Join(cfg.RunDir, "clocks"), host)
	if err != nil {
		log.Warn("CPU counters will begin anew with the next daemon", "error", err)
	}
	registry = view.NewRegistry(host, groups, log, view.Options{
		NoSwap:        !cfg.Swap,
		HideThrottled: cfg.Stat.Throttled == config.ThrottledHide,
		Kept:          kept,
	})
	defer registry.Close()
	attacher := &control.Attacher{
		Mountpoint: cfg.Mountpoint, FSType: fusefs.Type, Files: registry.Mountable(cfg.Files.Serves), Log: log,
	}
	nri = plugin.New(cfg, registry, log, attacher.Start)
	conn, err := fusefs.New(registry, log, cfg.Files.Serves).Mount(cfg.Mountpoint)
	if err != nil {
		return err
	}
	warnNested(log)
	log.Info("ready", "version", versionString(), "mountpoint", cfg.Mountpoint, "cgroups", groups.Mode(), "nri", cfg.NRI.Socket)
	return run(ctx, &cfg, log, conn, ctl, nri)
}

// run keeps the parts going. The first that ends, or ctx, ends all.
func run(ctx context.Context, cfg *config.Config, log *slog.Logger, conn *fusefs.Conn, ctl *control.Server, nri *plugin.Plugin) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 3)
	go func() { ended <- conn.Serve() }()
	go func() { ended <- ctl.Serve() }()
	if cfg.NRI.Socket != config.NoSocket {
		go func() { ended <- nri.Run(ctx) }()
	}
	notify(log, daemon.SdNotifyReady)
	var err error
	select {
	case err = <-ended:
		if err == nil && ctx.Err() == nil {
			err = fmt.Errorf("the file system on %s was ended by somebody else: start again, and containers created from then on have the files", cfg.Mountpoint)
		}
	case <-ctx.Done():
	}
	notify(log, daemon.SdNotifyStopping)
	log.Info("stopping", "mountpoint", cfg.Mountpoint)
	return errors.Join(err, conn.Unmount())
}

func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("telling the service manager", "state", state, "error", err)
	}
}

// warnNested says what will not work from within a PID namespace: processes
// outside can't be seen from there.
func warnNested(log *slog.Logger) {
	const initNS = "pid:[4026531836]" // PROC_PID_INIT_INO in linux/proc_ns.h
	if ns, err := os.Readlink("/proc/self/ns/pid"); err == nil && ns != initNS {
		log.Warn("running in a PID namespace: containers outside of it can't be resolved; give the daemon the host's (hostPID: true)")
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
