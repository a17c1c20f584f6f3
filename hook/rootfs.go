package hook

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// place is where a container is being made.
type place struct {
	rootfs string // what will be its root
	here   bool   // in this process's mount namespace (stage createContainer)
	// hostPID is what the bundle says; without one it is not known.
	hostPID bool
}

// find finds the container's root directory, and whether its mounts are made
// in this process's mount namespace: in the runtime's own, nothing is mounted
// on the /proc of a container's root.
func find(bundle string, mounts []*mountinfo.Info) (place, error) {
	s, err := readSpec(bundle)
	if err == nil {
		// Mount tables have paths without links.
		if real, err := filepath.EvalSymlinks(s.Root.Path); err == nil {
			s.Root.Path = real
		}
		return place{rootfs: s.Root.Path, here: hasProc(mounts, s.Root.Path), hostPID: s.hostPID()}, nil
	}
	// In a user namespace the bundle may be out of reach. runc has a hook of
	// the stage createContainer run in the root directory.
	if dir, wdErr := unix.Getwd(); wdErr == nil && hasProc(mounts, dir) {
		return place{rootfs: dir, here: true}, nil
	}
	return place{}, err
}

func readSpec(bundle string) (spec, error) {
	name := filepath.Join(bundle, "config.json")
	f, err := os.Open(name)
	if err != nil {
		return spec{}, fmt.Errorf("look for the container's root directory: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSpec+1))
	if err != nil {
		return spec{}, fmt.Errorf("look for the container's root directory in %s: %w", name, err)
	}
	s, err := parseSpec(b, bundle)
	if err != nil {
		return spec{}, fmt.Errorf("look for the container's root directory in %s: %w", name, err)
	}
	return s, nil
}

func hasProc(mounts []*mountinfo.Info, rootfs string) bool {
	for _, m := range mounts {
		if m.FSType == "proc" && m.Mountpoint == filepath.Join(rootfs, "proc") {
			return true
		}
	}
	return false
}
