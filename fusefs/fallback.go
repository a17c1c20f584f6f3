package fusefs

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// Fallback is the directory below the mount. Docker keeps the sources of mounts in
// a container's configuration, and starts no container one of whose sources is
// missing; for others (docker run -v) it makes an empty directory, which can't be
// mounted on a file. So wherever the file system is not mounted, its paths are
// symbolic links to the kernel's own files.
type Fallback struct{ root *os.Root }

// OpenFallback finds the directory below a mount point, mounted or not, and
// makes the links of the caller-resolved files in it.
func OpenFallback(dir string, files []view.File) (*Fallback, error) {
	root, err := openBelow(dir)
	if err != nil {
		return nil, fmt.Errorf("the directory below the mount on %s: %w", dir, err)
	}
	f := &Fallback{root}
	var errs []error
	for i := range files {
		if files[i].Reach == view.SpecMount {
			errs = append(errs, f.link("/"+files[i].Path, files[i].Path))
		}
	}
	return f, errors.Join(errs...)
}

// openBelow opens a directory without what is mounted on it: in a copy of the
// mount that its parent is in. (Linux 5.2 and later.)
func openBelow(dir string) (*os.Root, error) {
	parent, err := unix.OpenTree(unix.AT_FDCWD, filepath.Dir(dir), unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer unix.Close(parent) //nolint:errcheck // an O_PATH descriptor has nothing to lose
	return os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d/%s", parent, filepath.Base(dir)))
}

// Keep has a container's own files lead to the caller-resolved ones, and so to
// the kernel's.
func (f *Fallback) Keep(id string) error { return f.link("..", path.Join(view.ContainersDir, id)) }

// Only removes the links of all containers but those that an id is given of.
func (f *Fallback) Only(keep map[string]bool) error {
	dir, err := f.root.Open(view.ContainersDir)
	if errors.Is(err, iofs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer dir.Close()
	ids, err := dir.Readdirnames(-1)
	errs := []error{err}
	for _, id := range ids {
		name := path.Join(view.ContainersDir, id)
		if to, err := f.root.Readlink(name); err == nil && to == ".." && !keep[id] {
			errs = append(errs, f.root.Remove(name))
		}
	}
	return errors.Join(errs...)
}

// Clear removes the links, unless there are containers that need them.
func (f *Fallback) Clear() error {
	for _, top := range []string{view.ContainersDir, "proc", "sys"} {
		var all []string
		err := iofs.WalkDir(f.root.FS(), top, func(name string, e iofs.DirEntry, err error) error {
			if err == nil && (e.IsDir() || e.Type() == iofs.ModeSymlink) {
				all = append(all, name)
			}
			return err
		})
		if errors.Is(err, iofs.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		if top == view.ContainersDir && len(all) > 1 {
			return nil
		}
		for _, name := range slices.Backward(all) {
			if err := f.root.Remove(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// link makes a link, with the directories it is in. What is there stays.
func (f *Fallback) link(to, name string) error {
	err := f.root.MkdirAll(path.Dir(name), 0o755)
	if err == nil {
		err = f.root.Symlink(to, name)
	}
	if errors.Is(err, iofs.ErrExist) {
		return nil
	}
	return err
}

// Close gives the directory free.
func (f *Fallback) Close() error { return f.root.Close() }
