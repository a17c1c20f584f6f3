package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// readerArg makes this program a reader.
const readerArg = "reader"

// measured is what a reader prints, in ns.
type measured struct{ ORC, Pread []int64 }

// read measures: container's pid, CPUs, number of reads (negative: only read,
// measure nothing), path. It does so in the container's cgroups, by which
// lxcfs knows whom to answer.
func read(args []string) error {
	runtime.LockOSThread()
	debug.SetGCPercent(-1)
	if err := enter(args[0]); err != nil {
		return err
	}
	var set unix.CPUSet
	for c := range strings.SplitSeq(args[1], ",") {
		n, err := strconv.Atoi(c)
		if err != nil {
			return err
		}
		set.Set(n)
	}
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return err
	}
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	buf := make([]byte, 1<<17)
	if n < 0 {
		for range -n {
			if err := readWhole(args[3], buf); err != nil {
				return err
			}
		}
		return nil
	}
	m := measured{make([]int64, n), make([]int64, n)}
	for i := range n {
		start := time.Now()
		if err := readWhole(args[3], buf); err != nil {
			return err
		}
		m.ORC[i] = int64(time.Since(start))
	}
	fd, err := unix.Open(args[3], unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	for i := range n {
		start := time.Now()
		if _, err := unix.Pread(fd, buf, 0); err != nil {
			return err
		}
		m.Pread[i] = int64(time.Since(start))
	}
	return json.NewEncoder(os.Stdout).Encode(m)
}

// readWhole is what programs do: open, read to the end, close.
func readWhole(path string, buf []byte) error {
	fd, err := unix.Open(path, unix.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	for {
		n, err := unix.Read(fd, buf)
		if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		if n == 0 {
			return unix.Close(fd)
		}
	}
}

// enter joins the cgroups of a process.
func enter(pid string) error {
	b, err := os.ReadFile("/proc/" + pid + "/cgroup")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		dir, _, _ := strings.Cut(strings.TrimPrefix(f[1], "name="), ",")
		if f[2] == "/" {
			continue
		}
		if dir == "" {
			dir = "unified"
			if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
				dir = ""
			}
		}
		if err := os.WriteFile(filepath.Join("/sys/fs/cgroup", dir, f[2], "cgroup.procs"), []byte("0"), 0); err != nil {
			return err
		}
	}
	return nil
}
