// Command bench reads the same files from Debian's lxcfs, from lxcfs-nri (a
// container's own files, and the caller-resolved ones) and from the kernel, in
// turns on one machine, and prints the times side by side.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/lxcfs-nri/lxcfs-nri/test/lxcfs"
	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

const memory = 256 << 20

func main() {
	if len(os.Args) > 1 && os.Args[1] == readerArg {
		if err := read(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "reader:", err)
			os.Exit(1)
		}
		return
	}
	quick := flag.Bool("quick", false, "fewer rounds and reads")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, *quick); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// contestant is one source of the files.
type contestant struct {
	name string
	dir  string // holds proc/meminfo …
	pid  int    // of its daemon, 0 for the kernel
}

func bench(ctx context.Context, quick bool) (err error) {
	r, err := rig.Up(ctx, rig.Options{Log: os.Stdout})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	binary, err := rig.BuildProduct(ctx, filepath.Join(r.Dir, "bin"), os.Stdout)
	if err != nil {
		return err
	}
	d, err := r.Serve(ctx, binary, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Stop()) }()
	if err := d.WaitConnected(ctx); err != nil {
		return err
	}
	pod, err := r.RunPod(ctx, rig.PodOptions{Namespace: "bench", Name: "bench"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pod.Remove(context.WithoutCancel(ctx))) }()
	c, err := pod.Start(ctx, rig.ContainerOptions{
		Name: "main", Image: rig.ImageTools, Command: []string{"sleep", "3600"}, Limits: rig.Limits{Memory: memory},
	})
	if err != nil {
		return err
	}
	pid, err := c.Pid(ctx)
	if err != nil {
		return err
	}
	status, err := d.Status(ctx)
	if err != nil {
		return err
	}
	lx, err := lxcfs.Start(ctx, r.Dir, os.Stdout)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lx.Stop()) }()
	all := []contestant{
		{"kernel", "/", 0},
		{"lxcfs", lx.Dir, lx.PID()},
		{"lxcfs-nri", filepath.Join(d.Mountpoint, "containers", c.ID), status.PID},
		{"lxcfs-nri, by caller", d.Mountpoint, status.PID},
	}
	return compare(ctx, all, pid, quick)
}

// setting is one row of the table.
type setting struct {
	file    string
	readers int
	pinned  string // "": the scheduler's choice; "same", "other": the daemon's CPU, seen from the reader
}

func compare(ctx context.Context, all []contestant, container int, quick bool) error {
	rounds, reads := 5, 2000
	settings := []setting{
		{"proc/meminfo", 1, ""},
		{"proc/meminfo", 1, "same"},
		{"proc/meminfo", 1, "other"},
		{"proc/meminfo", 16, ""},
		{"proc/stat", 1, ""},
		{"proc/cpuinfo", 1, ""},
		{"proc/uptime", 1, ""},
	}
	if quick {
		rounds, reads, settings = 3, 500, settings[:4]
	}
	fmt.Printf("\n%-24s %-20s  %26s  %26s  %s\n", "", "", "open, read, close", "pread", "daemon's CPU")
	fmt.Printf("%-24s %-20s  %8s %8s %8s  %8s %8s %8s  %s\n", "file, readers, its CPU", "from",
		"p50 µs", "p99 µs", "of lxcfs", "p50 µs", "p99 µs", "of lxcfs", "µs per open")
	for _, s := range settings {
		results, err := run(ctx, all, s, container, rounds, reads)
		if err != nil {
			return err
		}
		for i, c := range all {
			got, lxcfs := results[i], results[1]
			cpu := "-"
			if got.cpu > 0 {
				cpu = fmt.Sprintf("%.0f", got.cpu)
			}
			fmt.Printf("%-24s %-20s  %8.0f %8.0f %8.2f  %8.0f %8.0f %8.2f  %11s\n", s, c.name,
				got.orc.p50, got.orc.p99, got.orc.p50/lxcfs.orc.p50,
				got.pread.p50, got.pread.p99, got.pread.p50/lxcfs.pread.p50, cpu)
		}
	}
	return nil
}

func (s setting) String() string {
	return strings.Join(append([]string{filepath.Base(s.file), fmt.Sprint(s.readers)}, strings.Fields(s.pinned)...), ", ")
}
