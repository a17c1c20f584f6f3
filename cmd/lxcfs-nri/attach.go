package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/spf13/cobra"

	"github.com/lxcfs-nri/lxcfs-nri/config"
	"github.com/lxcfs-nri/lxcfs-nri/control"
)

func attachCommand() *cobra.Command {
	var runDir string
	var all bool
	c := &cobra.Command{
		Use:   "attach ID... | --all",
		Short: "Give containers that run already their files",
		Long: `attach gives running containers the files that they lack, without a restart:
those that were created while no daemon ran, and those that were detached. The
daemon must know them: see lxcfs-nri status. An id may be shortened to four
characters and more. What runs in the container and what it has open are not
disturbed.`,
		Args: oneOrAll(&all),
		RunE: func(c *cobra.Command, ids []string) error {
			return manage(c, ids, func(ctx context.Context, r control.Request) (control.Outcome, error) {
				return control.Attach(ctx, runDir, r)
			}, "attached")
		},
	}
	c.Flags().StringVar(&runDir, "run-dir", config.Default().RunDir, "`DIR` of the daemon's control socket")
	c.Flags().BoolVar(&all, "all", false, "all containers that the daemon knows")
	return c
}

// oneOrAll has a command name containers, or all of them.
func oneOrAll(all *bool) cobra.PositionalArgs {
	return func(c *cobra.Command, ids []string) error {
		if *all == (len(ids) > 0) {
			return usageError{fmt.Errorf("%s: name containers by their ids, or write --all\nsee %q", c.Name(), c.CommandPath()+" --help")}
		}
		return nil
	}
}

// manage does one thing to containers, goes on after faults, and prints a line
// for each; no ids are all.
func manage(c *cobra.Command, ids []string, do func(context.Context, control.Request) (control.Outcome, error), done string) error {
	if len(ids) == 0 {
		o, err := do(c.Context(), control.Request{All: true})
		if err != nil {
			return err
		}
		printOutcome(c.OutOrStdout(), &o, done)
		return o.Err()
	}
	var errs []error
	for _, id := range ids {
		o, err := do(c.Context(), control.Request{ID: id})
		if errors.Is(err, control.ErrNoDaemon) {
			return err
		}
		if err == nil {
			printOutcome(c.OutOrStdout(), &o, done)
			err = o.Err()
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func printOutcome(w io.Writer, o *control.Outcome, done string) {
	for i := range o.Containers {
		c := &o.Containers[i]
		fmt.Fprintf(w, "%.12s %s: ", c.ID, path.Join(c.Namespace, c.Pod, c.Name))
		switch {
		case c.Error != "":
			fmt.Fprintf(w, "failed: %s\n", c.Error)
		case c.Mounts == 0:
			fmt.Fprintf(w, "nothing to do\n")
		default:
			fmt.Fprintf(w, "%d files %s\n", c.Mounts, done)
		}
	}
	switch {
	case o.Others > 0:
		fmt.Fprintf(w, "other containers: %d files %s\n", o.Others, done)
	case len(o.Containers) == 0:
		fmt.Fprintf(w, "no container has anything to be %s\n", done)
	}
}
