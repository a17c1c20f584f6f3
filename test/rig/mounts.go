package rig

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// mount is one line of mountinfo.
type mount struct {
	point, fstype, source, options string
	line                           string
}

func readMounts() ([]mount, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	var mounts []mount
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSuffix(line, "\n")
		left, right, _ := strings.Cut(line, " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if len(l) < 6 || len(r) < 2 {
			return nil, fmt.Errorf("list mounts: can't make sense of %q", line)
		}
		m := mount{point: unescape(l[4]), fstype: r[0], source: r[1], line: line}
		if len(r) > 2 {
			m.options = r[2]
		}
		mounts = append(mounts, m)
	}
	return mounts, nil
}

// unescape undoes what mountinfo does to blanks.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace

// Mounted tells whether something is mounted at path.
func Mounted(path string) (bool, error) {
	mounts, err := readMounts()
	return slices.ContainsFunc(mounts, func(m mount) bool { return m.point == path }), err
}

// unmountBelow detaches every mount in dir, the latest first. A file system
// whose daemon is dead can't be unmounted in another way than lazily.
func unmountBelow(dir string) error {
	mounts, err := readMounts()
	if err != nil {
		return err
	}
	for _, m := range slices.Backward(mounts) {
		if !below(dir, m.point) {
			continue
		}
		if err := unix.Unmount(m.point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", m.point, err)
		}
	}
	return nil
}
