package view

import (
	"bytes"
	"strconv"
)

// /proc/swaps: swap_show in mm/swapfile.c; docs/views.md, "swap".

// appendSwaps makes /proc/swaps.
func (v *View) appendSwaps(b []byte) ([]byte, error) {
	g, err := v.cgroup()
	if err != nil {
		return b, err
	}
	now := v.host.now()
	host, err := v.host.meminfo.get(now)
	if err != nil {
		return b, err
	}
	lines, err := v.host.swaps.get(now)
	if err != nil {
		return b, err
	}
	gov, err := v.governing(g, host.total)
	if err != nil {
		return b, err
	}
	mem := borrow()
	defer mem.giveBack()
	s := v.readSwap(g, &host, gov, nil, &mem.stat)
	if err := v.gone(g); err != nil {
		return b, err
	}
	return s.append(b, lines), nil
}

// append prints the header, and one line for all of a limited view's swap. A
// number of eight digits takes the place of a tab.
func (s swap) append(b, host []byte) []byte {
	if s.host {
		return append(b, host...)
	}
	b = append(append(b, swapsHeader(host)...), '\n')
	if s.total == 0 {
		return b
	}
	b = append(b, "none                                    virtual\t\t"...)
	for _, n := range []uint64{s.total, s.used} {
		b = append(strconv.AppendUint(b, n, 10), '\t')
		if n < 10_000_000 {
			b = append(b, '\t')
		}
	}
	return append(b, "0\n"...)
}

// swapsHeader returns the header of the host's file, or the kernel's of today if that
// has none.
func swapsHeader(host []byte) []byte {
	for line := range bytes.Lines(host) {
		if bytes.HasPrefix(line, []byte("Filename")) {
			return bytes.TrimSuffix(line, []byte("\n"))
		}
	}
	return []byte("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority")
}
