package mounttable

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// TestOddLines: a line that can't be parsed costs that line.
func TestOddLines(t *testing.T) {
	const first = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
	const last = "31 22 0:28 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
	for name, odd := range map[string]string{
		"none":                "",
		"blank":               "\n",
		"no fields":           "nonsense\n",
		"no separator":        "40 22 0:40 / /a rw shared:1 x tmpfs tmpfs rw\n",
		"no device":           "40 22 040 / /a rw - tmpfs tmpfs rw\n",
		"no options":          "40 22 0:40 / /a rw - tmpfs tmpfs\n",
		"a short escape":      "40 22 0:40 / /a\\04 rw - tmpfs tmpfs rw\n",
		"an unknown escape":   "40 22 0:40 / /a\\x20 rw - tmpfs tmpfs rw\n",
		"a source with odd":   "40 22 0:40 / /a rw - tmpfs a\\z rw\n",
		"NUL":                 "\x00\x00\x00\n",
		"no end of the table": "",
	} {
		table := first + odd + last
		if name == "no end of the table" {
			table = strings.TrimSuffix(table, "\n")
		}
		for _, filter := range []mountinfo.FilterFunc{nil, mountinfo.FSTypeFilter("ext4", "cgroup2")} {
			got, err := Read(strings.NewReader(table), filter)
			if err != nil || len(got) != 2 || got[0].FSType != "ext4" || got[1].Mountpoint != "/sys/fs/cgroup" || got[1].VFSOptions != "rw,nsdelegate" {
				t.Errorf("%s: got %v, %v", name, got, err)
			}
		}
		got, err := Read(strings.NewReader(table), func(m *mountinfo.Info) (skip, stop bool) { return false, m.FSType == "ext4" })
		if err != nil || len(got) != 1 {
			t.Errorf("%s: got %v, %v, want only the first", name, got, err)
		}
	}
}

// TestNames: the kernel escapes what would separate fields.
func TestNames(t *testing.T) {
	got, err := Read(strings.NewReader(`40 22 0:40 /a\040b\134c /x\011y\012z\043 rw - tmpfs  rw`+"\nodd\n"), nil)
	if err != nil || len(got) != 1 || got[0].Root != `/a b\c` || got[0].Mountpoint != "/x\ty\nz#" || got[0].Source != "" {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestLongLines: an overlay of many layers has a line of more than 64 KiB.
func TestLongLines(t *testing.T) {
	options := "rw" + strings.Repeat(",lowerdir+="+strings.Repeat("x", 250), 500)
	table := "40 22 0:40 / /long rw - overlay overlay " + options + "\n31 22 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
	got, err := Read(strings.NewReader(table), nil)
	if err != nil || len(got) != 2 || got[0].Mountpoint != "/long" || got[0].FSType != "overlay" || got[1].FSType != "cgroup2" {
		t.Errorf("got %d mounts, %v", len(got), err)
	}
}

func TestReadFails(t *testing.T) {
	f, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := Read(f, nil); err == nil {
		t.Errorf("read %v from a directory", got)
	}
}

// FuzzRead: whatever the other lines are, those that can be parsed are there.
func FuzzRead(f *testing.F) {
	f.Add([]byte("nonsense\n\n40 22 0:40 / /a\\04 rw - tmpfs tmpfs rw"))
	f.Add([]byte(strings.Repeat("x", 70_000)))
	f.Fuzz(func(t *testing.T, junk []byte) {
		const good = "31 22 0:28 / /good rw - cgroup2 cgroup2 rw\n"
		table := good + string(junk) + "\n" + good
		got, err := Read(strings.NewReader(table), func(m *mountinfo.Info) (skip, stop bool) { return m.Mountpoint != "/good", false })
		if err != nil || len(got) < 2 {
			t.Errorf("%q: got %d of 2 good lines, %v", junk, len(got), err)
		}
		all, err := Read(strings.NewReader(table), nil)
		if err != nil {
			t.Error(err)
		}
		for _, m := range all {
			Reachable(all, m) // it must end
		}
	})
}

func TestReachable(t *testing.T) {
	const root, sys = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n", "2 1 0:2 / /sys rw - sysfs sysfs rw\n"
	const dir = "3 2 0:3 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
	const memory = "4 3 0:4 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
	for _, c := range []struct{ name, table, want string }{
		{"plain", root + sys + dir + memory, "1 2 3 4"},
		{"on it", root + sys + dir + memory + "5 4 0:5 / /sys/fs/cgroup/memory rw - tmpfs tmpfs rw\n", "1 2 3 5"},
		{"on the directory above", root + sys + dir + memory + "5 3 0:5 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n", "1 2 5"},
		{"on a directory between", root + sys + dir + memory + "5 2 0:5 / /sys/fs rw - tmpfs tmpfs rw\n", "1 2 5"},
		{"on /sys", root + sys + dir + memory + "5 2 0:5 / /sys rw - sysfs sysfs rw\n", "1 5"},
		{"and mounted again there", root + sys + dir + memory + "5 2 0:5 / /sys rw - sysfs sysfs rw\n6 5 0:4 / /sys/fs/cgroup rw - cgroup cgroup rw,memory\n", "1 5 6"},
		{"on a neighbour", root + sys + dir + memory + "5 3 0:5 / /sys/fs/cgroup/mem rw - tmpfs tmpfs rw\n6 1 0:6 / /sy rw - tmpfs tmpfs rw\n", "1 2 3 4 5 6"},
		{"on the root, as after switch_root", root + "9 1 8:2 / / rw - ext4 /dev/sda2 rw\n" + strings.Replace(sys, "2 1", "2 9", 1) + dir + memory, "9 2 3 4"},
		{"a part of a table", "4 3 0:4 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n5 3 0:5 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n", "4 5"},
		{"a part, the same place twice", memory + strings.Replace(memory, "4 3", "5 3", 1), "5"},
		{"a part, then the root", memory + root, "1"},
		{"a part, after the root", root + memory, "1 4"},
		{"a root that is its own parent", strings.Replace(root, "1 0", "1 1", 1) + sys, "1 2"},
		{"a circle", "1 2 0:1 / /a rw - tmpfs tmpfs rw\n2 1 0:2 / /b rw - tmpfs tmpfs rw\n", "1 2"},
	} {
		all, err := Read(strings.NewReader(c.table), nil)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range all {
			if Reachable(all, m) {
				got = append(got, fmt.Sprint(m.ID))
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: got %v, want %s", c.name, got, c.want)
		}
	}
}

// TestReachableIsWhatTheKernelReaches compares with the mounts to which the
// kernel resolves their paths, in a mount namespace with hidden ones.
func TestReachableIsWhatTheKernelReaches(t *testing.T) {
	dir := t.TempDir()
	failed := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // it ends with the thread, which can't be led back
		failed <- hiddenMounts(t, dir)
	}()
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
}

func hiddenMounts(t *testing.T, dir string) error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	// Each is mounted where the ones before it have left a path.
	for _, at := range []string{"a", "a/b", "a/b/c", "a/b", "a/b/c", "d", "d", "d/e", "f/g", "f", "a"} {
		at = filepath.Join(dir, at)
		if err := os.MkdirAll(at, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("tmpfs", at, "tmpfs", 0, "size=4k"); err != nil {
			return err
		}
	}
	f, err := os.Open("/proc/thread-self/mountinfo")
	if err != nil {
		return err
	}
	defer f.Close()
	all, err := Read(f, nil)
	if err != nil {
		return err
	}
	hidden := 0
	for _, m := range all {
		var st unix.Statx_t
		err := unix.Statx(unix.AT_FDCWD, m.Mountpoint, unix.AT_NO_AUTOMOUNT, unix.STATX_MNT_ID, &st)
		want := err == nil && st.Mnt_id == uint64(m.ID)
		if got := Reachable(all, m); got != want {
			t.Errorf("%d on %s: got %v, the kernel: %v (%d, %v)", m.ID, m.Mountpoint, got, want, st.Mnt_id, err)
		}
		if !want {
			hidden++
		}
	}
	if hidden < 5 {
		t.Errorf("%d of %d mounts are hidden, want some", hidden, len(all))
	}
	return nil
}
