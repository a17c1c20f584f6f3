// Package gobuild builds Go programs and tells how far it is. It imports nothing
// that takes long to compile.
package gobuild

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ModuleDir finds the test module's source, which the go tool looks for from
// the working directory.
func ModuleDir(ctx context.Context) (string, error) {
	dir, err := list(ctx, "", "github.com/lxcfs-nri/lxcfs-nri/test", "{{.Dir}}")
	if err != nil {
		return "", fmt.Errorf("%w (run this from within the folder test of a checkout)", err)
	}
	return dir, nil
}

// Version is that of a module which the module in dir requires; flags are the go
// tool's.
func Version(ctx context.Context, dir, module string, flags ...string) (string, error) {
	return list(ctx, dir, module, "{{.Version}}", flags...)
}

// Tools lists the packages of the programs that the module in dir names as tools.
func Tools(ctx context.Context, dir string, flags ...string) ([]string, error) {
	cmd := exec.CommandContext(ctx, "go", append(append([]string{"list"}, flags...), "tool")...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list the tools of %s: %w", dir, err)
	}
	return strings.Fields(string(out)), nil
}

func list(ctx context.Context, dir, module, format string, flags ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", append(append([]string{"list", "-m", "-f", format}, flags...), module)...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err == nil {
		return strings.TrimSpace(string(out)), nil
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return "", fmt.Errorf("go list -m %s: %w\n%s", module, err, strings.TrimSpace(string(exit.Stderr)))
	}
	return "", fmt.Errorf("go list -m %s: %w: put Go's bin folder in PATH", module, err)
}

// Build is one call of go build.
type Build struct {
	Name string // for the reader
	Hint string // what to expect, for the reader
	Dir  string // of the module
	Out  string // folder for the binaries
	Args []string
	Pkgs []string
	Cgo  bool
	Log  io.Writer
}

// say ignores errors: a build does not fail because nobody can read about it.
func (b Build) say(format string, args ...any) { _, _ = fmt.Fprintf(b.Log, "  "+format+"\n", args...) }

// UnlessCached builds next to b.Out and renames, so that a build broken off is
// never mistaken for a finished one.
func (b Build) UnlessCached(ctx context.Context) error {
	final := b.Out
	missing := false
	for _, p := range b.Pkgs {
		if _, err := os.Stat(filepath.Join(final, program(p))); err != nil {
			missing = true
		}
	}
	if !missing {
		b.say("%s is built already: %s", b.Name, final)
		return nil
	}
	if err := os.MkdirAll(final, 0o755); err != nil {
		return fmt.Errorf("make the cache folder: %w", err)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(final), "building-")
	if err != nil {
		return fmt.Errorf("make a folder to build in: %w", err)
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	b.Out = tmp
	if err := b.Run(ctx); err != nil {
		return err
	}
	for _, p := range b.Pkgs {
		base := program(p)
		if err := os.Rename(filepath.Join(tmp, base), filepath.Join(final, base)); err != nil {
			return fmt.Errorf("keep what was built: %w", err)
		}
	}
	return nil
}

// program is what the go tool names a package's program: a version at the end of
// a module's path does not count.
func program(pkg string) string {
	base := path.Base(pkg)
	if n, ok := strings.CutPrefix(base, "v"); ok {
		if _, err := strconv.Atoi(n); err == nil {
			return path.Base(path.Dir(pkg))
		}
	}
	return base
}

// Run builds, and says every few seconds how far it is.
func (b Build) Run(ctx context.Context) error {
	args := append([]string{"build", "-v", "-buildvcs=false", "-ldflags=-s -w", "-o", b.Out + "/"}, b.Args...)
	cmd := exec.CommandContext(ctx, "go", append(args, b.Pkgs...)...)
	cmd.Dir = b.Dir
	// An interrupt lets the go tool remove its temporary files.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b.Cgo {
		cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return fmt.Errorf("build %s: %w", b.Name, err)
	}
	start := time.Now()
	b.say("building %s%s", b.Name, b.Hint)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("build %s: %w: put Go's bin folder in PATH", b.Name, err)
	}
	p := &progress{}
	stop := p.every(5*time.Second, func(fetched, compiled int) {
		b.say("building %s: %d modules fetched, %d packages compiled, %s", b.Name, fetched, compiled, time.Since(start).Round(time.Second))
	})
	p.read(stderr)
	err = cmd.Wait()
	stop()
	if err != nil {
		return fmt.Errorf("build %s: go build in %s: %w (a module that can't be fetched: see GOPROXY in go env)\n%s", b.Name, b.Dir, err, strings.Join(p.other, "\n"))
	}
	b.say("built %s in %s", b.Name, time.Since(start).Round(time.Second))
	return nil
}

// progress counts what go build -v says on standard error.
type progress struct {
	mu                sync.Mutex
	fetched, compiled int
	other             []string // the last lines that are neither
}

func (p *progress) read(r io.Reader) {
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		line := sc.Text()
		p.mu.Lock()
		switch {
		case strings.HasPrefix(line, "go: downloading "):
			p.fetched++
		case !strings.ContainsAny(line, " \t#:"):
			p.compiled++
		default:
			p.other = append(p.other[max(0, len(p.other)-19):], line)
		}
		p.mu.Unlock()
	}
}

// every calls say at each tick until the function it returns is called.
func (p *progress) every(d time.Duration, say func(fetched, compiled int)) (stop func()) {
	t, done := time.NewTicker(d), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-t.C:
				p.mu.Lock()
				f, c := p.fetched, p.compiled
				p.mu.Unlock()
				say(f, c)
			}
		}
	})
	return func() { t.Stop(); close(done); wg.Wait() }
}
