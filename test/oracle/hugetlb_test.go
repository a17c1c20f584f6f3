package oracle

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
	"github.com/lxcfs-nri/lxcfs-nri/test/box"
	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

// TestHugetlb: a group that may use four huge pages is shown those, and which
// of them are free. Where groups have no such limit, none are shown.
func TestHugetlb(t *testing.T) {
	g := fixture.NewGroup(t)
	g.Set(t, "memory.max", "memory.limit_in_bytes", strconv.Itoa(64*mib))
	b := box.New(t, g, daemon.Mountpoint)
	shows := func(total, free, memory int64) {
		t.Helper()
		err := rig.Poll(t.Context(), settling, func() (err error) {
			m := meminfo(t, b)
			for line, want := range map[string]int64{"HugePages_Total": total, "HugePages_Free": free, "Hugetlb": memory} {
				if m[line] != want {
					err = errors.Join(err, fmt.Errorf("%s: got %d, want %d", line, m[line], want))
				}
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	shows(0, 0, 0)
	size := parseMeminfo(t, readFile(t, "/proc/meminfo"))["Hugepagesize"]
	prefix := "hugetlb." + strconv.FormatInt(size/mib, 10) + "MB."
	if g.File(prefix+"max") == "" && g.File(prefix+"limit_in_bytes") == "" {
		return
	}
	reserve(t, 8)
	shows(0, 0, 0) // there is still no limit
	g.Set(t, prefix+"max", prefix+"limit_in_bytes", strconv.FormatInt(4*size, 10))
	shows(4, 4, 4*size)
	w := newWorker(t, b, "hugetlb", strconv.FormatInt(2*size/mib, 10))
	w.do()
	shows(4, 2, 4*size)
	w.end()
	shows(4, 4, 4*size)
	g.Set(t, prefix+"max", prefix+"limit_in_bytes", strconv.FormatInt(100*size, 10))
	shows(8, 8, 8*size) // the machine has no more
}

// reserve has the machine keep so many huge pages ready.
func reserve(t *testing.T, n int) {
	t.Helper()
	const file = "/proc/sys/vm/nr_hugepages"
	old := readFile(t, file)
	t.Cleanup(func() {
		if err := os.WriteFile(file, []byte(old), 0); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(file, []byte(strconv.Itoa(n)), 0); err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(readFile(t, file)); got != strconv.Itoa(n) {
		t.Fatalf("%s huge pages could be reserved, want %d", got, n)
	}
}
