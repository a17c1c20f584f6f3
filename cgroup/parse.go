package cgroup

import (
	"bytes"
	"fmt"
	"iter"
	"math"
)

// NoLimit stands for "max", and for the maxima that v1 prints.
const NoLimit = math.MaxUint64

// isNone reports whether a limit is the kernel's maximum: LONG_MAX bytes, on
// 32-bit machines LONG_MAX pages, rounded down to pages, or to the huge pages that
// unit is the size of (PAGE_COUNTER_MAX in linux/page_counter.h,
// hugetlb_cgroup_init in mm/hugetlb_cgroup.c).
func isNone(n, unit uint64) bool {
	if n >= 1<<62 { // no machine has so much
		return true
	}
	for page := uint64(4 << 10); page <= 256<<10; page *= 2 {
		if n == page<<31-max(page, unit) {
			return true
		}
	}
	return false
}

// parseUint parses decimal digits. It saturates if the kernel's counter does not
// fit, and takes a negative number, which some counters show by a race of their
// per-CPU parts, as 0.
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

// parseLimit parses a limit in bytes: "max" (v2), or a number, of which the
// kernel's maximum and negative ones are none. unit is the size of the huge pages
// that are limited, 0 for memory.
func parseLimit(b []byte, unit uint64) (uint64, error) {
	b = bytes.TrimSpace(b)
	if string(b) == "max" {
		return NoLimit, nil
	}
	n, err := parseUint(b)
	if err != nil || b[0] == '-' || isNone(n, unit) {
		return NoLimit, err
	}
	return n, nil
}

// lines returns the lines, without their newlines.
func lines(b []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(b) > 0 {
			line, rest, _ := bytes.Cut(b, newline)
			if !yield(line) {
				return
			}
			b = rest
		}
	}
}

var newline, space = []byte("\n"), []byte(" ")

// parseKeyed parses a flat keyed file ("key value" per line) into the fields
// that the table names. Other lines are ignored: newer kernels have more keys.
func parseKeyed[T any](b []byte, into *T, keys map[string]func(*T) *uint64) {
	for line := range lines(b) {
		key, value, _ := bytes.Cut(line, space)
		field, ok := keys[string(key)]
		if !ok {
			continue
		}
		if n, err := parseUint(value); err == nil {
			*field(into) = n
		}
	}
}

// readUint reads a file that is one number.
func (f *file) readUint() (n uint64, err error) {
	err = f.with(func(b []byte) error { n, err = parseUint(b); return err })
	return n, err
}

// readLimit reads a file that is one limit (parseLimit). A limit that can't be
// read is none.
func (f *file) readLimit(unit uint64) (uint64, error) {
	n := uint64(NoLimit)
	err := f.with(func(b []byte) (err error) { n, err = parseLimit(b, unit); return err })
	return n, err
}
