package main

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// diskstatsLine is diskstats_show of block/genhd.c.
var diskstatsLine = regexp.MustCompile(`^ *(\d+) +(\d+) (\S+)((?: \d+)+)$`)

func (r *report) diskstats(text string) {
	seen := map[string]bool{}
	columns := 0
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		m := diskstatsLine.FindStringSubmatch(line)
		if m == nil {
			r.fail("line %q", line)
			continue
		}
		dev := m[1] + ":" + m[2]
		r.expect(!seen[dev] && !seen[m[3]], "%s (%s) comes twice", m[3], dev)
		seen[dev], seen[m[3]] = true, true
		n := len(strings.Fields(line))
		r.expect(n == 14 || n == 18 || n == 20, "%s has %d columns", m[3], n)
		r.expect(columns == 0 || n == columns, "%s has %d columns, others %d", m[3], n, columns)
		columns = n
		padded := m[1]
		for len(padded) < 4 {
			padded = " " + padded
		}
		r.expect(strings.HasPrefix(line, padded+" "), "line %.30q is not laid out as the kernel's", line)
	}
}

// diskstatsLater: no counter falls; requests under way (column 12) may.
func (r *report) diskstatsLater(before, after string, _ time.Duration) {
	old := map[string][]string{}
	for line := range strings.Lines(before) {
		if f := strings.Fields(line); len(f) > 3 {
			old[f[2]] = f
		}
	}
	for line := range strings.Lines(after) {
		f := strings.Fields(line)
		if len(f) < 4 {
			continue
		}
		for i := 3; i < min(len(f), len(old[f[2]])); i++ {
			a, errA := strconv.ParseUint(old[f[2]][i], 10, 64)
			b, errB := strconv.ParseUint(f[i], 10, 64)
			r.expect(errA == nil && errB == nil && (b >= a || i == 11), "column %d of %s fell", i+1, f[2])
		}
	}
}

func (r *report) pressureLater(before, after string, _ time.Duration) {
	a, b := r.pressures(before), r.pressures(after)
	for kind, total := range a {
		r.expect(b[kind] >= total, "the total of %s fell", kind)
	}
}
