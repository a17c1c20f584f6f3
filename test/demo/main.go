// Demo builds the package show, which is the demo proper, and becomes it. By
// itself it is compiled in no time, so that there is progress to be seen from
// the beginning.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/lxcfs-nri/lxcfs-nri/test/gobuild"
)

func main() {
	if err := run(); err != nil {
		fmt.Printf("FAILED: %v.\n", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := gobuild.ModuleDir(ctx)
	if err != nil {
		return err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return fmt.Errorf("find the cache folder: %w: set XDG_CACHE_HOME", err)
	}
	fmt.Println("Compiling the demo")
	b := gobuild.Build{Name: "the demo", Dir: dir, Out: filepath.Join(cache, "lxcfs-nri", "demo"), Pkgs: []string{"./demo/show"}, Log: os.Stdout}
	if err := b.Run(ctx); err != nil {
		return err
	}
	binary := filepath.Join(b.Out, "show")
	return fmt.Errorf("run %s: %w", binary, syscall.Exec(binary, []string{"demo"}, os.Environ()))
}
