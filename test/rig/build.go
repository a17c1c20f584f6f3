package rig

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/lxcfs-nri/lxcfs-nri/test/gobuild"
)

const (
	containerdModule = "github.com/containerd/containerd/v2"
	runcModule       = "github.com/opencontainers/runc"
)

// Tools are the programs that are built rather than installed.
type Tools struct {
	// Version is containerd's.
	Version string
	// Dir holds containerd and its shim.
	Dir string
	// Runc is one that can map the owners of mounts, for pods with a user
	// namespace; empty unless Options.Userns asked for it.
	Runc string
}

// BuildTools builds containerd and its shim, of the versions in this module's
// go.mod, into the user's cache folder, unless they are there already.
func BuildTools(ctx context.Context, opts Options) (Tools, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return Tools{}, fmt.Errorf("find the cache folder: %w: set XDG_CACHE_HOME", err)
	}
	dir, err := gobuild.ModuleDir(ctx)
	if err != nil {
		return Tools{}, err
	}
	version, err := gobuild.Version(ctx, dir, containerdModule)
	if err != nil {
		return Tools{}, err
	}
	t := Tools{Version: version, Dir: filepath.Join(cache, "lxcfs-nri", version, "bin")}
	b := gobuild.Build{
		Name: "containerd " + version, Dir: dir, Out: t.Dir, Log: opts.Log,
		Hint: ": some 1000 packages, minutes the first time, then kept in " + t.Dir,
		// The snapshotters left out need C headers.
		Args: []string{"-tags", "no_btrfs,no_devmapper,no_zfs"},
		Pkgs: []string{containerdModule + "/cmd/containerd", containerdModule + "/cmd/containerd-shim-runc-v2"},
	}
	if err := b.UnlessCached(ctx); err != nil {
		return Tools{}, err
	}
	if !opts.Userns {
		return t, nil
	}
	version, err = gobuild.Version(ctx, dir, runcModule)
	if err != nil {
		return Tools{}, err
	}
	b = gobuild.Build{
		Name: "runc " + version, Dir: dir, Log: opts.Log, Cgo: true,
		Out: filepath.Join(cache, "lxcfs-nri", "runc-"+version, "bin"), Pkgs: []string{runcModule},
	}
	t.Runc = filepath.Join(b.Out, "runc")
	return t, b.UnlessCached(ctx)
}

// BinaryVar names a built lxcfs-nri that is to be tested, and OtherVar one that
// BuildOther made, on machines where building takes too long.
const (
	BinaryVar = "LXCFS_NRI_BINARY"
	OtherVar  = "LXCFS_NRI_OTHER_BINARY"
)

// BuildProduct builds lxcfs-nri from this checkout into out, with the OCI hook
// beside it, and returns the binary's path; or that of BinaryVar.
func BuildProduct(ctx context.Context, out string, log io.Writer) (string, error) {
	if path := os.Getenv(BinaryVar); path != "" {
		return path, nil
	}
	dir, err := gobuild.ModuleDir(ctx)
	if err != nil {
		return "", err
	}
	b := gobuild.Build{Name: "lxcfs-nri", Dir: filepath.Dir(dir), Out: out, Log: log, Pkgs: []string{"./cmd/lxcfs-nri", "./cmd/lxcfs-nri-hook"}}
	return filepath.Join(out, "lxcfs-nri"), b.Run(ctx)
}

// OtherVersion is the version of BuildOther's.
const OtherVersion = "other"

// BuildOther builds lxcfs-nri with another version into out, for upgrades, and
// returns the binary's path; or that of OtherVar.
func BuildOther(ctx context.Context, out string, log io.Writer) (string, error) {
	if path := os.Getenv(OtherVar); path != "" {
		return path, nil
	}
	dir, err := gobuild.ModuleDir(ctx)
	if err != nil {
		return "", err
	}
	b := gobuild.Build{
		Name: "lxcfs-nri, another version", Dir: filepath.Dir(dir), Out: out, Log: log,
		Args: []string{"-ldflags", "-s -w -X main.version=" + OtherVersion}, Pkgs: []string{"./cmd/lxcfs-nri"},
	}
	return filepath.Join(out, "lxcfs-nri"), b.Run(ctx)
}
