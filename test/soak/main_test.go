// Package soak has the hostile and the unlucky cases: a daemon that is killed,
// stopped, starved and replaced, and containers that mean it harm, while others
// read. go test ./soak is the short form, make soak the long one; with -short
// most is done twice, on emulated processors.
package soak

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

var (
	long     = flag.Bool("long", false, "the sizes of make soak")
	document = flag.String("document", "", "Markdown `file` that gets the measured table, between its markers")
)

// sizes are how much of each is done.
type sizes struct {
	kills, stops, upgrades, ooms, full      int
	threads, handles, freezes, groups, pods int
	attaches                                int
}

var (
	leastSizes = sizes{kills: 6, stops: 2, upgrades: 2, ooms: 2, full: 2, threads: 20, handles: 2_000, freezes: 2, groups: 2, pods: 1, attaches: 2}
	shortSizes = sizes{kills: 15, stops: 3, upgrades: 3, ooms: 2, full: 3, threads: 200, handles: 20_000, freezes: 3, groups: 5, pods: 4, attaches: 8}
	longSizes  = sizes{kills: 100, stops: 20, upgrades: 20, ooms: 10, full: 10, threads: 1000, handles: 100_000, freezes: 20, groups: 30, pods: 15, attaches: 40}
)

// setup is what the package's tests share; it is set before the first of them.
var setup struct {
	ctx    context.Context // ends with a Ctrl-C
	dir    string
	binary string
	sizes
}

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		act, ok := map[string]func(string) error{readerArgument: beReader, holderArgument: beHolder}[os.Args[1]]
		if ok {
			if err := act(os.Args[2]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	setup.ctx, setup.sizes = ctx, shortSizes
	switch {
	case *long:
		setup.sizes = longSizes
	case testing.Short():
		setup.sizes = leastSizes
	}
	if err := rig.Prerequisites(ctx, rig.Options{Log: os.Stderr}); err != nil {
		return 1, err
	}
	if err := rig.Sweep(os.Stderr); err != nil {
		return 1, err
	}
	if setup.dir, err = rig.NewFolder(); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, rig.RemoveFolder(setup.dir)) }()
	if setup.binary, err = rig.BuildProduct(ctx, filepath.Join(setup.dir, "bin"), os.Stderr); err != nil {
		return 1, err
	}
	code = m.Run()
	if testing.Verbose() {
		_, _ = fmt.Fprint(os.Stdout, "\n", &results)
	}
	if code == 0 && *document != "" {
		err = results.write(*document)
	}
	return code, err
}
