package attach

import (
	"strings"

	"github.com/moby/sys/mountinfo"
)

// mountedHere says that a file system of ours is mounted where its source, as
// "name:/directory", says, in the caller's mount namespace: the caller serves it,
// and so it is alive. It must not be asked: a daemon that is killed while it waits
// for its own answer never ends (request_wait_answer in fs/fuse/dev.c waits out
// what has been read from the device), so that no other one goes on either.
func mountedHere(m *mountinfo.Info) bool {
	_, dir, ok := strings.Cut(m.Source, ":")
	if !ok {
		return false
	}
	on, err := mountinfo.GetMounts(func(h *mountinfo.Info) (skip, stop bool) { return h.Mountpoint != dir, false })
	if err != nil || len(on) == 0 {
		return false
	}
	top := on[len(on)-1]
	return top.Major == m.Major && top.Minor == m.Minor && top.Root == "/"
}
