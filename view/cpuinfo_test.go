package view

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
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

// TestCPUInfoOfArchitectures: archives of what other machines print, by the
// kernel functions that their heads name, of the CPUs shown, and of the view.
// lscpu has to find its way in the view.
func TestCPUInfoOfArchitectures(t *testing.T) {
	for name, want := range map[string]struct {
		lscpu string // tells this; "" where it knows no key of the architecture
		ids   map[string]string
	}{
		"arm":     {"Cortex-A53", map[string]string{"processor": "0"}},
		"arm64":   {"Cortex-A55", map[string]string{"processor": "0 1"}},
		"ppc64le": {"POWER9, altivec supported", map[string]string{"processor": "0 1"}},
		"s390x": {"IBM/S390", map[string]string{
			"cpu number": "0 1", "core id": "0 1", "address": "0 1", "physical id": "0 0", "book id": "0 0",
			"drawer id": "0 0", "siblings": "2 2", "cpu cores": "2 2", "# processors": "2", "max thread id": "0",
			"processor 0": "version = FF,  identification = 01C5E8,  machine = 8561",
			"processor 1": "version = FF,  identification = 01C5E8,  machine = 8561",
			// They tell which of the host's CPUs are shown.
			"cpu MHz dynamic": "5201 5202",
		}},
		"riscv64": {"", map[string]string{"processor": "0 1 2", "hart": "0 1 2"}},
		"loong64": {"4400.00", map[string]string{
			"processor": "0 1", "package": "0 0", "core": "0 1", "global_id": "0 1", "system type": "generic-loongson-machine",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			view := archView(t, "testdata/cpuinfo/"+name+".txtar")
			for key, numbers := range want.ids {
				if got := strings.Join(values(view, key), " "); got != numbers {
					t.Errorf("%s: %q, want %q", key, got, numbers)
				}
			}
			if got := lscpu(t, view, len(values(view, "processor"))+len(values(view, "cpu number"))); !strings.Contains(got, want.lscpu) {
				t.Errorf("lscpu does not find %q in\n%s\nbut\n%s", want.lscpu, view, got)
			}
		})
	}
}

// archView renders an archive's CPUs shown, and compares with what it holds.
func archView(t *testing.T, archive string) string {
	t.Helper()
	a, err := txtar.ParseFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	shown, _, _ := strings.Cut(strings.TrimPrefix(string(a.Comment), "shown: "), "\n")
	set, err := cgroup.ParseCPUs([]byte(shown), nil)
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := parseCPUInfo(a.Files[0].Data)
	if err != nil {
		t.Fatal(err)
	}
	got := appendCPUBlocks(nil, blocks, set)
	if *update {
		a.Files[1].Data = got
		if err := os.WriteFile(archive, txtar.Format(a), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(a.Files[1].Data), string(got)); diff != "" {
		t.Error(diff)
	}
	return string(got)
}

// values are those of a key, line by line.
func values(text, key string) (all []string) {
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == key {
			all = append(all, strings.TrimSpace(v))
		}
	}
	return all
}

// lscpu is what util-linux makes of a machine with that cpuinfo and n CPUs.
func lscpu(t *testing.T, cpuinfo string, n int) string {
	t.Helper()
	root := t.TempDir()
	write(t, root+"/proc/cpuinfo", []byte(cpuinfo))
	for _, f := range []string{"online", "possible", "present"} {
		write(t, root+"/"+CPUDir+"/"+f, appendCPUList(nil, count(n)))
	}
	for i := range n {
		write(t, root+"/"+CPUDir+"/cpu"+strconv.Itoa(i)+"/topology/core_id", fmt.Appendln(nil, i))
	}
	out, err := exec.CommandContext(t.Context(), "lscpu", "--sysroot", root).CombinedOutput()
	if err != nil {
		t.Fatalf("lscpu (Debian's package util-linux): %v: %s", err, out)
	}
	if got := strings.Join(values(string(out), "CPU(s)"), " "); got != strconv.Itoa(n) {
		t.Errorf("lscpu finds %s CPUs, want %d", got, n)
	}
	return string(out)
}

func count(n int) (all []int) {
	for i := range n {
		all = append(all, i)
	}
	return all
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
