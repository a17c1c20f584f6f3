// Package packages builds the packages, deb and rpm, and tests them: what is in
// them, and what becomes of a machine and of its containers when they are
// installed, upgraded and removed.
package packages

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/lxcfs-nri/lxcfs-nri/test/gobuild"
)

// Copy copies this checkout into a folder, as it is now: packages are built from
// there, so that one can be changed, and nobody's dist folder is touched.
func Copy(ctx context.Context, dir string) error {
	module, err := gobuild.ModuleDir(ctx)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "sh", "-ec", `
git ls-files -z --cached --others --exclude-standard >"$0/files"
tar -c --null --ignore-failed-read -T "$0/files" | tar -x -C "$0"
rm "$0/files"`, dir)
	cmd.Dir = filepath.Dir(module)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("copy %s: %w\n%s", cmd.Dir, err, out)
	}
	return nil
}

// Build builds a version's packages from a copy, for architectures that Go has
// names for, into the copy's folder dist.
func Build(ctx context.Context, dir, version, architectures string) error {
	cmd := exec.CommandContext(ctx, "packaging/build.sh", version)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "ARCHITECTURES="+architectures, "SOURCE_DATE_EPOCH=1700000000")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("packaging/build.sh %s: %w\n%s", version, err, out)
	}
	return nil
}
