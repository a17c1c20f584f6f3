package view

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// overcommit is the host's vm.overcommit_ratio (percent) and vm.overcommit_kbytes.
type overcommit struct{ ratio, kbytes uint64 }

// readOvercommit reads them. A file that is missing or can't be parsed has the
// kernel's default (mm/util.c).
func (h *Host) readOvercommit() (overcommit, error) {
	return overcommit{ratio: h.sysctl("vm/overcommit_ratio", 50), kbytes: h.sysctl("vm/overcommit_kbytes", 0)}, nil
}

func (h *Host) sysctl(name string, otherwise uint64) uint64 {
	b, err := os.ReadFile(filepath.Join(h.root, "proc/sys", name))
	if err != nil {
		return otherwise
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return otherwise
	}
	return n
}
