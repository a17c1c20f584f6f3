package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/lxcfs-nri/lxcfs-nri/internal/mounttable"
)

// FS is the set of cgroup hierarchies mounted below a root directory.
type FS struct {
	root   string
	layout atomic.Pointer[layout]

	maxKept int64
	kept    atomic.Int64 // descriptors open now

	taskstats taskstats // for all groups

	mu    sync.Mutex
	files map[string]*file // by path; shared between groups with common ancestors
}

// Open finds the hierarchies that <root>/proc/self/mountinfo lists; their mount
// points are taken below root. If there are none, which Mode reports, groups have no
// limits, and the hierarchies are looked up again for each new group.
func Open(root string) (*FS, error) {
	fs := &FS{root: root, maxKept: defaultMaxKept(), files: map[string]*file{}}
	l, err := fs.readLayout()
	if err != nil {
		return nil, err
	}
	fs.layout.Store(l)
	return fs, nil
}

// mounted returns what is mounted where.
func (fs *FS) mounted() *layout {
	l := fs.layout.Load()
	if !l.empty() {
		return l
	}
	if again, err := fs.readLayout(); err == nil && !again.empty() {
		fs.layout.Store(again)
		return again
	}
	return l
}

func (fs *FS) readLayout() (*layout, error) {
	name := filepath.Join(fs.root, "proc/self/mountinfo")
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("find cgroup hierarchies: %w", err)
	}
	defer f.Close()
	mounts, err := mounttable.Read(f, nil)
	if err != nil {
		return nil, fmt.Errorf("find cgroup hierarchies in %s: %w", name, err)
	}
	return newLayout(fs.root, mounts), nil
}

// Modes of an FS. Hybrid has cgroup2 mounted beside v1 controllers.
const (
	ModeV1     = "v1"
	ModeV2     = "v2"
	ModeHybrid = "hybrid"
	ModeNone   = "none"
)

// Mode names what is mounted.
func (fs *FS) Mode() string {
	l := fs.layout.Load()
	switch {
	case l.empty():
		return ModeNone
	case len(l.v1) == 0:
		return ModeV2
	case len(l.unified) == 0:
		return ModeV1
	}
	return ModeHybrid
}

// ErrGone says that the group no longer exists.
var ErrGone = errors.New("cgroup is gone")
