package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/lxcfs-nri/lxcfs-nri/attach"
	"github.com/lxcfs-nri/lxcfs-nri/config"
	"github.com/lxcfs-nri/lxcfs-nri/control"
	"github.com/lxcfs-nri/lxcfs-nri/fusefs"
)

func detachCommand() *cobra.Command {
	var runDir, mountpoint string
	var all bool
	c := &cobra.Command{
		Use:   "detach ID... | --all",
		Short: "Give running containers the kernel's own files back",
		Long: `detach takes the files from running containers, also those that came with
their creation: they see the kernel's own. An id may be shortened to four
characters and more. A container that was detached stays so until it is
attached, or the daemon is started anew.

detach --all works without a daemon, too, and takes what is left of any:
before the package is removed, or when one has died and is not to come back.`,
		Args: oneOrAll(&all),
		RunE: func(c *cobra.Command, ids []string) error {
			return manage(c, ids, func(ctx context.Context, r control.Request) (control.Outcome, error) {
				o, err := control.Detach(ctx, runDir, r)
				if r.All && errors.Is(err, control.ErrNoDaemon) {
					return detachLeft(mountpoint)
				}
				return o, err
			}, "detached")
		},
	}
	c.Flags().StringVar(&runDir, "run-dir", config.Default().RunDir, "`DIR` of the daemon's control socket")
	c.Flags().StringVar(&mountpoint, "mountpoint", "", "without a daemon: take only files of the one that had `DIR` (default any)")
	c.Flags().BoolVar(&all, "all", false, "all containers")
	return c
}

// detachLeft takes what daemons that are gone have left.
func detachLeft(mountpoint string) (control.Outcome, error) {
	if os.Geteuid() != 0 {
		return control.Outcome{}, errors.New("no daemon answers, and looking into containers needs root: use sudo")
	}
	ours := attach.Ours{FSType: fusefs.Type}
	if mountpoint != "" {
		ours.Source = fusefs.Source(mountpoint)
	}
	gone, err := attach.DetachAll(ours)
	if err != nil {
		err = fmt.Errorf("%d files detached, but: %w", gone, err)
	}
	return control.Outcome{Others: gone}, err
}
