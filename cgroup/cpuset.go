package cgroup

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
)

// maxCPU bounds CPU numbers; the kernel's own bound (NR_CPUS) is 8192.
const maxCPU = 1<<16 - 1

// cpusetLevel is the cpuset controller's files of one level.
type cpusetLevel struct {
	effective *file // cpuset.cpus.effective, v1 cpuset.effective_cpus (since Linux 3.16)
	cpus      *file // v1 cpuset.cpus
}

func newCPUSetLevel(p place) cpusetLevel {
	if p.h.v2 {
		return cpusetLevel{effective: p.file("cpuset.cpus.effective")}
	}
	return cpusetLevel{effective: p.file("cpuset.effective_cpus"), cpus: p.file("cpuset.cpus")}
}

// CPUs appends the CPUs the group may run on, ascending: its effective set, or
// the nearest ancestor's if it has none. Nothing is appended if no level has one. The
// error is of a file that can't be read, or parsed as a whole: what is appended
// holds all the same.
func (g *Group) CPUs(cpus []int) (_ []int, odd error) {
	before := len(cpus)
	for i := range g.cpuset {
		for _, f := range []*file{g.cpuset[i].effective, g.cpuset[i].cpus} {
			if f == nil {
				continue
			}
			err := f.with(func(b []byte) (err error) { cpus, err = ParseCPUs(b, cpus); return err })
			if odd == nil && !errors.Is(err, os.ErrNotExist) {
				odd = err
			}
			if len(cpus) > before {
				return cpus, odd
			}
		}
	}
	return cpus, odd
}

// ParseCPUs appends the numbers of a kernel CPU list ("0-3,8"), ascending and
// without doubles. The format: cpuset(7), "List format". Parts that can't be parsed
// are left out; the error names the first of them.
func ParseCPUs(b []byte, cpus []int) (_ []int, odd error) {
	next := 0
	b = bytes.TrimSpace(b)
	for more := len(b) > 0; more; {
		var part []byte
		part, b, more = bytes.Cut(b, []byte(","))
		first, last, err := parseRange(part)
		if err != nil || first < next {
			odd = cmp.Or(odd, err, fmt.Errorf("%q is not in ascending order", clip(string(part))))
		}
		if err != nil {
			continue
		}
		for c := max(first, next); c <= last; c++ {
			cpus = append(cpus, c)
		}
		next = max(next, last+1)
	}
	return cpus, odd
}

// parseRange parses "3" and "0-3".
func parseRange(b []byte) (first, last int, err error) {
	lo, hi, ranged := bytes.Cut(b, []byte("-"))
	if !ranged {
		hi = lo
	}
	l, err := parseUint(lo)
	if err != nil {
		return 0, 0, err
	}
	h, err := parseUint(hi)
	if err != nil {
		return 0, 0, err
	}
	if l > h || h > maxCPU {
		return 0, 0, fmt.Errorf("%q is not a range of CPUs", clip(string(b)))
	}
	return int(l), int(h), nil
}
