package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxProblems bounds what is reported of one file: enough to mend it in one
// go, too little to flood a log when the file is something else altogether.
const maxProblems = 20

// problem is one fault of a configuration.
type problem struct {
	line int    // 0: unknown
	key  string // dotted; "": the file as a whole
	text string // what is wrong; what to do about it
}

// problemf makes a problem whose line is found later, by its key.
func problemf(key, format string, args ...any) problem {
	return problem{key: key, text: fmt.Sprintf(format, args...)}
}

// report makes problems one error, a line each, in the order of the file's
// lines. The file is empty when the settings did not come from one.
func report(file string, found []problem) error {
	slices.SortStableFunc(found, func(a, b problem) int { return cmp.Compare(a.line, b.line) })
	more := len(found) - maxProblems
	var all []error
	for _, p := range found[:min(len(found), maxProblems)] {
		all = append(all, errors.New(p.in(file)))
	}
	if more > 0 {
		all = append(all, errors.New(problem{text: fmt.Sprintf("%d more faults; mend those above first", more)}.in(file)))
	}
	return errors.Join(all...)
}

// in puts file, line and key before the text, as far as there are any.
func (p problem) in(file string) string {
	text := p.text
	if p.key != "" {
		text = p.key + ": " + text
	}
	switch {
	case file == "":
		return text
	case p.line == 0:
		return file + ": " + text
	}
	return file + ":" + strconv.Itoa(p.line) + ": " + text
}

// shownLength is what a message repeats of a text that somebody else wrote.
const shownLength = 64

// quote is s for a message: quoted, so that it can't forge lines of a log, and
// cut, since tenants write annotations of 256 KiB.
func quote(s string) string {
	if len(s) > shownLength {
		s = strings.ToValidUTF8(s[:shownLength], "") + "…"
	}
	return strconv.Quote(s)
}

// show is s for a message, quoted only where it needs to be.
func show(s string) string {
	ordinary := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./*?", r)
	}
	if s == "" || len(s) > 2*shownLength || strings.ContainsFunc(s, func(r rune) bool { return !ordinary(r) }) {
		return quote(s)
	}
	return s
}

// nearest is the one of names that somebody who wrote word most likely meant,
// or "" if none is near.
func nearest(word string, names []string) string {
	best, least := "", max(1, min(len(word), shownLength)/3)+1
	for _, name := range names {
		if d := distance(strings.ToLower(word), strings.ToLower(name)); d < least {
			best, least = name, d
		}
	}
	return best
}

// distance is the number of bytes to insert, delete or replace between a and
// b (Levenshtein); words no key could be a slip of are simply far away.
func distance(a, b string) int {
	if len(a) > shownLength || len(b) > shownLength {
		return shownLength
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
