package main

import (
	"fmt"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// columnWidth is half of the terminal's width, within what is readable; of a
// usual terminal's if there is none.
func columnWidth() int {
	total := 112
	if ws, err := unix.IoctlGetWinsize(int(os.Stdout.Fd()), unix.TIOCGWINSZ); err == nil && ws.Col > 0 {
		total = min(max(int(ws.Col), 80), 164)
	}
	return (total - len(" | ")) / 2
}

// printColumns prints two texts line by line side by side.
func printColumns(left, right string, width int) {
	l := strings.Split(strings.TrimRight(left, "\n"), "\n")
	r := strings.Split(strings.TrimRight(right, "\n"), "\n")
	for i := range max(len(l), len(r)) {
		printRow(line(l, i), line(r, i), width)
	}
}

func line(lines []string, i int) string {
	if i >= len(lines) {
		return ""
	}
	return lines[i]
}

func printRow(left, right string, width int) {
	fmt.Println(strings.TrimRight(fmt.Sprintf("%-*s | %s", width, cut(left, width), cut(right, width)), " "))
}

func printRule(width int) {
	fmt.Println(strings.Repeat("-", width+1) + "+" + strings.Repeat("-", width+1))
}

// cut shortens a line to the width, at a blank, lest half a number be taken for
// a whole one; a > shows that there was more.
func cut(s string, width int) string {
	s = strings.TrimRight(strings.ReplaceAll(s, "\t", "    "), " ")
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	r := []rune(s)[:width-1]
	end := len(r)
	for end > 0 && r[end-1] != ' ' {
		end--
	}
	if end == 0 {
		end = len(r)
	}
	return fmt.Sprintf("%-*s>", width-1, string(r[:end]))
}
