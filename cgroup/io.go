package cgroup

import (
	"bytes"
	"errors"
	"fmt"
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
	if p, ok := g.own("blkio"); ok && !p.v2 {
		var f ioFiles
		for _, n := range []string{"throttle.", "bfq.", ""} {
			f.pairs = append(f.pairs,
				[2]*file{p.file("blkio." + n + "io_serviced_recursive"), p.file("blkio." + n + "io_service_bytes_recursive")})
		}
		f.pairs = append(f.pairs, [2]*file{p.file("blkio.throttle.io_serviced"), p.file("blkio.throttle.io_service_bytes")})
		return f
	}
	if p, ok := g.own("io"); ok && p.v2 && g.fs.v2["io"] {
		return ioFiles{stat: p.file("io.stat")}
	}
	return ioFiles{}
}

// IO appends the devices on which the group has done I/O. Of v1's sources the
// first that knows of any counts. The error is os.ErrNotExist where there are none.
func (g *Group) IO(devs []IODevice) ([]IODevice, error) {
	start := len(devs)
	if f := g.io.stat; f != nil {
		err := f.with(func(b []byte) (err error) { devs, err = parseIOStat(b, devs); return err })
		return devs, err
	}
	var missing error
	found := false
	for _, pair := range g.io.pairs {
		for i, f := range pair {
			err := f.with(func(b []byte) (err error) { devs, err = parseBlkio(b, devs, start, i == 1); return err })
			switch {
			case errors.Is(err, os.ErrNotExist):
				missing = err
			case err != nil:
				return devs[:start], err
			default:
				found = true
			}
		}
		if len(devs) > start {
			break
		}
	}
	if !found {
		return devs, missing
	}
	return devs, nil
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

// parseIOStat parses lines such as "8:0 rbytes=4096 wbytes=0 rios=1 …". Other
// keys (io.cost's, io.latency's) are passed over.
func parseIOStat(b []byte, devs []IODevice) ([]IODevice, error) {
	err := forLines(b, func(line []byte) error {
		name, rest, _ := bytes.Cut(line, []byte(" "))
		d, err := parseDevice(name)
		if err != nil {
			return err
		}
		for kv := range bytes.FieldsSeq(rest) {
			k, v, _ := bytes.Cut(kv, []byte("="))
			field, ok := ioStatKeys[string(k)]
			if !ok {
				continue
			}
			if *field(&d), err = parseUint(v); err != nil {
				return fmt.Errorf("%s: %w", k, err)
			}
		}
		devs = append(devs, d)
		return nil
	})
	return devs, err
}

// parseBlkio parses v1 lines such as "8:0 Read 4096"; the Total lines are
// passed over. Devices are looked for in devs[start:].
func parseBlkio(b []byte, devs []IODevice, start int, isBytes bool) ([]IODevice, error) {
	err := forLines(b, func(line []byte) error {
		var w [3][]byte
		n := 0
		for word := range bytes.FieldsSeq(line) {
			if n < 3 {
				w[n] = word
			}
			n++
		}
		if n != 3 {
			return nil // "Total 0"
		}
		d, err := parseDevice(w[0])
		if err != nil {
			return err
		}
		v, err := parseUint(w[2])
		if err != nil {
			return err
		}
		i := start
		for i < len(devs) && (devs[i].Major != d.Major || devs[i].Minor != d.Minor) {
			i++
		}
		if i == len(devs) {
			devs = append(devs, d)
		}
		if f := blkioField(&devs[i], string(w[1]), isBytes); f != nil {
			*f = v
		}
		return nil
	})
	return devs, err
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

func parseDevice(b []byte) (IODevice, error) {
	maj, mnr, ok := bytes.Cut(b, []byte(":"))
	major, err1 := parseUint(maj)
	minor, err2 := parseUint(mnr)
	if !ok || err1 != nil || err2 != nil || major > 1<<12 || minor > 1<<20 {
		return IODevice{}, fmt.Errorf("%q is not a device number", clip(string(b)))
	}
	return IODevice{Major: uint32(major), Minor: uint32(minor)}, nil
}
