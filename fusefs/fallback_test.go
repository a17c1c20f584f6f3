package fusefs

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// TestFallback looks below something that is mounted there.
func TestFallback(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mnt")
	one, two := strings.Repeat("1a", 32), strings.Repeat("2b", 32)
	// Docker, where nothing was mounted.
	for _, made := range []string{"proc/uptime", "containers/" + one + "/proc/stat"} {
		if err := os.MkdirAll(filepath.Join(dir, made), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	sweep(dir, slog.New(slog.DiscardHandler))
	if err := unix.Mount("above", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	mounted := true
	unmount := func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
		mounted = false
	}
	t.Cleanup(func() {
		if mounted {
			unmount()
		}
	})
	for range 2 { // the next daemon finds all in place
		f, err := OpenFallback(dir, view.Files)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		})
		for _, id := range []string{one, two} {
			if err := f.Keep(id); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Keep("../../outside"); err == nil {
			t.Error("an id has led out of the directory")
		}
		if err := f.Only(map[string]bool{two: true}); err != nil {
			t.Error(err)
		}
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
		t.Errorf("in what is mounted there: %v, %v", names, err)
	}
	unmount()
	for _, file := range []string{"proc/version", "proc/meminfo", "sys/devices/system/cpu/online"} {
		own, err := os.Stat("/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []string{"", "containers/" + two + "/"} {
			got, err := os.Stat(filepath.Join(dir, at+file))
			if want := file != "proc/version"; want != (err == nil) || want && !os.SameFile(own, got) {
				t.Errorf("%s leads to another file, or (%v) to none", at+file, err)
			}
		}
	}
	if _, err := os.Lstat(filepath.Join(dir, "containers", one)); !os.IsNotExist(err) {
		t.Errorf("the link of a container that is no more: %v", err)
	}
	f, err := OpenFallback(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Clear(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "containers", two, "proc/meminfo")); err != nil {
		t.Errorf("a container that needs it has lost its link: %v", err)
	}
	if err := errors.Join(f.Only(nil), f.Clear(), f.Close(), os.Remove(dir)); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat("/proc/meminfo"); err != nil {
		t.Error(err)
	}
}
