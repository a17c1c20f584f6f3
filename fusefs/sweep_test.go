package fusefs

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
)

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	id := "containers/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for _, empty := range []string{"proc/meminfo", "sys/devices/system/cpu", id + "/proc/stat", "other"} {
		if err := os.MkdirAll(filepath.Join(dir, empty), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string]string{"proc/uptime": "", "sys/kept": "somebody's"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	elsewhere := t.TempDir()
	if err := os.Symlink(elsewhere, filepath.Join(dir, "proc/link")); err != nil {
		t.Fatal(err)
	}
	sweep(dir, slog.New(slog.DiscardHandler))
	for name, stays := range map[string]bool{
		"proc/meminfo": false, "proc/uptime": false, "containers": false, "sys/devices": false,
		"sys/kept": true, "other": true, "proc/link": true,
	} {
		if _, err := os.Lstat(filepath.Join(dir, name)); (err == nil) != stays {
			t.Errorf("%s: %v, want it to be there: %t", name, err, stays)
		}
	}
	if _, err := os.Stat(elsewhere); err != nil {
		t.Error(err)
	}
}
