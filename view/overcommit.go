package view

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// overcommit is the host's vm.overcommit_ratio (percent) and vm.overcommit_kbytes.
type overcommit struct{ ratio, kbytes uint64 }

func (h *Host) readOvercommit() (overcommit, error) {
	ratio, err := h.readSysctl("vm/overcommit_ratio")
	if err != nil {
		return overcommit{}, err
	}
	kbytes, err := h.readSysctl("vm/overcommit_kbytes")
	return overcommit{ratio, kbytes}, err
}

func (h *Host) readSysctl(name string) (uint64, error) {
	b, err := os.ReadFile(filepath.Join(h.root, "proc/sys", name))
	if err != nil {
		return 0, fmt.Errorf("reading a sysctl: %w", err)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("sysctl %s: %w", name, err)
	}
	return n, nil
}
