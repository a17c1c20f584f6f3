package cgroup

import "fmt"

// hugetlbLevel is the hugetlb controller of one level; its files carry the
// page size in their names.
type hugetlbLevel struct{ place }

func newHugetlbLevel(p place) hugetlbLevel { return hugetlbLevel{p} }

// HugetlbLevels is the number of levels of the hugetlb controller.
func (g *Group) HugetlbLevels() int { return len(g.hugetlb) }

// Hugetlb returns a level's limit (NoLimit if it has none or can't be read) and
// use (0 if it can't be read) of huge pages of the given size; all in bytes. Its
// files are not kept open: few groups use them.
func (g *Group) Hugetlb(level int, pageSize uint64) (limit, usage uint64, err error) {
	l := &g.hugetlb[level]
	name := "hugetlb." + sizeName(pageSize) + "."
	limitName, usageName := name+"limit_in_bytes", name+"usage_in_bytes"
	if l.h.v2 {
		limitName, usageName = name+"max", name+"current"
	}
	if limit, err = l.once(limitName).readLimit(pageSize); limit == NoLimit {
		return limit, 0, err
	}
	usage, err = l.once(usageName).readUint()
	return limit, usage, err
}

// once gives a file that keeps no descriptor.
func (p place) once(name string) *file {
	return &file{fs: p.g.fs, path: p.dir + "/" + name, fd: -1, dead: true}
}

// sizeName is the kernel's way to name huge pages in file names (hugetlb_cgroup.c, mem_fmt).
func sizeName(size uint64) string {
	switch {
	case size >= 1<<30:
		return fmt.Sprintf("%dGB", size>>30)
	case size >= 1<<20:
		return fmt.Sprintf("%dMB", size>>20)
	}
	return fmt.Sprintf("%dKB", size>>10)
}
