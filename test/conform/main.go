// Command conform checks a tree of /proc files, and /sys/devices/system/cpu,
// against what Linux promises to those who read them: format, order, units,
// sums, counters that never fall, and the ways of reading a file. Root / is the
// bare machine; other trees are a container's own files, or those of lxcfs.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
)

func main() {
	root := flag.String("root", "/", "`DIR` that has proc/ and sys/ of the tree")
	host := flag.Bool("host", false, "the figures are the host's own, as they are for who has no limits")
	cpus := flag.Bool("cpus", false, "check only what is shown of the CPUs, which is done at once")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "conform: no arguments are taken, only -root DIR: %q\n", flag.Args())
		os.Exit(2)
	}
	r := &report{}
	if *cpus {
		r = checkCPUs(*root)
	} else {
		r = check(*root, *host || *root == "/")
	}
	for _, f := range r.findings {
		fmt.Println(f)
	}
	if len(r.absent) > 0 {
		fmt.Println("absent:", strings.Join(r.absent, " "))
	}
	fmt.Printf("%d files checked, %d findings\n", r.checked, len(r.findings))
	if len(r.findings) > 0 {
		os.Exit(1)
	}
}
