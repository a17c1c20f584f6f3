package cgroup

import (
	"bytes"
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
	if p.v2 {
		return cpusetLevel{effective: p.file("cpuset.cpus.effective")}
	}
	return cpusetLevel{effective: p.file("cpuset.effective_cpus"), cpus: p.file("cpuset.cpus")}
}

// CPUs appends the CPUs the group may run on, ascending: its effective set, or
// the nearest ancestor's where it has none. Nothing is appended where no level
// tells.
func (g *Group) CPUs(cpus []int) ([]int, error) {
	for i := range g.cpuset {
		for _, f := range []*file{g.cpuset[i].effective, g.cpuset[i].cpus} {
			if f == nil {
				continue
			}
			var err error
			before := len(cpus)
			err = f.with(func(b []byte) error { cpus, err = ParseCPUs(b, cpus); return err })
			switch {
			case errors.Is(err, os.ErrNotExist):
				continue
			case err != nil:
				return cpus[:before], err
			case len(cpus) > before:
				return cpus, nil
			}
		}
	}
	return cpus, nil
}

// ParseCPUs appends the numbers of a kernel CPU list ("0-3,8"), ascending and
// without doubles. The format: cpuset(7), "List format".
func ParseCPUs(b []byte, cpus []int) ([]int, error) {
	start := len(cpus)
	b = bytes.TrimSpace(b)
	for len(b) > 0 {
		part, rest, _ := bytes.Cut(b, []byte(","))
		lo, hi, ranged := bytes.Cut(part, []byte("-"))
		first, err := parseUint(lo)
		if err != nil {
			return cpus[:start], err
		}
		last := first
		if ranged {
			if last, err = parseUint(hi); err != nil {
				return cpus[:start], err
			}
		}
		if last < first || last > maxCPU || (len(cpus) > start && int(first) <= cpus[len(cpus)-1]) {
			return cpus[:start], fmt.Errorf("%q is not an ascending CPU list", clip(string(b)))
		}
		for c := int(first); c <= int(last); c++ {
			cpus = append(cpus, c)
		}
		b = rest
	}
	return cpus, nil
}
