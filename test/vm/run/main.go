// Command run runs a shell script on the virtual machine of package vm, in the
// working directory, and ends with its exit status.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/lxcfs-nri/lxcfs-nri/test/vm"
)

func main() {
	var o vm.Options
	flag.StringVar(&o.Kernel, "kernel", "6.12", "version, `6.12` or 6.1")
	flag.StringVar(&o.Release, "release", "", "Debian release with systemd, `bookworm` or trixie, in place of the host's root")
	flag.StringVar(&o.Append, "append", "", "`words` for the kernel's command line")
	flag.IntVar(&o.Memory, "memory", 2048, "in `MiB`")
	flag.IntVar(&o.CPUs, "cpus", 2, "`number` of processors")
	flag.Parse()
	o.Log = os.Stderr
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := vm.Run(ctx, o, strings.Join(flag.Args(), " "), os.Stdout)
	stop()
	if err == nil {
		return
	}
	if status, ok := errors.AsType[vm.ExitError](err); ok {
		os.Exit(int(status))
	}
	fmt.Fprintln(os.Stderr, "vm:", err)
	os.Exit(1)
}
