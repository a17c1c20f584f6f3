package main

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// self is this program, which is run in containers, too.
var self = func() string {
	exe, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return exe
}()

// runAs does what a first argument says, or tells that it is none.
func runAs(argument string, args []string) bool {
	switch argument {
	case goArgument:
		tell(args, os.Stdout)
	case workArgument:
		// It returns only if it fails.
		fmt.Fprintln(os.Stderr, "work:", work(args))
		os.Exit(1)
	default:
		return false
	}
	return true
}

// read finds the figure that is asked for in what a program has printed by now.
func (a ask) read(out, disk string, now time.Time) (float64, error) {
	if a.pattern == "" {
		return a.parse(out, now)
	}
	re, err := regexp.Compile(strings.ReplaceAll(a.pattern, "DISK", regexp.QuoteMeta(disk)))
	if err != nil {
		return 0, err
	}
	matches := re.FindAllStringSubmatch(out, -1)
	switch {
	case a.count:
		return float64(len(matches)), nil
	case len(matches) == 0 && a.absent:
		return 0, nil
	case len(matches) == 0:
		return 0, fmt.Errorf("nothing matches %s", a.pattern)
	}
	last := matches[len(matches)-1]
	if a.parse != nil {
		return a.parse(last[1], now)
	}
	var sum float64
	for _, word := range last[1:] {
		x, err := strconv.ParseFloat(word, 64)
		if err != nil {
			return 0, err
		}
		sum += x
	}
	if a.unit != 0 {
		sum *= a.unit
	}
	return sum, nil
}
