// Package percpu builds C programs that use CPU numbers as many others do: as
// indices of arrays, which are as long as a C library says that there are CPUs.
package percpu

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/lxcfs-nri/lxcfs-nri/test/gobuild"
)

// Var names the folder of programs that are already built, for machines where
// building takes too long.
const Var = "LXCFS_NRI_PERCPU"

// programs are the commands that build each program from the folder c.
var programs = map[string][]string{
	"getcpu":      {"gcc", "getcpu.c"},
	"getcpu-musl": {"musl-gcc", "-static", "getcpu.c"},
	"openmp":      {"gcc", "-fopenmp", "openmp.c"},
	"allocate":    {"gcc", "allocate.c"},
	"callrcu":     {"gcc", "callrcu.c", "-lurcu"},
}

// Build builds the programs into out and returns their folder, or that of Var.
func Build(ctx context.Context, out string) (dir string, err error) {
	if dir := os.Getenv(Var); dir != "" {
		return dir, nil
	}
	module, err := gobuild.ModuleDir(ctx)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return "", fmt.Errorf("build C programs: %w", err)
	}
	for name, args := range programs {
		args = append(args, "-O1", "-Wall", "-Wextra", "-Werror", "-o", filepath.Join(out, name))
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Dir = filepath.Join(module, "percpu", "c")
		if b, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build %s: %w: make packages-needed installs the compilers and libraries\n%s", name, err, b)
		}
	}
	return out, nil
}
