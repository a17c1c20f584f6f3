package soak

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// results are the rows of the measured table.
var results table

type table struct {
	mu   sync.Mutex
	rows []string
}

// add notes a case that was done so many times: what readers saw, and the most
// memory that the daemon used.
func (r *table) add(times int, what string, s seen, memory int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rows = append(r.rows, fmt.Sprintf("| %s | %d | %d | %d | %d | %d | %s | %s | %.0f |",
		what, times, s.Texts, s.Failed, s.Torn, s.Hung, milliseconds(s.P99), milliseconds(s.Longest), float64(memory)/(1<<20)))
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d.Microseconds())/1000) }

const (
	tableBegin = "<!-- measured by make soak: begin -->\n"
	tableEnd   = "<!-- measured by make soak: end -->\n"
	tableHead  = "| case | times | texts read | failed | torn | hung | p99, ms | longest stall, ms | daemon's memory, MiB |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|\n"
)

func (r *table) String() string { return tableHead + strings.Join(r.rows, "\n") + "\n" }

// write puts the table between the markers of a file.
func (r *table) write(name string) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(b), tableBegin)
	_, after, ended := strings.Cut(rest, tableEnd)
	if !ok || !ended {
		return fmt.Errorf("%s lacks the lines %q and %q for the table", name, tableBegin, tableEnd)
	}
	return os.WriteFile(name, []byte(before+tableBegin+"\n"+r.String()+"\n"+tableEnd+after), 0o644)
}
