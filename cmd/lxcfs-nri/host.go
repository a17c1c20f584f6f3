package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/lxcfs-nri/lxcfs-nri/config"
	"github.com/lxcfs-nri/lxcfs-nri/internal/node"
	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// hostCommand is what the chart's pods run; nobody else has use for it.
func hostCommand() *cobra.Command {
	c := &cobra.Command{
		Use:    "host",
		Short:  "What pods of the chart do to their node",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE:   func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	var image string
	in := func(sub *cobra.Command, do func(ctx context.Context, n *node.Node, cfg config.Config) error) {
		sub.Args = cobra.NoArgs
		sub.RunE = func(c *cobra.Command, _ []string) error {
			cfg, err := config.Load(filepath.Join(image, defaultConfigFile), view.Paths())
			if err != nil {
				return err
			}
			if err := os.Setenv("PATH", node.Path); err != nil {
				return err
			}
			ctx, stop := untilSignal(c.Context())
			defer stop()
			return do(ctx, &node.Node{Image: image, Log: newLogger(cfg.Log)}, cfg)
		}
		sub.Flags().StringVar(&image, "image", "/", "`DIR` that has the files, below their paths on the node")
		c.AddCommand(sub)
	}
	in(&cobra.Command{
		Use:   "install",
		Short: "Install the service on the node, and keep it running",
		Long: `install copies the files of its image to the same paths of the node, where they
differ, and has systemd run them, or "lxcfs-nri supervise" where there is no
systemd. It then waits to be asked to end, and ends without doing anything to the
service. Where the package lxcfs-nri is installed it does nothing.`,
	}, func(ctx context.Context, n *node.Node, _ config.Config) error { return n.Keep(ctx) })
	in(&cobra.Command{
		Use:   "uninstall",
		Short: "Give containers the kernel's own files, and remove the service from the node",
	}, func(ctx context.Context, n *node.Node, cfg config.Config) error {
		return n.Uninstall(ctx, cfg.Mountpoint, cfg.RunDir)
	})
	c.AddCommand(&cobra.Command{
		Use:   "idle",
		Short: "Do nothing until asked to end",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, stop := untilSignal(c.Context())
			defer stop()
			<-ctx.Done()
			return nil
		},
	}, &cobra.Command{
		Use:   "supervise",
		Short: "Leave the pod's cgroups and become lxcfs-nri supervise",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return node.Become() },
	})
	return c
}
