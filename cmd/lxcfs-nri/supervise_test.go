package main

import (
	"fmt"
	"os/exec"
	"testing"
)

// TestKilled: only who was killed is started again at once.
func TestKilled(t *testing.T) {
	for script, want := range map[string]bool{"kill -KILL $$": true, "kill -ABRT $$": false, "exit 137": false, "exit 0": false} {
		err := exec.Command("sh", "-c", script).Run()
		if got := killed(fmt.Errorf("pid 1: %w", err)); got != want {
			t.Errorf("%s (%v): got %t, want %t", script, err, got, want)
		}
	}
}
