// Command lxcfs-nri makes containers see their own limits in /proc and /sys.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/lxcfs-nri/lxcfs-nri/control"
)

// Exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	if control.Apart() {
		return
	}
	if err := rootCommand().Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "lxcfs-nri:", err)
		if _, ok := errors.AsType[usageError](err); ok {
			os.Exit(exitUsage)
		}
		os.Exit(exitFailed)
	}
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "lxcfs-nri",
		Short: "Containers see their own limits in /proc and /sys",
		Long: `lxcfs-nri makes every container on this node see its own limits and use in
/proc/meminfo, cpuinfo, stat, uptime and others, instead of the host's.

"lxcfs-nri serve" is all there is to start; it needs no configuration.`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w\nsee %q", err, c.CommandPath()+" --help")}
	})
	root.AddCommand(serveCommand(), superviseCommand(), statusCommand(), attachCommand(), detachCommand(), hostCommand(), versionCommand())
	return root
}

type usageError struct{ error }
