package node

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	program    = "/usr/bin/lxcfs-nri"
	configFile = "/etc/lxcfs-nri/config.yaml"
)

// Files are what the image holds for the node, at the same paths as the packages
// do (packaging/nfpm.yaml).
var Files = []string{
	program,
	"/usr/libexec/lxcfs-nri/lxcfs-nri-hook",
	configFile,
	"/usr/share/containers/oci/hooks.d/lxcfs-nri-annotated.json",
	"/usr/lib/systemd/system/lxcfs-nri.service",
	"/usr/lib/systemd/system/lxcfs-nri-detach.service",
	"/usr/share/licenses/lxcfs-nri/LICENSE",
}

// install copies the files, as far as they differ. It is to be called on the node,
// with the image's root opened before.
func install(image *os.Root) (changed bool, err error) {
	for _, path := range Files {
		differs, err := installFile(image, path)
		if err != nil {
			if errors.Is(err, unix.EROFS) {
				err = fmt.Errorf("%w: nothing can be installed on this node, use mode: pod", err)
			}
			return changed, fmt.Errorf("install %s: %w", path, err)
		}
		changed = changed || differs
	}
	return changed, nil
}

func installFile(image *os.Root, path string) (differs bool, err error) {
	f, err := image.Open(path[1:])
	if err != nil {
		return false, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return false, err
	}
	content, err := image.ReadFile(path[1:])
	if err != nil {
		return false, err
	}
	if there, err := os.ReadFile(path); err == nil && bytes.Equal(there, content) {
		return false, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return false, err
	}
	// A program that runs can't be written to, and nobody may see a half of it.
	tmp := path + ".new"
	if err := os.WriteFile(tmp, content, 0o600); err != nil {
		return false, err
	}
	if err := os.Chmod(tmp, st.Mode().Perm()); err != nil {
		return false, err
	}
	return true, os.Rename(tmp, path)
}

// remove removes the files, and the folders that have become empty.
func remove() error {
	for _, path := range Files {
		if err := gone(os.Remove(path)); err != nil {
			return err
		}
		for dir := filepath.Dir(path); os.Remove(dir) == nil; {
			dir = filepath.Dir(dir)
		}
	}
	return nil
}
