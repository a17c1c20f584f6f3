package attach

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOwnFilesAreNotAsked: the files of a daemon that is the caller are known to
// be alive. The one here would not answer.
func TestOwnFilesAreNotAsked(t *testing.T) {
	for name, c := range map[string]struct {
		source string // before the directory
		asked  bool
	}{
		"the caller's":    {"ours:", false},
		"somebody else's": {"theirs:/elsewhere", true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := unix.Mount(c.source+dir, dir, "fuse.ours", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)); err != nil {
				t.Fatal(err)
			}
			pid := container(t, 0, "mount --bind "+dir+" /sys/devices/system/cpu")
			t.Cleanup(func() {
				// What waits for an answer gets the connection's end.
				unix.Unmount(dir, unix.MNT_DETACH|unix.MNT_FORCE) //nolint:errcheck // it is for the test's own mount
				unix.Close(fd)                                    //nolint:errcheck // as above
			})
			p, err := open(pid)
			if err != nil {
				t.Fatal(err)
			}
			defer p.close()
			on := p.at("/sys/devices/system/cpu")
			if len(on) != 1 {
				t.Fatalf("%d mounts", len(on))
			}
			if p.dead(on[0]) {
				t.Error("taken for dead")
			}
			if p.stuck != c.asked {
				t.Errorf("asked: %v, want %v", p.stuck, c.asked)
			}
		})
	}
}
