package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/moby/sys/mountinfo"
)

// FS is the set of cgroup hierarchies mounted below a root directory.
type FS struct {
	root    string
	unified string            // directory of the cgroup2 mount, "" where there is none
	v1      map[string]string // v1 controller name to the directory of its mount
	v2      map[string]bool   // controllers that the cgroup2 root offers
	// nsdelegate: cgroup namespaces are delegation boundaries (cgroup-v2.rst, "Model
	// of Delegation").
	nsdelegate bool

	maxKept int64
	kept    atomic.Int64 // descriptors open now

	taskstats taskstats // for all groups

	mu    sync.Mutex
	files map[string]*file // by path; shared between groups with common ancestors
}

// Open finds the hierarchies that <root>/proc/self/mountinfo lists; their
// mount points are taken below root. It fails where no hierarchy is mounted.
func Open(root string) (*FS, error) {
	fs := &FS{
		root:    root,
		v1:      map[string]string{},
		v2:      map[string]bool{},
		maxKept: defaultMaxKept(),
		files:   map[string]*file{},
	}
	name := filepath.Join(root, "proc/self/mountinfo")
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("finding cgroup hierarchies: %w", err)
	}
	defer f.Close()
	mounts, err := mountinfo.GetMountsFromReader(f, mountinfo.FSTypeFilter("cgroup2", "cgroup"))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	for _, m := range mounts {
		fs.addMount(m)
	}
	if fs.unified == "" && len(fs.v1) == 0 {
		return nil, fmt.Errorf("no cgroup hierarchy in %s: mount cgroup2 on /sys/fs/cgroup, or run where the host's /sys/fs/cgroup can be seen", name)
	}
	if fs.unified != "" {
		b, err := os.ReadFile(filepath.Join(fs.unified, "cgroup.controllers"))
		if err != nil {
			return nil, fmt.Errorf("asking for the cgroup2 controllers: %w", err)
		}
		for c := range bytes.FieldsSeq(b) {
			fs.v2[string(c)] = true
		}
	}
	return fs, nil
}

// addMount takes a mount of a hierarchy. The first one wins; bind mounts of a
// part of it are passed over.
func (fs *FS) addMount(m *mountinfo.Info) {
	if m.Root != "/" {
		return
	}
	dir := filepath.Join(fs.root, m.Mountpoint)
	if m.FSType == "cgroup2" {
		if fs.unified == "" {
			fs.unified = dir
		}
		fs.nsdelegate = slices.Contains(strings.Split(m.VFSOptions, ","), "nsdelegate")
		return
	}
	for c := range strings.SplitSeq(m.VFSOptions, ",") {
		if _, dup := fs.v1[c]; !dup && c != "rw" && c != "ro" {
			fs.v1[c] = dir
		}
	}
}

// Mode names the layout: "v2", "v1", or "hybrid" where cgroup2 is mounted
// beside v1 controllers.
func (fs *FS) Mode() string {
	switch {
	case len(fs.v1) == 0:
		return "v2"
	case fs.unified == "":
		return "v1"
	}
	return "hybrid"
}

// ErrGone says that the group no longer exists.
var ErrGone = errors.New("cgroup is gone")

// hierarchy tells where a controller's files are. A controller is in one
// hierarchy only; v1 is asked first, since a v1 mount takes it from cgroup2.
func (fs *FS) hierarchy(controller string) (dir string, v2, ok bool) {
	if dir, ok := fs.v1[controller]; ok {
		return dir, false, true
	}
	if fs.unified != "" {
		// cpu.stat exists in every group even with the cpu controller off.
		return fs.unified, true, true
	}
	return "", false, false
}
