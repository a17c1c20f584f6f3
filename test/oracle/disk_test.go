package oracle

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
	"github.com/lxcfs-nri/lxcfs-nri/test/box"
)

// disk is the one that holds a folder: its number and name.
func disk(t testing.TB, dir string) (number, name string) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	number = fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	sys, err := filepath.EvalSymlinks("/sys/dev/block/" + number)
	if err != nil {
		t.Fatalf("%s is not on a disk: set TMPDIR to a folder that is: %v", dir, err)
	}
	if _, err := os.Stat(sys + "/partition"); err == nil {
		sys = filepath.Dir(sys) // groups' I/O is counted per disk
	}
	return strings.TrimSpace(readFile(t, sys+"/dev")), filepath.Base(sys)
}

// diskLine gives the sectors of 512 bytes read and written of a disk.
func diskLine(t testing.TB, text, name string) (read, written float64) {
	t.Helper()
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); f[2] == name {
			return number(t, f[5]), number(t, f[9])
		}
	}
	t.Fatalf("%s is not in %q", name, text)
	return 0, 0
}

// ioStat gives what the kernel says of a group, in bytes.
func ioStat(t testing.TB, g *fixture.Group, dev string) (read, written float64) {
	t.Helper()
	if file := g.File("io.stat"); file != "" {
		for line := range strings.Lines(readFile(t, file)) {
			f := strings.Fields(line)
			if f[0] != dev {
				continue
			}
			for _, kv := range f[1:] {
				if v, ok := strings.CutPrefix(kv, "rbytes="); ok {
					read = number(t, v)
				}
				if v, ok := strings.CutPrefix(kv, "wbytes="); ok {
					written = number(t, v)
				}
			}
		}
		return read, written
	}
	for line := range strings.Lines(readFile(t, g.File("blkio.throttle.io_service_bytes_recursive"))) {
		switch f := strings.Fields(line); {
		case f[0] == dev && f[1] == "Read":
			read = number(t, f[2])
		case f[0] == dev && f[1] == "Write":
			written = number(t, f[2])
		}
	}
	return read, written
}

// TestDisk reads and writes past the page cache: /proc/diskstats, iostat and
// the kernel's own count agree, and a neighbour's I/O does not show. Tolerance:
// 256 KiB, for what the file system writes of its own.
func TestDisk(t *testing.T) {
	const tolerance = 512 // sectors
	dir := t.TempDir()
	file := dir + "/file"
	dev, name := disk(t, dir)
	pod := fixture.NewGroup(t)
	g, other := pod.Child(t), pod.Child(t)
	for _, g := range []*fixture.Group{g, other} {
		if g.File("io.stat") == "" {
			// v1 kernels of late count only where a throttle is set.
			g.Set(t, "", "blkio.throttle.write_bps_device", dev+" 1099511627776")
			g.Set(t, "", "blkio.throttle.read_bps_device", dev+" 1099511627776")
		}
		g.Set(t, "memory.max", "memory.limit_in_bytes", strconv.Itoa(256*mib))
	}
	b := box.New(t, g, daemon.Mountpoint)
	text := func() string { return b.Output(t, "cat", "/proc/diskstats") }
	read0, written0 := diskLine(t, text(), name)
	bareRead, bareWritten := diskLine(t, readFile(t, "/proc/diskstats"), name)

	w := newWorker(t, b, "write", "16", file)
	w.do()
	w.end()
	r := newWorker(t, b, "read", "8", file)
	r.do()
	r.end()
	neighbour := start(t, other.Command, "write", "24", dir+"/other")
	neighbour.do()
	neighbour.end()

	within(t, "sectors written", 16*2048, tolerance, func() float64 { _, n := diskLine(t, text(), name); return n - written0 })
	within(t, "sectors read", 8*2048, tolerance, func() float64 { n, _ := diskLine(t, text(), name); return n - read0 })
	// Bare Linux tells of all, and of what others do.
	r2, w2 := diskLine(t, readFile(t, "/proc/diskstats"), name)
	if r2-bareRead < 8*2048 || w2-bareWritten < (16+24)*2048 {
		t.Errorf("the disk tells of %.0f and %.0f sectors, want %d and %d", r2-bareRead, w2-bareWritten, 8*2048, (16+24)*2048)
	}
	read, written := diskLine(t, text(), name)
	kernelRead, kernelWritten := ioStat(t, g, dev)
	if math.Abs(read-kernelRead/512) > 8 || math.Abs(written-kernelWritten/512) > tolerance {
		t.Errorf("%.0f and %.0f sectors, but the kernel counts %.0f and %.0f", read, written, kernelRead/512, kernelWritten/512)
	}

	// Only for all partitions it reads /proc/diskstats, else /sys/block (sysstat 12).
	cmd := b.Command("iostat", "-d", "-k", "-p", "ALL")
	cmd.Env = append(cmd.Environ(), "LC_ALL=C")
	out, err := box.Run(cmd)
	if err != nil {
		t.Fatal(err)
	}
	var head []string
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) > 0 && f[0] == "Device" {
			head = f
		}
		if len(f) == 0 || f[0] != name {
			continue
		}
		for i, column := range head {
			switch want := map[string]float64{"kB_read": read / 2, "kB_wrtn": written / 2}[column]; {
			case want != 0 && math.Abs(number(t, f[i])-want) > tolerance/2:
				t.Errorf("%s of iostat: got %s, want %.0f", column, f[i], want)
			}
		}
	}
	if head == nil {
		t.Errorf("iostat prints %q", out)
	}
}
