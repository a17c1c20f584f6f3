package main

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
	"github.com/lxcfs-nri/lxcfs-nri/test/lxcfs"
)

// checkTrees has the conformance check look at the kernel's files, at ours and
// at those of lxcfs, all from within a limited group.
func checkTrees(t *testing.T, conform string) {
	lx, err := lxcfs.Start(t.Context(), t.TempDir(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := lx.Stop(); err != nil {
			t.Error(err)
		}
	}()
	g := fixture.NewGroup(t)
	g.Set(t, "memory.max", "memory.limit_in_bytes", "268435456")
	g.Set(t, "cpu.max", "cpu.cfs_quota_us", "50000")
	for _, tree := range []struct{ name, root string }{
		{linux, "/"}, {product, daemon.Mountpoint}, {"lxcfs", lx.Dir},
	} {
		out, err := g.Command(conform, "-root", tree.root).Output()
		if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
			t.Fatal(err)
		}
		found := Tree{Name: tree.name}
		for line := range strings.Lines(strings.ReplaceAll(string(out), tree.root+"/", "/")) {
			line = strings.TrimSpace(line)
			if files, ok := strings.CutPrefix(line, "absent: "); ok {
				found.Absent = strings.Fields(files)
			} else if strings.Contains(line, " files checked, ") {
				found.Checked, _, _ = strings.Cut(line, " ")
			} else {
				file, _, _ := strings.Cut(line, ":")
				found.Findings = append(found.Findings, strings.ReplaceAll(line, "read /"+file+": ", "here: "))
			}
		}
		if found.Checked == "" || found.Checked == "0" {
			t.Errorf("%s: nothing was checked: %s", tree.name, out)
		}
		if tree.name != "lxcfs" && len(found.Findings) > 0 {
			t.Errorf("%s breaks what Linux promises:\n%s", tree.name, strings.Join(found.Findings, "\n"))
		}
		result.Trees = append(result.Trees, found)
	}
}
