package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMinutesUp(t *testing.T) {
	for text, want := range map[string]float64{
		" 07:06:31 up 8 min,  0 users,  load average: 4.98, 3.15, 1.45":          8,
		"top - 22:05:28 up  2:10,  0 user,  load average: 0.00, 0.00, 0.00":      130,
		" 22:05:28 up 1 day, 3 min,  0 user,  load average: 0.00, 0.00, 0.00":    1443,
		" 22:05:28 up 12 days,  1:02,  0 user,  load average: 0.00, 0.00, 0.00 ": 12*1440 + 62,
	} {
		got, err := minutesUp(text, time.Time{})
		if err != nil || got != want {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
	if got, err := minutesUp("no such word", time.Time{}); err == nil {
		t.Errorf("no time: got %v", got)
	}
}

// TestPage has the page's marks found, and nothing between them kept.
func TestPage(t *testing.T) {
	b, err := os.ReadFile("../../docs/compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	page := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(page, b, 0o600); err != nil {
		t.Fatal(err)
	}
	line := Shown{Program: "prog", Version: "1", Container: string(quota), Asks: "CPUs", From: "a file", Whose: "container", Value: "17"}
	other := line
	other.Value = "18"
	if err := write(page, Run{Cgroups: "v1", Shown: []Shown{line}}, Run{Cgroups: "v2", Shown: []Shown{other}}); err != nil {
		t.Fatal(err)
	}
	if b, err = os.ReadFile(page); err != nil {
		t.Fatal(err)
	}
	if want := "| prog 1 | CPUs | a file | 17 | 18 | container |\n"; strings.Count(string(b), want) != 1 {
		t.Errorf("no line %q in:\n%s", want, b)
	}
	if strings.Contains(string(b), "| free ") {
		t.Errorf("old lines were kept:\n%s", b)
	}
}
