package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// times are in µs.
type times struct{ p50, p99 float64 }

type result struct {
	orc, pread times
	cpu        float64 // µs of the daemon per open-read-close
}

// run measures one setting: all contestants in turn, round after round, so that
// what else happens on the machine hits all alike. Medians over the rounds count.
func run(ctx context.Context, all []contestant, s setting, container, rounds, reads int) ([]result, error) {
	samples := make([][]result, len(all))
	for range rounds {
		for i, c := range all {
			r, err := once(ctx, c, s, container, reads/s.readers)
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", c.name, s, err)
			}
			samples[i] = append(samples[i], r)
		}
	}
	out := make([]result, len(all))
	for i := range all {
		out[i] = result{
			orc:   times{median(samples[i], func(r result) float64 { return r.orc.p50 }), median(samples[i], func(r result) float64 { return r.orc.p99 })},
			pread: times{median(samples[i], func(r result) float64 { return r.pread.p50 }), median(samples[i], func(r result) float64 { return r.pread.p99 })},
			cpu:   median(samples[i], func(r result) float64 { return r.cpu }),
		}
	}
	return out, nil
}

func median(rs []result, of func(result) float64) float64 {
	all := make([]float64, len(rs))
	for i, r := range rs {
		all[i] = of(r)
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// once starts readers and gathers what they measured.
func once(ctx context.Context, c contestant, s setting, container, reads int) (result, error) {
	cpu := "0,1"
	if s.pinned != "" {
		cpu = "0"
	}
	if c.pid != 0 {
		if err := pin(c.pid, map[string][]int{"": {0, 1}, "same": {0}, "other": {1}}[s.pinned]); err != nil {
			return result{}, err
		}
	}
	cmds := make([]*exec.Cmd, s.readers)
	outs := make([]strings.Builder, s.readers)
	for i := range cmds {
		cmds[i] = reader(ctx, container, cpu, reads, filepath.Join(c.dir, s.file))
		cmds[i].Stdout, cmds[i].Stderr = &outs[i], os.Stderr
		if err := cmds[i].Start(); err != nil {
			return result{}, err
		}
	}
	var got measured
	for i := range cmds {
		if err := cmds[i].Wait(); err != nil {
			return result{}, err
		}
		var m measured
		if err := json.Unmarshal([]byte(outs[i].String()), &m); err != nil {
			return result{}, err
		}
		got.ORC, got.Pread = append(got.ORC, m.ORC...), append(got.Pread, m.Pread...)
	}
	r := result{orc: percentiles(got.ORC), pread: percentiles(got.Pread)}
	if c.pid == 0 || s.readers > 1 {
		return r, nil
	}
	// A run of open-read-close alone, long enough for the daemon's clock of 10 ms.
	before, err := cpuTime(c.pid)
	if err != nil {
		return r, err
	}
	n := 4 * reads
	cmd := reader(ctx, container, cpu, -n, filepath.Join(c.dir, s.file))
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return r, err
	}
	after, err := cpuTime(c.pid)
	r.cpu = float64(after-before) * 10_000 / float64(n)
	return r, err
}

// reader is this program as one, in the container's PID namespace, by which those
// files are found that go by who asks.
func reader(ctx context.Context, container int, cpu string, reads int, file string) *exec.Cmd {
	exe, pid := fmt.Sprintf("/proc/%d/exe", os.Getpid()), strconv.Itoa(container)
	return exec.CommandContext(ctx, "nsenter", "--target", pid, "--pid", "--", exe, readerArg, pid, cpu, strconv.Itoa(reads), file)
}

func percentiles(ns []int64) times {
	slices.Sort(ns)
	return times{float64(ns[len(ns)/2]) / 1000, float64(ns[len(ns)*99/100]) / 1000}
}

// pin ties all threads of a process to CPUs.
func pin(pid int, cpus []int) error {
	var set unix.CPUSet
	for _, c := range cpus {
		set.Set(c)
	}
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return err
	}
	for _, t := range tasks {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(tid, &set); err != nil {
			return fmt.Errorf("pin task %d: %w", tid, err)
		}
	}
	return nil
}

// cpuTime is what a process has used, in ticks of 10 ms (proc_pid_stat(5)).
func cpuTime(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	user, err1 := strconv.ParseUint(f[11], 10, 64)
	system, err2 := strconv.ParseUint(f[12], 10, 64)
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("/proc/%d/stat: %q", pid, b)
	}
	return user + system, nil
}
