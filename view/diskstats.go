package view

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
)

// /proc/diskstats: diskstats_show in block/genhd.c; fields as in
// Documentation/admin-guide/iostats.rst; docs/views.md, "diskstats".

// diskLine is one of the host's lines: the device, and how many figures follow.
type diskLine struct {
	major, minor uint32
	head         []byte // "   8       0 sda"
	fields       int
}

// Positions among a line's figures.
const (
	diskReads       = 0
	diskReadSectors = 2
	diskWrites      = 4
	diskWritten     = 6
	diskDiscards    = 11 // since Linux 4.18
	diskDiscarded   = 13
)

const sector = 512

func parseDiskstats(b []byte) ([]diskLine, error) {
	var all []diskLine
	for line := range bytes.Lines(b) {
		// Only blanks part fields: a device's name may hold anything else.
		f := bytes.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\n' })
		if len(f) < 4 {
			return nil, fmt.Errorf("line %q has too few fields", line)
		}
		major, err := strconv.ParseUint(string(f[0]), 10, 32)
		if err != nil {
			return nil, fmt.Errorf("line %q: no device number", line)
		}
		minor, err := strconv.ParseUint(string(f[1]), 10, 32)
		if err != nil {
			return nil, fmt.Errorf("line %q: no device number", line)
		}
		all = append(all, diskLine{uint32(major), uint32(minor), head(line, 3), len(f) - 3})
	}
	return all, nil
}

// head is a line up to the end of its n-th field.
func head(line []byte, n int) []byte {
	end := 0
	for range n {
		for end < len(line) && line[end] == ' ' {
			end++
		}
		for end < len(line) && line[end] != ' ' {
			end++
		}
	}
	return line[:end]
}

// appendDiskstats makes /proc/diskstats.
func (v *View) appendDiskstats(b []byte) ([]byte, error) {
	g, err := v.cgroup()
	if err != nil {
		return b, err
	}
	lines, err := v.host.diskstats.get(v.host.now())
	if err != nil {
		return b, err
	}
	devs, err := g.IO(nil)
	v.faultUnlessMissing(err)
	if err := v.gone(g); err != nil {
		return b, err
	}
	return appendDisks(b, lines, devs), nil
}

// appendDisks prints the host's devices with the group's figures. The kernel
// measures no times and no merges per group.
func appendDisks(b []byte, lines []diskLine, devs []cgroup.IODevice) []byte {
	for i := range lines {
		l := &lines[i]
		var figures [32]uint64
		for j := range devs {
			if d := &devs[j]; d.Major == l.major && d.Minor == l.minor {
				figures[diskReads], figures[diskReadSectors] = d.Reads, d.ReadBytes/sector
				figures[diskWrites], figures[diskWritten] = d.Writes, d.WriteBytes/sector
				figures[diskDiscards], figures[diskDiscarded] = d.Discards, d.DiscardBytes/sector
			}
		}
		b = append(b, l.head...)
		for _, n := range figures[:min(l.fields, len(figures))] {
			b = strconv.AppendUint(append(b, ' '), n, 10)
		}
		b = append(b, '\n')
	}
	return b
}
