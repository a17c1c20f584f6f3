// Command lxcfs-nri-hook is an OCI hook that gives containers their files where
// the runtime has no NRI: podman, CRI-O. It reads the container's state from
// standard input; oci-hooks(5) says how it is installed.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/hook"
)

// version is set by the linker.
var version = "unknown"

func main() {
	h := hook.Hook{}
	flags := flag.NewFlagSet("lxcfs-nri-hook", flag.ContinueOnError)
	flags.StringVar(&h.RunDir, "run-dir", "/run/lxcfs-nri", "`DIR` of the daemon's control socket")
	flags.StringVar(&h.Mountpoint, "mountpoint", "/var/lib/lxcfs-nri", "`DIR` on which the daemon's file system is mounted")
	flags.BoolVar(&h.Required, "required", false, "fail containers that can't have their files")
	flags.StringVar(&h.Config, "config", "/etc/lxcfs-nri/config.yaml", "the daemon's `FILE` of settings, which may have \"required: true\"")
	flags.DurationVar(&h.Timeout, "timeout", time.Second, "give up after this `TIME`")
	show := flags.Bool("version", false, "print the version")
	if err := flags.Parse(os.Args[1:]); errors.Is(err, flag.ErrHelp) {
		return
	} else if err != nil {
		os.Exit(2)
	}
	if *show {
		fmt.Fprintln(os.Stdout, version)
		return
	}
	line, err := h.Run(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, "lxcfs-nri-hook:", err)
		os.Exit(1)
	}
	if line != "" {
		fmt.Fprintln(os.Stderr, "lxcfs-nri-hook:", line)
	}
}
