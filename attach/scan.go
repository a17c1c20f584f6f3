package attach

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/moby/sys/mountinfo"

	"github.com/lxcfs-nri/lxcfs-nri/internal/mounttable"
)

// Ours says which mounts are meant, wherever they are: those of files and
// directories in a file system of ours. Mounts of the whole of it are not
// containers' files, and are never meant.
type Ours struct {
	FSType string
	Source string // as the mount table has it; "": that of any daemon
}

func (o Ours) has(m *mountinfo.Info) bool {
	return m.FSType == o.FSType && (o.Source == "" || m.Source == o.Source) && m.Root != "/"
}

// takes says that DetachAll takes a mount away: also the group's own files that
// Ensure has put beside ours.
func (o Ours) takes(m *mountinfo.Info) bool {
	return o.has(m) || isPressure(m) && strings.HasPrefix(m.Mountpoint, "/proc/pressure/")
}

// concerns says that a namespace with these mounts is one to look at. Whose
// the group's own files are can't be told where there is no other.
func (o Ours) concerns(m *mountinfo.Info) bool {
	return o.has(m) || o.Source == "" && o.takes(m)
}

// atATime is how many namespaces are worked on at a time: one that does not
// answer must not keep the others waiting.
const atATime = 8

// each does something to every mount namespace with mounts of ours, but the
// caller's own. Errors are joined; a namespace that ends meanwhile is none.
func (o Ours) each(do func(*process) error) error {
	pids, err := namespaces()
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var errs []error
	var all sync.WaitGroup
	free := make(chan struct{}, atATime)
	for _, pid := range pids {
		if !o.in(pid) {
			continue
		}
		free <- struct{}{}
		all.Go(func() {
			defer func() { <-free }()
			if err := o.one(pid, do); err != nil && !errors.Is(err, ErrGone) {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func (o Ours) one(pid int, do func(*process) error) error {
	p, err := open(pid)
	if err != nil {
		return err
	}
	defer p.close()
	return do(p)
}

// in says that a process has mounts of ours: a look that costs little.
func (o Ours) in(pid int) bool {
	f, err := os.Open(procPath(pid, "mountinfo"))
	if err != nil {
		return false
	}
	defer f.Close()
	found, err := mounttable.Read(f, func(m *mountinfo.Info) (skip, stop bool) {
		return !o.concerns(m), o.concerns(m)
	})
	return err == nil && len(found) > 0
}

// maxTargets bounds what is done in one namespace: a container can make mounts
// of its own, a hundred thousand of them.
const maxTargets = 256

// targets lists where a process has mounts that are meant, each once.
func (p *process) targets(meant func(*mountinfo.Info) bool) (all []string, err error) {
	seen := map[string]bool{}
	for _, m := range p.mounts {
		if !meant(m) || seen[m.Mountpoint] {
			continue
		}
		if len(all) == maxTargets {
			return all, fmt.Errorf("process %d has our files at more than %d places: the others stay as they are", p.pid, maxTargets)
		}
		seen[m.Mountpoint] = true
		all = append(all, m.Mountpoint)
	}
	return all, nil
}

// namespaces gives a process of every mount namespace but the caller's own.
func namespaces() ([]int, error) {
	own, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return nil, fmt.Errorf("looking for mount namespaces: %w", err)
	}
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("looking for mount namespaces: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1) // by number, as the kernel lists them: inits first
	if err != nil {
		return nil, fmt.Errorf("looking for mount namespaces: %w", err)
	}
	var pids []int
	seen := map[string]bool{own: true}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if ns, err := os.Readlink(procPath(pid, "ns/mnt")); err == nil && !seen[ns] {
			seen[ns] = true
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func procPath(pid int, file string) string {
	return filepath.Join("/proc", strconv.Itoa(pid), file)
}
