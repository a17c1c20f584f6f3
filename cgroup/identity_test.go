package cgroup

import (
	"os"
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
)

// TestAnotherGroupOfThatPath is another group.
func TestAnotherGroupOfThatPath(t *testing.T) {
	fs, made := machine(t), fixture.NewGroup(t)
	g, err := fs.GroupOfSpec(made.Name)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if g.Gone() || g.Inode() == 0 || g.UsageID() == 0 {
		t.Errorf("gone: %t, inode %d, %d", g.Gone(), g.Inode(), g.UsageID())
	}
	made.Remove(t)
	if !g.Gone() {
		t.Error("it was removed")
	}
	for _, dir := range made.Dirs() {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	again, err := fs.GroupOfSpec(made.Name)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if !g.Gone() || again.Gone() || again.Inode() == g.Inode() || again.UsageID() == g.UsageID() {
		t.Errorf("gone: %t and %t, inodes %d and %d", g.Gone(), again.Gone(), g.Inode(), again.Inode())
	}
}
