package view

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
)

// /proc/cpuinfo: show_cpuinfo of each architecture (arch/*/kernel/…);
// docs/views.md, "cpuinfo".

// cpuBlock is lines of one CPU, or (cpu -1) lines that belong to none.
type cpuBlock struct {
	cpu        int
	lines      []byte
	pack, core int // equal for CPUs of one package, of one core; -1: not told
	counts     []cpuCount
}

var errNoProcessor = errors.New("no line that numbers a CPU")

// parseCPUInfo cuts the host's file at the lines that number a CPU:
// "processor : 0"; on s390x "processor 0: version = …", one line a CPU, and
// then blocks of a blank line and "cpu number : 0". Lines after the last block and a
// blank line belong to no CPU (arm's Hardware, ppc64le's platform). One line that
// numbers a CPU is necessary; a block whose number can't be parsed is left out.
func parseCPUInfo(b []byte) ([]cpuBlock, error) {
	blocks := []cpuBlock{{cpu: -1}}
	numbered, blank, odd := false, false, false
	for line := range bytes.Lines(b) {
		n, ok, numbers := cpuNumber(line)
		empty := len(bytes.TrimSpace(line)) == 0
		last := &blocks[len(blocks)-1]
		switch {
		case ok:
			numbered, odd = true, false
			if k := len(blocks) - 1; k > 0 && last.cpu < 0 { // it was not the last block
				blocks[k-1].lines = append(blocks[k-1].lines, last.lines...)
				blocks, last = blocks[:k], &blocks[k-1]
			}
			next := cpuBlock{cpu: n}
			if before := bytes.TrimSuffix(last.lines, []byte("\n\n")); bytes.HasPrefix(line, []byte("cpu number")) && len(before) < len(last.lines) {
				last.lines, next.lines = last.lines[:len(before)+1], []byte("\n")
			}
			blocks = append(blocks, next)
			last = &blocks[len(blocks)-1]
		case numbers:
			odd = true
		case blank && !empty && (odd || last.cpu >= 0):
			odd = false
			blocks = append(blocks, cpuBlock{cpu: -1})
			last = &blocks[len(blocks)-1]
		}
		if !odd {
			last.lines = append(last.lines, line...)
		}
		blank = empty
	}
	if !numbered {
		return nil, lacking(errNoProcessor, b, "processor")
	}
	placeCPUs(blocks)
	return blocks, nil
}

// cpuNumber recognises the line that begins a CPU's block: numbers reports that,
// ok whether the number can be parsed.
func cpuNumber(line []byte) (n int, ok, numbers bool) {
	key, value, ok := bytes.Cut(line, []byte(":"))
	if !ok {
		return 0, false, false
	}
	key = bytes.TrimSpace(key)
	if string(key) != "processor" && string(key) != "cpu number" {
		if value, ok = bytes.CutPrefix(key, []byte("processor ")); !ok { // s390x
			return 0, false, false
		}
	}
	n, err := strconv.Atoi(string(bytes.TrimSpace(value)))
	return n, err == nil && n >= 0, true
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
	return appendCPUBlocks(b, host, c.set, mem), v.gone(g)
}

// appendCPUBlocks prints the blocks of the CPUs in set as the host prints them,
// but for the figures that are counted over the on-line CPUs: these are counted
// over set.
func appendCPUBlocks(b []byte, blocks []cpuBlock, set []int, mem *scratch) []byte {
	all := mem.countCPUs(blocks, set)
	for i := range blocks {
		block := &blocks[i]
		if !block.shown(set) {
			continue
		}
		at := 0
		for _, c := range block.counts {
			var n int
			switch {
			case c.of == allProcessors:
				n = len(set)
			case all || block.pack < 0:
				continue // the host's own figure
			case c.of == packThreads:
				n = mem.threads[block.pack]
			case c.of == packCores:
				n = mem.cores[block.pack]
			}
			b = append(b, block.lines[at:c.from]...)
			b = strconv.AppendInt(b, int64(n), 10)
			at = c.to
		}
		b = append(b, block.lines[at:]...)
	}
	return b
}

func (b *cpuBlock) shown(set []int) bool {
	if b.cpu < 0 {
		return true
	}
	_, ok := slices.BinarySearch(set, b.cpu)
	return ok
}
