package view

import (
	"bytes"
	"slices"
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

// diskFields is how many figures kernels have: of partitions until Linux 2.6.25, of
// disks, since 4.18, since 5.5.
var diskFields = []int{4, 11, 15, 17}

// parseDiskstats parses the lines of devices; others are left out.
func parseDiskstats(b []byte) ([]diskLine, error) {
	var all []diskLine
	for line := range bytes.Lines(b) {
		if l, ok := parseDiskLine(bytes.TrimSuffix(line, []byte("\n"))); ok {
			all = append(all, l)
		}
	}
	return all, nil
}

// parseDiskLine parses "   8       0 sda 1 2 3 …". Figures are the numbers at the
// end: a device's name may hold anything, blanks too.
func parseDiskLine(line []byte) (l diskLine, ok bool) {
	const name = 2 // fields before it
	isBlank := func(r rune) bool { return r == ' ' }
	f := bytes.FieldsFunc(line, isBlank)
	for l.fields < len(f)-name-1 && isNumber(f[len(f)-1-l.fields]) {
		l.fields++
	}
	if oneWord := len(f)-l.fields == name+1; l.fields == 0 || !oneWord && !slices.Contains(diskFields, l.fields) {
		return l, false
	}
	major, err1 := strconv.ParseUint(string(f[0]), 10, 32)
	minor, err2 := strconv.ParseUint(string(f[1]), 10, 32)
	l.major, l.minor = uint32(major), uint32(minor)
	l.head = head(line, len(f)-l.fields)
	return l, err1 == nil && err2 == nil
}

func isNumber(b []byte) bool {
	_, err := strconv.ParseUint(string(b), 10, 64)
	return err == nil
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
