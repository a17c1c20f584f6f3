package cgroup

import (
	"bytes"
	"fmt"
	"math"
)

// NoLimit stands for "max", and for v1's values near 2^63.
const NoLimit = math.MaxUint64

// noLimitFrom is where v1 means "no limit": PAGE_COUNTER_MAX rounded down to
// the page size in use, so with 64 KiB pages a little less than with 4 KiB.
const noLimitFrom = math.MaxInt64 - 1<<20

// parseUint reads decimal digits. It saturates where the kernel's counter does
// not fit, and takes a negative number, which some counters show by a race of
// their per-CPU parts, as 0.
func parseUint(b []byte) (uint64, error) {
	b = bytes.TrimSpace(b)
	if len(b) > 1 && b[0] == '-' {
		if _, err := parseUint(b[1:]); err != nil {
			return 0, err
		}
		return 0, nil
	}
	if len(b) == 0 {
		return 0, fmt.Errorf("no number where one is expected")
	}
	var n uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, fmt.Errorf("%q is not a number", clip(string(b)))
		}
		d := uint64(c - '0')
		if n > (math.MaxUint64-d)/10 {
			return math.MaxUint64, nil
		}
		n = n*10 + d
	}
	return n, nil
}

// parseLimit reads a limit in bytes: "max" (v2), or a number (v1's "none" is about 2^63).
func parseLimit(b []byte) (uint64, error) {
	b = bytes.TrimSpace(b)
	if string(b) == "max" {
		return NoLimit, nil
	}
	n, err := parseUint(b)
	if err != nil {
		return 0, err
	}
	if n >= noLimitFrom {
		return NoLimit, nil
	}
	return n, nil
}

// forLines calls use with each line, without its newline.
func forLines(b []byte, use func(line []byte) error) error {
	for len(b) > 0 {
		line, rest, _ := bytes.Cut(b, newline)
		if err := use(line); err != nil {
			return err
		}
		b = rest
	}
	return nil
}

var newline, space = []byte("\n"), []byte(" ")

// parseKeyed reads a flat keyed file ("key value" per line) into the fields
// that the table names; unknown keys, which newer kernels add, are passed over.
func parseKeyed[T any](b []byte, into *T, keys map[string]func(*T) *uint64) error {
	return forLines(b, func(line []byte) error {
		key, value, _ := bytes.Cut(line, space)
		field, ok := keys[string(key)]
		if !ok || len(value) == 0 {
			return nil
		}
		n, err := parseUint(value)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		*field(into) = n
		return nil
	})
}

// readUint reads a file that is one number.
func (f *file) readUint() (n uint64, err error) {
	err = f.with(func(b []byte) error { n, err = parseUint(b); return err })
	return n, err
}

// readLimit reads a file that is one limit.
func (f *file) readLimit() (n uint64, err error) {
	err = f.with(func(b []byte) error { n, err = parseLimit(b); return err })
	return n, err
}
