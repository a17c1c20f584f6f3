package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/lxcfs-nri/lxcfs-nri/config"
	"github.com/lxcfs-nri/lxcfs-nri/control"
)

func statusCommand() *cobra.Command {
	var runDir string
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show what is mounted, the runtime, and what containers see",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(c.Context(), 10*time.Second)
			defer cancel()
			s, err := control.Ask(ctx, runDir)
			if err != nil {
				return err
			}
			if asJSON {
				e := json.NewEncoder(c.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(s)
			}
			return printStatus(c.OutOrStdout(), &s)
		},
	}
	c.Flags().StringVar(&runDir, "run-dir", config.Default().RunDir, "`DIR` of the daemon's control socket")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func printStatus(w io.Writer, s *control.Status) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(t, "daemon\tpid %d, version %s\n", s.PID, s.Version)
	fmt.Fprintf(t, "mounted on\t%s (%d files: %s)\n", s.Mountpoint, len(s.Files), fileNames(s.Files))
	for _, r := range s.Runtimes {
		state := "waiting for it"
		if r.Connected {
			state = fmt.Sprintf("connected, %s %s", r.Name, r.Version)
		}
		fmt.Fprintf(t, "runtime\t%s: %s\n", r.Socket, state)
	}
	if len(s.Runtimes) == 0 {
		fmt.Fprintf(t, "runtime\tnone (NRI is off)\n")
	}
	fmt.Fprintf(t, "containers\t%d\n", len(s.Containers))
	if err := t.Flush(); err != nil || len(s.Containers) == 0 {
		return err
	}
	fmt.Fprintf(t, "\nCONTAINER\tID\tPID\tLIMIT\tMEMTOTAL\tCPUS\tGOVERNED BY\n")
	for i := range s.Containers {
		printContainer(t, &s.Containers[i])
	}
	return t.Flush()
}

func printContainer(w io.Writer, c *control.Container) {
	name := strings.TrimLeft(path.Join(c.Namespace, c.Pod, c.Name), "/")
	if c.Error != "" {
		fmt.Fprintf(w, "%s\t%.12s\t%d\t%s\n", name, c.ID, c.PID, c.Error)
		return
	}
	limit := "none"
	if c.MemoryLimit > 0 {
		limit = mebibytes(c.MemoryLimit)
	}
	fmt.Fprintf(w, "%s\t%.12s\t%d\t%s\t%s\t%d\t%s\n", name, c.ID, c.PID, limit, mebibytes(c.MemTotal), c.CPUs, c.Governing)
}

func mebibytes(n uint64) string { return fmt.Sprintf("%.0fMi", float64(n)/(1<<20)) }

func fileNames(paths []string) string {
	names := make([]string, len(paths))
	for i, p := range paths {
		names[i] = path.Base(p)
	}
	return strings.Join(names, " ")
}
