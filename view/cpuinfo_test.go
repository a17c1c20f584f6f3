package view

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCPUInfoRenumbers(t *testing.T) {
	for _, c := range []struct {
		name, host string
		set        []int
		want       string
	}{
		{
			"x86: the second of two",
			"processor\t: 0\nphysical id\t: 0\nsiblings\t: 2\ncore id\t\t: 0\ncpu cores\t: 2\napicid\t\t: 0\nflags\t\t: a b\n\n" +
				"processor\t: 1\nphysical id\t: 1\nsiblings\t: 2\ncore id\t\t: 7\ncpu cores\t: 2\napicid\t\t: 9\nflags\t\t: a b\n\n",
			[]int{1},
			"processor\t: 0\nphysical id\t: 0\nsiblings\t: 1\ncore id\t\t: 0\ncpu cores\t: 1\napicid\t\t: 0\nflags\t\t: a b\n\n",
		},
		{
			"arm: a trailer stays",
			"processor\t: 0\nFeatures\t: fp\n\nprocessor\t: 1\nFeatures\t: fp\n\nHardware\t: X\nRevision\t: 1\n",
			[]int{1},
			"processor\t: 0\nFeatures\t: fp\n\nHardware\t: X\nRevision\t: 1\n",
		},
		{
			"s390x: head, one line a CPU, then blocks",
			"vendor_id       : IBM/S390\n# processors    : 3\nmax thread id   : 0\nprocessor 0: version = FF\nprocessor 1: version = FF\nprocessor 2: version = FF\n\n" +
				"cpu number      : 0\ncpu MHz static  : 1\n\ncpu number      : 1\ncpu MHz static  : 2\n\ncpu number      : 2\ncpu MHz static  : 3\n\n",
			[]int{0, 2},
			"vendor_id       : IBM/S390\n# processors    : 2\nmax thread id   : 0\nprocessor 0: version = FF\nprocessor 1: version = FF\n\n" +
				"cpu number      : 0\ncpu MHz static  : 1\n\ncpu number      : 1\ncpu MHz static  : 3\n\n",
		},
	} {
		blocks, err := parseCPUInfo([]byte(c.host))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if diff := cmp.Diff(c.want, string(appendCPUBlocks(nil, blocks, c.set))); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
	if _, err := parseCPUInfo([]byte("nothing\n")); err == nil {
		t.Error("a file without CPUs was taken")
	}
}

func TestUptimeAndTicks(t *testing.T) {
	for n, want := range map[uint64]string{0: "0.00", 7: "0.07", 110: "1.10", 12345: "123.45"} {
		if got := string(appendHundredths(nil, n)); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}

func TestSwapsColumns(t *testing.T) {
	const header = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
	none := "none" + strings.Repeat(" ", 36) + "virtual\t\t"
	for _, c := range []struct {
		s    swap
		want string
	}{
		{swap{}, header},
		{swap{total: 1024, used: 7}, header + none + "1024\t\t7\t\t0\n"},
		{swap{total: 10_000_000}, header + none + "10000000\t0\t\t0\n"},
		{swap{total: 5, host: true}, header + "/dev/sda1 partition\n"},
	} {
		if got := string(c.s.append(nil, []byte(header+"/dev/sda1 partition\n"))); got != c.want {
			t.Errorf("%+v is %q, want %q", c.s, got, c.want)
		}
	}
}
