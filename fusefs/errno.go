package fusefs

import (
	"errors"
	"os"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// errno is the answer to a request that failed.
func errno(err error) fuse.Status {
	switch {
	case err == nil:
		return fuse.OK
	case errors.Is(err, view.ErrGone):
		return fuse.Status(unix.ESRCH) // as procfs says of a process that ended
	case errors.Is(err, os.ErrNotExist):
		return fuse.ENOENT
	}
	if e, ok := errors.AsType[unix.Errno](err); ok {
		return fuse.Status(e) // of a sysfs file that is read through
	}
	return fuse.EIO
}
