package view

import (
	"bytes"
	"math/bits"
	"slices"
	"strconv"
)

// Where the CPUs of /proc/cpuinfo are, and what the kernel counts over those that
// are on-line: show_cpuinfo_core in arch/x86/kernel/cpu/proc.c, show_cpu_summary and
// show_cpu_topology in arch/s390/kernel/processor.c.

// cpuCount is a figure among a block's lines that the kernel counts over the
// on-line CPUs.
type cpuCount struct {
	from, to int // in lines
	of       counted
}

type counted int

const (
	packThreads   counted = iota // siblings
	packCores                    // cpu cores
	allProcessors                // # processors
)

// cpuPlace is what a block's lines say of where its CPU is.
type cpuPlace struct {
	drawer, book, pack int // the outer two on s390x
	core, apic         int
}

// placeCPUs numbers the packages and cores of all blocks.
func placeCPUs(blocks []cpuBlock) {
	packs, cores := map[cpuPlace]int{}, map[cpuPlace]int{}
	number := func(m map[cpuPlace]int, p cpuPlace) int {
		n, ok := m[p]
		if !ok {
			n = len(m)
			m[p] = n
		}
		return n
	}
	for i := range blocks {
		b := &blocks[i]
		b.pack, b.core = -1, -1
		if p := b.place(); p.pack >= 0 && b.cpu >= 0 {
			b.core = number(cores, p)
			p.core, p.apic = 0, 0
			b.pack = number(packs, p)
		}
	}
}

// place finds where a block's CPU is (pack -1: its lines don't say), and the figures
// that are counted.
func (b *cpuBlock) place() cpuPlace {
	p := cpuPlace{pack: -1}
	var counts [allProcessors + 1]int
	at := 0
	for line := range bytes.Lines(b.lines) {
		key, value, _ := bytes.Cut(line, []byte(":"))
		from := at + len(line) - len(bytes.TrimLeft(value, " \t"))
		at += len(line)
		var into *int
		of := counted(-1)
		switch string(bytes.TrimSpace(key)) {
		case "physical id":
			into = &p.pack
		case "book id":
			into = &p.book
		case "drawer id":
			into = &p.drawer
		case "core id":
			into = &p.core
		case "apicid":
			into = &p.apic
		case "siblings":
			of = packThreads
		case "cpu cores":
			of = packCores
		case "# processors":
			of = allProcessors
		default:
			continue
		}
		word := bytes.TrimSpace(value)
		n, err := strconv.Atoi(string(word))
		if err != nil {
			continue
		}
		if into == nil {
			into = &counts[of]
			b.counts = append(b.counts, cpuCount{from, from + len(word), of})
		}
		*into = n
	}
	// A package of several dies can have each core id once per die. The threads of
	// a core differ in the lowest bits of their APIC ids.
	if c, t := counts[packCores], counts[packThreads]; c > 0 && t > 0 {
		p.apic >>= bits.Len(uint((t - 1) / c))
	}
	return p
}

// countCPUs counts the shown threads and cores of each package. all reports
// whether every CPU is shown.
func (m *scratch) countCPUs(blocks []cpuBlock, set []int) (all bool) {
	n := len(blocks)
	m.threads = slices.Grow(m.threads[:0], n)[:n]
	m.cores = slices.Grow(m.cores[:0], n)[:n]
	m.counted = slices.Grow(m.counted[:0], n)[:n]
	clear(m.threads)
	clear(m.cores)
	clear(m.counted)
	all = true
	for i := range blocks {
		b := &blocks[i]
		switch {
		case !b.shown(set):
			all = false
		case b.pack >= 0:
			m.threads[b.pack]++
			if !m.counted[b.core] {
				m.counted[b.core] = true
				m.cores[b.pack]++
			}
		}
	}
	return all
}
