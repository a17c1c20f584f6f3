package soak

import (
	"fmt"
	"strconv"
	"strings"
)

// checker knows what the texts of one reader must have in common. The zero
// value is ready.
type checker struct {
	memTotal uint64 // bytes; 0: any
	keys     map[string]string
	last     map[string]float64
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
	case "sys/devices/system/cpu/online":
		err = columns(text, 1)
	default:
		err = fmt.Errorf("no rule for %s", file)
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
	if c.keys == nil {
		c.keys = map[string]string{}
	}
	before, known := c.keys[file]
	if !known {
		c.keys[file] = b.String()
	} else if before != b.String() {
		return fmt.Errorf("its lines were %q", before)
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
		if len(f) == 0 || !strings.HasPrefix(f[0], "cpu") {
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
		}
	}
	for i := range sum {
		// Each is cut to ticks by itself, as the kernel does.
		if sum[i] > total[i] || total[i]-sum[i] > cpus {
			return fmt.Errorf("column %d is %d, of the CPUs %d", i+1, total[i], sum[i])
		}
	}
	return c.notLess("CPU time", float64(total[0]+total[1]+total[2]))
}

func (c *checker) uptime(text string) error {
	if err := columns(text, 2); err != nil {
		return err
	}
	up, err := strconv.ParseFloat(strings.Fields(text)[0], 64)
	if err != nil {
		return err
	}
	return c.notLess("uptime", up)
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
