// Package mounttable reads mount tables (proc_pid_mountinfo(5)) line by line, and
// finds out which of the mounts can be reached.
package mounttable

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// Read returns the mounts of a table that the filter (nil: all) keeps. A line
// that can't be parsed is left out: the error is of reading only.
func Read(table io.Reader, filter mountinfo.FilterFunc) ([]*mountinfo.Info, error) {
	var seen bytes.Buffer
	all, err := mountinfo.GetMountsFromReader(io.TeeReader(table, &seen), filter)
	if err == nil {
		return all, nil
	}
	rest, err := io.ReadAll(table)
	if err != nil {
		return nil, err
	}
	return parse(append(seen.Bytes(), rest...), filter), nil
}

// maxLine is how much of a line counts, which only the options of a file system
// exceed, at the line's end: each layer of an overlay is one.
const maxLine = bufio.MaxScanTokenSize - 1

func parse(table []byte, filter mountinfo.FilterFunc) (all []*mountinfo.Info) {
	ended := false
	for line := range bytes.Lines(table) {
		found, err := mountinfo.GetMountsFromReader(bytes.NewReader(line[:min(len(line), maxLine)]), func(m *mountinfo.Info) (skip, stop bool) {
			if filter != nil {
				skip, ended = filter(m)
			}
			return skip, ended
		})
		if err == nil {
			all = append(all, found...)
		}
		if ended {
			break
		}
	}
	return all
}

// Own returns the mounts of this process that the filter (nil: all) keeps.
func Own(filter mountinfo.FilterFunc) ([]*mountinfo.Info, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Read(f, filter)
}

// Reachable reports whether the path of a mount leads to it: no other mount lies
// on it, or on a directory above it. all is the whole table, which lists what
// lies on one directory in the order of mounting.
func Reachable(all []*mountinfo.Info, m *mountinfo.Info) bool {
	byID := make(map[int]*mountinfo.Info, len(all))
	for _, other := range all {
		byID[other.ID] = other
		if other != m && other.Parent == m.ID && other.Mountpoint == m.Mountpoint {
			return false
		}
	}
	for range all { // parents in a circle end, too
		parent := byID[m.Parent]
		later := false
		for _, other := range all {
			switch {
			case other == m:
				later = true
			case other == parent || byID[other.Parent] != parent || !isBelow(m.Mountpoint, other.Mountpoint):
			case later || parent != nil && other.Mountpoint != m.Mountpoint:
				return false
			}
		}
		if parent == nil || parent == m {
			break
		}
		m = parent
	}
	return true
}

// isBelow reports whether a path is a directory or below it.
func isBelow(path, dir string) bool {
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(dir, "/"))
	return ok && (rest == "" || rest[0] == '/')
}
