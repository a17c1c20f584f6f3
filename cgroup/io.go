package cgroup

import (
	"bytes"
	"errors"
	"os"
)

// IODevice is what a group and its descendants did on one block device.
type IODevice struct {
	Major, Minor                        uint32
	Reads, Writes, Discards             uint64 // requests
	ReadBytes, WriteBytes, DiscardBytes uint64
}

type ioFiles struct {
	stat  *file      // v2 io.stat
	pairs [][2]*file // v1 {requests, bytes}, best first
}

// newIOFiles knows v1's sources: throttle counts every request, bfq those that
// its own scheduler saw; the recursive ones take in descendants.
func newIOFiles(g *Group) ioFiles {
	if p, ok := g.owns("blkio"); ok && !p.h.v2 {
		var f ioFiles
		for _, n := range []string{"throttle.", "bfq.", ""} {
			f.pairs = append(f.pairs,
				[2]*file{p.file("blkio." + n + "io_serviced_recursive"), p.file("blkio." + n + "io_service_bytes_recursive")})
		}
		f.pairs = append(f.pairs, [2]*file{p.file("blkio.throttle.io_serviced"), p.file("blkio.throttle.io_service_bytes")})
		return f
	}
	if p, ok := g.owns("io"); ok && p.h.v2 && g.layout.offers("io") {
		return ioFiles{stat: p.file("io.stat")}
	}
	return ioFiles{}
}

// IO appends the devices on which the group has done I/O. Of v1's sources the
// first that knows of any counts. The error is os.ErrNotExist if there are none.
func (g *Group) IO(devs []IODevice) ([]IODevice, error) {
	start := len(devs)
	if f := g.io.stat; f != nil {
		err := f.with(func(b []byte) error { devs = parseIOStat(b, devs); return nil })
		return devs, err
	}
	var missing, failed error
	found := false
	for _, pair := range g.io.pairs {
		for i, f := range pair {
			err := f.with(func(b []byte) error { devs = parseBlkio(b, devs, start, i == 1); return nil })
			switch {
			case errors.Is(err, os.ErrNotExist):
				missing = err
			case err != nil:
				failed = err
			default:
				found = true
			}
		}
		if len(devs) > start {
			break
		}
	}
	if !found && failed == nil {
		return devs, missing
	}
	return devs, failed
}

// ioStatKeys are the keys of io.stat (cgroup-v2.rst, "IO Interface Files").
var ioStatKeys = map[string]func(*IODevice) *uint64{
	"rbytes": func(d *IODevice) *uint64 { return &d.ReadBytes },
	"wbytes": func(d *IODevice) *uint64 { return &d.WriteBytes },
	"dbytes": func(d *IODevice) *uint64 { return &d.DiscardBytes },
	"rios":   func(d *IODevice) *uint64 { return &d.Reads },
	"wios":   func(d *IODevice) *uint64 { return &d.Writes },
	"dios":   func(d *IODevice) *uint64 { return &d.Discards },
}

// parseIOStat parses lines such as "8:0 rbytes=4096 wbytes=0 rios=1 …" into
// devs. Other keys (io.cost's, io.latency's) are ignored. Figures are of the name
// before them: some kernels put names of devices without figures into the next
// one's line (https://github.com/canonical/lxd/issues/10052).
func parseIOStat(b []byte, devs []IODevice) []IODevice {
	start := len(devs)
	for line := range lines(b) {
		at := -1
		for word := range bytes.FieldsSeq(line) {
			key, value, isFigure := bytes.Cut(word, []byte("="))
			if !isFigure {
				devs, at = findDevice(devs, start, word)
				continue
			}
			field, ok := ioStatKeys[string(key)]
			if n, err := parseUint(value); ok && err == nil && at >= 0 {
				*field(&devs[at]) = n
			}
		}
	}
	return devs
}

// findDevice finds a device by its name in devs[start:], to which it is appended if
// it is new; -1 for no device's name ("(unknown)": https://github.com/openzfs/zfs/issues/13662).
func findDevice(devs []IODevice, start int, name []byte) ([]IODevice, int) {
	d, ok := parseDevice(name)
	if !ok {
		return devs, -1
	}
	for i := start; i < len(devs); i++ {
		if devs[i].Major == d.Major && devs[i].Minor == d.Minor {
			return devs, i
		}
	}
	return append(devs, d), len(devs)
}

// parseBlkio parses v1 lines such as "8:0 Read 4096" into devs; of more words the
// last three count. The Total lines are ignored. Devices are looked up in
// devs[start:].
func parseBlkio(b []byte, devs []IODevice, start int, isBytes bool) []IODevice {
	for line := range lines(b) {
		var w [3][]byte
		for word := range bytes.FieldsSeq(line) {
			w = [3][]byte{w[1], w[2], word}
		}
		n, err := parseUint(w[2])
		if err != nil {
			continue
		}
		var at int
		if devs, at = findDevice(devs, start, w[0]); at < 0 {
			continue // "Total 0"
		}
		if f := blkioField(&devs[at], string(w[1]), isBytes); f != nil {
			*f = n
		}
	}
	return devs
}

func blkioField(d *IODevice, op string, isBytes bool) *uint64 {
	switch {
	case op == "Read" && isBytes:
		return &d.ReadBytes
	case op == "Read":
		return &d.Reads
	case op == "Write" && isBytes:
		return &d.WriteBytes
	case op == "Write":
		return &d.Writes
	case op == "Discard" && isBytes:
		return &d.DiscardBytes
	case op == "Discard":
		return &d.Discards
	}
	return nil
}

func parseDevice(b []byte) (d IODevice, ok bool) {
	maj, mnr, ok := bytes.Cut(b, []byte(":"))
	major, err1 := parseUint(maj)
	minor, err2 := parseUint(mnr)
	ok = ok && err1 == nil && err2 == nil && major < 1<<12 && minor < 1<<20
	return IODevice{Major: uint32(major), Minor: uint32(minor)}, ok
}
