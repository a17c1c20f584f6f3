package view

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
)

// /proc/cpuinfo: show_cpuinfo of each architecture (arch/*/kernel/…);
// docs/views.md, "cpuinfo".

// cpuBlock is lines of one CPU, or (cpu -1) lines that belong to none.
type cpuBlock struct {
	cpu   int
	lines []byte
}

// parseCPUInfo cuts the host's file at the lines that number a CPU:
// "processor : 0"; on s390x "processor 0: version = …", one line a CPU, and
// then blocks of a blank line and "cpu number : 0". Lines after a blank one that
// number no CPU belong to none (arm's Hardware, ppc64le's platform).
func parseCPUInfo(b []byte) ([]cpuBlock, error) {
	blocks := []cpuBlock{{cpu: -1}}
	numbered, blank := false, false
	for line := range bytes.Lines(b) {
		n, ok := cpuNumber(line)
		empty := len(bytes.TrimSpace(line)) == 0
		last := &blocks[len(blocks)-1]
		switch {
		case ok:
			numbered = true
			next := cpuBlock{cpu: n}
			if before := bytes.TrimSuffix(last.lines, []byte("\n\n")); bytes.HasPrefix(line, []byte("cpu number")) && len(before) < len(last.lines) {
				last.lines, next.lines = last.lines[:len(before)+1], []byte("\n")
			}
			blocks = append(blocks, next)
			last = &blocks[len(blocks)-1]
		case blank && !empty && last.cpu >= 0:
			blocks = append(blocks, cpuBlock{cpu: -1})
			last = &blocks[len(blocks)-1]
		}
		last.lines = append(last.lines, line...)
		blank = empty
	}
	if !numbered {
		return nil, fmt.Errorf("no line that numbers a CPU")
	}
	return blocks, nil
}

// cpuNumber recognises the line that begins a CPU's block.
func cpuNumber(line []byte) (int, bool) {
	key, value, ok := bytes.Cut(line, []byte(":"))
	if !ok {
		return 0, false
	}
	key = bytes.TrimSpace(key)
	if string(key) != "processor" && string(key) != "cpu number" {
		if value, ok = bytes.CutPrefix(key, []byte("processor ")); !ok { // s390x
			return 0, false
		}
	}
	n, err := strconv.Atoi(string(bytes.TrimSpace(value)))
	return n, err == nil && n >= 0
}

// appendCPUInfo makes /proc/cpuinfo.
func (v *View) appendCPUInfo(b []byte) ([]byte, error) {
	g, err := v.cgroup()
	if err != nil {
		return b, err
	}
	host, err := v.host.cpuinfo.get(v.host.now())
	if err != nil {
		return b, err
	}
	mem := borrow()
	defer mem.giveBack()
	c, err := v.readCPUs(g, mem)
	if err != nil {
		return b, err
	}
	return appendCPUBlocks(b, host, c.set), v.gone(g)
}

// appendCPUBlocks prints the blocks of the CPUs in set, renumbered from 0.
func appendCPUBlocks(b []byte, blocks []cpuBlock, set []int) []byte {
	for _, block := range blocks {
		i, shown := 0, true
		if block.cpu >= 0 {
			i, shown = slices.BinarySearch(set, block.cpu)
		}
		if !shown {
			continue
		}
		for line := range bytes.Lines(block.lines) {
			b = appendCPULine(b, line, i, len(set))
		}
	}
	return b
}

// appendCPULine prints one line of CPU i of n, with the numbers that place a
// CPU among others made anew.
func appendCPULine(b, line []byte, i, n int) []byte {
	colon := bytes.IndexByte(line, ':')
	if colon < 0 {
		return append(b, line...)
	}
	var value int
	switch key := string(bytes.TrimSpace(line[:colon])); key {
	case "processor", "core id", "apicid", "initial apicid", // x86
		"cpu number", "address", // s390x
		"hart",              // riscv64
		"core", "global_id": // loong64
		value = i
	case "physical id", "book id", "drawer id", "max thread id", "package":
		value = 0
	case "siblings", "cpu cores", "# processors":
		value = n
	default:
		if bytes.HasPrefix(line, []byte("processor ")) && colon > len("processor ") { // s390x
			b = strconv.AppendInt(append(b, "processor "...), int64(i), 10)
			return append(b, line[colon:]...)
		}
		return append(b, line...)
	}
	b = append(b, line[:colon]...)
	b = append(b, ": "...)
	return append(strconv.AppendInt(b, int64(value), 10), '\n')
}
