package soak

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// checker knows what the texts of one reader must have in common. The zero
// value is ready.
type checker struct {
	memTotal uint64            // bytes; 0: any
	parts    map[string]string // of each file's texts, which stay the same
	last     map[string]float64
	disks    map[string]bool
}

// check finds what is torn in a text: two texts in one, a part that is missing,
// a counter that fell.
func (c *checker) check(file, text string) error {
	if text == "" || !strings.HasSuffix(text, "\n") {
		return fmt.Errorf("%s has no last line: %.100q", file, text[max(0, len(text)-100):])
	}
	var err error
	switch file {
	case "proc/meminfo":
		err = c.meminfo(text)
	case "proc/stat":
		err = c.stat(text)
	case "proc/uptime":
		err = c.uptime(text)
	case "proc/loadavg":
		err = columns(text, 5)
	case "proc/cpuinfo":
		err = c.sameKeys(file, text, ":")
	case "proc/swaps":
		err = c.swaps(text)
	case "proc/diskstats":
		err = c.diskstats(text)
	case "proc/slabinfo":
		err = slabinfo(text)
	default:
		switch dir := path.Dir(file); {
		case dir == "proc/pressure":
			err = c.pressure(file, text)
		case strings.HasPrefix(file, view.CPUDir+"/"):
			err = c.cpuFile(file, text)
		default:
			err = errors.New("there is no rule for it")
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w:\n%.400s", file, err, text)
	}
	return nil
}

// sameKeys: the first word of each line is what it was in the text before.
func (c *checker) sameKeys(file, text, separator string) error {
	var b strings.Builder
	for line := range strings.Lines(text) {
		key, _, ok := strings.Cut(line, separator)
		if !ok && strings.TrimSpace(line) != "" {
			return fmt.Errorf("line %q", line)
		}
		b.WriteString(key + "\n")
	}
	return c.same(file, b.String())
}

// same: a part of a file's text is what it was in the text before.
func (c *checker) same(file, part string) error {
	if c.parts == nil {
		c.parts = map[string]string{}
	}
	before, known := c.parts[file]
	if !known {
		c.parts[file] = part
	} else if before != part {
		return fmt.Errorf("it was %q", before)
	}
	return nil
}

// notLess: counters do not fall.
func (c *checker) notLess(what string, n float64) error {
	if c.last == nil {
		c.last = map[string]float64{}
	}
	if before := c.last[what]; n < before {
		return fmt.Errorf("%s fell from %v to %v", what, before, n)
	}
	c.last[what] = n
	return nil
}

func (c *checker) meminfo(text string) error {
	if err := c.sameKeys("proc/meminfo", text, ":"); err != nil {
		return err
	}
	m := map[string]uint64{}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, ":")
		n, err := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
		if err != nil {
			return fmt.Errorf("line %q", line)
		}
		m[key] = n
	}
	for sum, parts := range map[string][2]string{
		"Active": {"Active(anon)", "Active(file)"}, "Inactive": {"Inactive(anon)", "Inactive(file)"},
	} {
		if m[sum] != m[parts[0]]+m[parts[1]] {
			return fmt.Errorf("%s is not the sum of its parts", sum)
		}
	}
	if c.memTotal != 0 && m["MemTotal"] != c.memTotal>>10 || m["MemFree"] > m["MemTotal"] {
		return fmt.Errorf("MemTotal is %d kB, the limit %d", m["MemTotal"], c.memTotal>>10)
	}
	return nil
}

func (c *checker) stat(text string) error {
	if err := c.sameKeys("proc/stat", text, " "); err != nil {
		return err
	}
	var total, sum [10]uint64
	cpus := uint64(0)
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 {
			return fmt.Errorf("line %q", line)
		}
		if !strings.HasPrefix(f[0], "cpu") {
			if err := c.statCount(f[0], f[1]); err != nil {
				return err
			}
			continue
		}
		if len(f) != 11 {
			return fmt.Errorf("line %q", line)
		}
		into := &sum
		if f[0] == "cpu" {
			into = &total
		} else {
			cpus++
		}
		for i, w := range f[1:] {
			n, err := strconv.ParseUint(w, 10, 64)
			if err != nil {
				return fmt.Errorf("line %q", line)
			}
			into[i] += n
			if err := c.notLess(fmt.Sprintf("column %d of %s", i+1, f[0]), float64(n)); err != nil {
				return err
			}
		}
	}
	for i := range sum {
		// Each is cut to ticks by itself, as the kernel does.
		if sum[i] > total[i] || total[i]-sum[i] > cpus {
			return fmt.Errorf("column %d is %d, of the CPUs %d", i+1, total[i], sum[i])
		}
	}
	return nil
}

// statCount: what is counted never falls; what is told of this moment is a number.
func (c *checker) statCount(key, value string) error {
	n, err := strconv.ParseUint(value, 10, 64)
	switch {
	case err != nil:
		return err
	case key == "btime":
		return c.same("btime", value)
	case key == "procs_running", key == "procs_blocked":
		return nil
	}
	return c.notLess(key, float64(n))
}

func (c *checker) uptime(text string) error {
	if err := columns(text, 2); err != nil {
		return err
	}
	for i, what := range []string{"uptime", "idle time"} {
		n, err := strconv.ParseFloat(strings.Fields(text)[i], 64)
		if err != nil {
			return err
		}
		if err := c.notLess(what, n); err != nil {
			return err
		}
	}
	return nil
}

// diskstats: all lines have as many figures, devices stay, and what they count
// does not fall. Devices may come meanwhile.
func (c *checker) diskstats(text string) error {
	seen := map[string]bool{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if err := c.same("figures of a device", strconv.Itoa(len(f))); err != nil {
			return fmt.Errorf("line %q: %w", line, err)
		}
		if len(f) < 3+11 { // before Linux 4.18
			return fmt.Errorf("line %q", line)
		}
		seen[f[2]] = true
		for i, w := range f[3:] {
			n, err := strconv.ParseUint(w, 10, 64)
			if err != nil {
				return fmt.Errorf("line %q", line)
			}
			if err := c.notLess(fmt.Sprintf("figure %d of %s", i+1, f[2]), float64(n)); err != nil {
				return err
			}
		}
	}
	for disk := range c.disks {
		if !seen[disk] {
			return fmt.Errorf("%s is missing", disk)
		}
	}
	c.disks = seen
	return nil
}

// slabinfo is the head of the kernel's.
func slabinfo(text string) error {
	lines := strings.SplitAfter(text, "\n")
	if len(lines) != 3 || lines[0] != "slabinfo - version: 2.1\n" || !strings.HasPrefix(lines[1], "# name ") || !strings.HasSuffix(lines[1], " <sharedavail>\n") {
		return errors.New("not the two lines of its head")
	}
	return nil
}

// pressure: the time that was lost does not fall.
func (c *checker) pressure(file, text string) error {
	if err := c.sameKeys(file, text, " "); err != nil {
		return err
	}
	for line := range strings.Lines(text) {
		var kind string
		var average [3]float64
		var total uint64
		if _, err := fmt.Sscanf(line, "%s avg10=%f avg60=%f avg300=%f total=%d\n", &kind, &average[0], &average[1], &average[2], &total); err != nil {
			return fmt.Errorf("line %q: %w", line, err)
		}
		if err := c.notLess(kind+" of "+file, float64(total)); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) swaps(text string) error {
	for line := range strings.Lines(text) {
		if err := columns(line, 5); err != nil {
			return err
		}
	}
	return nil
}

func columns(line string, n int) error {
	if strings.Count(line, "\n") != 1 || len(strings.Fields(line)) != n {
		return fmt.Errorf("not one line of %d columns", n)
	}
	return nil
}
