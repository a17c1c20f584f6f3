// Show shows lxcfs-nri at work on this machine: a pod with a limit of 256 MiB
// and half a CPU, what it sees, and what the host sees, side by side. It brings
// along what it needs and removes everything afterwards.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

// What the container is given, and so has to see. A container with half a CPU
// sees one, since there is no smaller number.
const (
	memoryMiB = 256
	quota     = 50_000
	cpus      = 1
)

// These commands are judged or commented on.
const (
	free  = "free -m"
	count = "grep -c ^processor /proc/cpuinfo"
	all   = "nproc --all"
)

// commands are run in the container and on the host by a shell.
var commands = []string{
	free,
	count,
	all,
	"uptime",
	"cat /proc/meminfo | head",
	"top -bn1 | head -n 12",
}

func main() {
	// Unhandled, any of these would leave everything behind: SIGPIPE comes when
	// the output goes to a program such as head.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	verdict, err := demo(ctx)
	if err == nil {
		fmt.Println(verdict)
		return
	}
	if ctx.Err() != nil {
		fmt.Println("Interrupted before there was anything to say.")
		os.Exit(130)
	}
	first, more, _ := strings.Cut(err.Error(), "\n")
	if more != "" {
		fmt.Fprintln(os.Stderr, err)
	}
	fmt.Printf("FAILED: %s.\n", first)
	os.Exit(1)
}

func demo(ctx context.Context) (verdict string, err error) {
	fmt.Println("Preparing")
	r, err := rig.Up(ctx, rig.Options{Log: os.Stdout})
	if err != nil {
		return "", err
	}
	defer func() {
		fmt.Println("\nRemoving everything")
		err = errors.Join(err, r.Close(), left(r))
	}()
	binary, err := rig.BuildProduct(ctx, filepath.Join(r.Dir, "bin"), os.Stdout)
	if err != nil {
		return "", err
	}
	fmt.Println("  starting lxcfs-nri serve")
	d, err := r.Serve(ctx, binary, "")
	if err != nil {
		return "", err
	}
	if err := d.WaitConnected(ctx); err != nil {
		return "", err
	}
	fmt.Printf("  starting a pod with %d MiB and half a CPU\n\n", memoryMiB)
	start := time.Now()
	p, err := r.RunPod(ctx, rig.PodOptions{Name: "demo"})
	if err != nil {
		return "", err
	}
	c, err := p.Start(ctx, rig.ContainerOptions{Limits: rig.Limits{Memory: memoryMiB << 20, Quota: quota}})
	if err != nil {
		return "", err
	}
	took := time.Since(start)
	host, container, err := compare(ctx, c)
	if err != nil {
		return "", fmt.Errorf("%w\nlxcfs-nri said:\n%s", err, d.Log())
	}
	fmt.Printf("Pod and container were up in %d ms.\n", took.Milliseconds())
	return judge(host, container)
}

// left is an error if anything of the rig is still there.
func left(r *rig.Rig) error {
	what, err := r.Leftovers()
	if err == nil && len(what) > 0 {
		err = fmt.Errorf("left behind: %s", strings.Join(what, "; "))
	}
	return err
}

// compare runs the commands on both sides, prints and returns what they say.
func compare(ctx context.Context, c *rig.Container) (host, container map[string]string, err error) {
	host, container = map[string]string{}, map[string]string{}
	width := columnWidth()
	printRow("HOST", fmt.Sprintf("CONTAINER (%d MiB, half a CPU)", memoryMiB), width)
	for _, command := range commands {
		cmd := exec.CommandContext(ctx, "sh", "-c", command)
		cmd.Env = append(os.Environ(), "LC_ALL=C", "TERM=dumb")
		out, err := cmd.Output()
		if err != nil {
			return nil, nil, fmt.Errorf("%s on the host: %w", command, err)
		}
		host[command] = string(out)
		if container[command], err = c.Exec(ctx, "sh", "-c", command); err != nil {
			return nil, nil, err
		}
		printRule(width)
		printRow("$ "+command, "$ "+command, width)
		printColumns(host[command], container[command], width)
		if command == all && strings.TrimSpace(container[command]) != fmt.Sprint(cpus) {
			fmt.Println("(nproc does not believe in 1 or 2 and takes the affinity mask if that has more, which is the kernel's to tell)")
		}
	}
	printRule(width)
	return host, container, nil
}

// judge says in one sentence whether the container sees what it was given.
func judge(host, container map[string]string) (string, error) {
	hostMiB, err := freeTotal(host[free])
	if err != nil {
		return "", fmt.Errorf("free on the host: %w", err)
	}
	gotMiB, err := freeTotal(container[free])
	if err != nil {
		return "", fmt.Errorf("free in the container: %w", err)
	}
	hostCPUs, gotCPUs := strings.TrimSpace(host[count]), strings.TrimSpace(container[count])
	if gotMiB != memoryMiB || gotCPUs != fmt.Sprint(cpus) {
		return "", fmt.Errorf("the container was given %d MiB and half a CPU but sees %d MiB and %s CPUs, the host has %d and %s",
			memoryMiB, gotMiB, gotCPUs, hostMiB, hostCPUs)
	}
	return fmt.Sprintf("OK: the container sees its own %d MiB and %s CPU, not the host's %d MiB and %s.", gotMiB, gotCPUs, hostMiB, hostCPUs), nil
}

// freeTotal finds the total of memory in what free -m prints.
func freeTotal(out string) (int, error) {
	for line := range strings.Lines(out) {
		var total int
		if _, err := fmt.Sscanf(line, "Mem: %d", &total); err == nil {
			return total, nil
		}
	}
	return 0, fmt.Errorf("no line Mem: in %q", out)
}
