package view

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
)

// cpuModel is a machine for which x86CPUInfo prints what the kernel would.
type cpuModel struct {
	packs, dies, cores, threads int  // of each in the one before
	dieCoreIDs                  bool // core ids begin again in each die
	threadsLast                 bool // CPUs are numbered core by core, then the other threads
	single                      int  // so many cores of a die, the last, have one thread only
}

// x86CPU is where a CPU is, and what names it.
type x86CPU struct{ pack, core, coreID, apic int }

func (m cpuModel) cpus() (all []x86CPU) {
	core := 0
	for p := range m.packs {
		for d := range m.dies {
			for c := range m.cores {
				id := c
				if !m.dieCoreIDs {
					id += d * m.cores
				}
				for t := range m.threads {
					if t > 0 && c >= m.cores-m.single {
						continue
					}
					smt := bits.Len(uint(m.threads - 1))
					all = append(all, x86CPU{p, core, id, ((p*m.dies+d)*m.cores+c)<<smt | t})
				}
				core++
			}
		}
	}
	if m.threadsLast {
		slices.SortStableFunc(all, func(a, b x86CPU) int { return a.apic%m.threads - b.apic%m.threads })
	}
	return all
}

// x86CPUInfo prints the CPUs in set, which are the on-line ones, as show_cpuinfo of
// arch/x86/kernel/cpu/proc.c does.
func x86CPUInfo(all []x86CPU, set []int) (b []byte) {
	siblings, cores := map[int]int{}, map[int]map[int]bool{}
	for _, i := range set {
		c := all[i]
		siblings[c.pack]++
		if cores[c.pack] == nil {
			cores[c.pack] = map[int]bool{}
		}
		cores[c.pack][c.core] = true
	}
	for _, i := range set {
		c := all[i]
		b = fmt.Appendf(b, "processor\t: %d\nvendor_id\t: GenuineIntel\nphysical id\t: %d\nsiblings\t: %d\n"+
			"core id\t\t: %d\ncpu cores\t: %d\napicid\t\t: %d\ninitial apicid\t: %d\nfpu\t\t: yes\n\n",
			i, c.pack, siblings[c.pack], c.coreID, len(cores[c.pack]), c.apic, c.apic)
	}
	return b
}

// TestCPUInfoIsTheKernels: what is shown of a machine is what the kernel would print
// if the CPUs that are not shown were off-line.
func TestCPUInfoIsTheKernels(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for name, m := range map[string]cpuModel{
		"one CPU":                       {packs: 1, dies: 1, cores: 1, threads: 1},
		"cores":                         {packs: 1, dies: 1, cores: 6, threads: 1},
		"threads":                       {packs: 2, dies: 1, cores: 4, threads: 2},
		"threads last":                  {packs: 2, dies: 1, cores: 8, threads: 2, threadsLast: true},
		"dies":                          {packs: 2, dies: 4, cores: 4, threads: 2, threadsLast: true},
		"core ids begin in each die":    {packs: 2, dies: 2, cores: 4, threads: 2, dieCoreIDs: true},
		"the same without threads":      {packs: 2, dies: 2, cores: 4, threads: 1, dieCoreIDs: true},
		"four threads":                  {packs: 1, dies: 1, cores: 18, threads: 4},
		"cores of two kinds":            {packs: 1, dies: 1, cores: 12, threads: 2, single: 8},
		"cores of two kinds, many dies": {packs: 1, dies: 3, cores: 5, threads: 2, single: 2, dieCoreIDs: true},
	} {
		all := m.cpus()
		blocks, err := parseCPUInfo(x86CPUInfo(all, count(len(all))))
		if err != nil {
			t.Fatal(err)
		}
		mem := new(scratch)
		for range 200 {
			set := []int{}
			for i := range all {
				if random.IntN(3) == 0 {
					set = append(set, i)
				}
			}
			if diff := cmp.Diff(string(x86CPUInfo(all, set)), string(appendCPUBlocks(nil, blocks, set, mem))); diff != "" {
				t.Fatalf("%s: %v: %s", name, set, diff)
			}
		}
	}
	if _, err := parseCPUInfo([]byte("nothing\n")); err == nil {
		t.Error("a file without CPUs was taken")
	}
}

// TestWholeCPUInfoIsTheHosts also where ids make no sense.
func TestWholeCPUInfoIsTheHosts(t *testing.T) {
	const host = "processor\t: 3\nphysical id\t: 0\nsiblings\t: 9\ncore id\t\t: 0\ncpu cores\t: 7\napicid\t\t: 0\n\n" +
		"processor\t: 5\nphysical id\t: 0\nsiblings\t:9\ncore id\t\t: 0\ncpu cores\t: many\napicid\t\t: x\n\n"
	blocks, err := parseCPUInfo([]byte(host))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(host, string(appendCPUBlocks(nil, blocks, []int{3, 5}, new(scratch)))); diff != "" {
		t.Error(diff)
	}
	want := "processor\t: 5\nphysical id\t: 0\nsiblings\t:1\ncore id\t\t: 0\ncpu cores\t: many\napicid\t\t: x\n\n"
	if diff := cmp.Diff(want, string(appendCPUBlocks(nil, blocks, []int{5}, new(scratch)))); diff != "" {
		t.Error(diff)
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
		"arm":     {"Cortex-A53", map[string]string{"processor": "1"}},
		"arm64":   {"Cortex-A55", map[string]string{"processor": "1 3"}},
		"ppc64le": {"POWER9, altivec supported", map[string]string{"processor": "4 12"}},
		"s390x": {"IBM/S390", map[string]string{
			"cpu number": "1 2", "core id": "0 1", "address": "1 2", "physical id": "2 2", "book id": "1 1",
			"drawer id": "3 3", "siblings": "2 2", "cpu cores": "2 2", "# processors": "2", "max thread id": "1",
			"processor 1":     "version = FF,  identification = 01C5E8,  machine = 8561",
			"processor 2":     "version = FF,  identification = 01C5E8,  machine = 8561",
			"cpu MHz dynamic": "5201 5202",
		}},
		"riscv64": {"", map[string]string{"processor": "1 2 3", "hart": "2 3 4"}},
		"loong64": {"4400.00", map[string]string{
			"processor": "1 3", "package": "0 1", "core": "1 1", "global_id": "1 17", "system type": "generic-loongson-machine",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			view, shown := archView(t, "testdata/cpuinfo/"+name+".txtar")
			for key, numbers := range want.ids {
				if got := strings.Join(values(view, key), " "); got != numbers {
					t.Errorf("%s: %q, want %q", key, got, numbers)
				}
			}
			if got := lscpu(t, view, shown); !strings.Contains(got, want.lscpu) {
				t.Errorf("lscpu does not find %q in\n%s\nbut\n%s", want.lscpu, view, got)
			}
		})
	}
}

// archView renders an archive's CPUs shown, and compares with what it holds.
func archView(t *testing.T, archive string) (view string, set []int) {
	t.Helper()
	a, err := txtar.ParseFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	shown, _, _ := strings.Cut(strings.TrimPrefix(string(a.Comment), "shown: "), "\n")
	set, err = cgroup.ParseCPUs([]byte(shown), nil)
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := parseCPUInfo(a.Files[0].Data)
	if err != nil {
		t.Fatal(err)
	}
	got := appendCPUBlocks(nil, blocks, set, new(scratch))
	if *update {
		a.Files[1].Data = got
		if err := os.WriteFile(archive, txtar.Format(a), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(a.Files[1].Data), string(got)); diff != "" {
		t.Error(diff)
	}
	return string(got), set
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

// lscpu is what util-linux makes of a machine with that cpuinfo, whose other CPUs
// are off-line.
func lscpu(t *testing.T, cpuinfo string, online []int) string {
	t.Helper()
	root := t.TempDir()
	write(t, root+"/proc/cpuinfo", []byte(cpuinfo))
	possible := online[len(online)-1] + 2
	write(t, root+"/"+CPUDir+"/online", appendCPUList(nil, online))
	for _, f := range []string{"possible", "present"} {
		write(t, root+"/"+CPUDir+"/"+f, appendCPUList(nil, count(possible)))
	}
	for _, i := range online {
		write(t, root+"/"+CPUDir+"/cpu"+strconv.Itoa(i)+"/topology/core_id", fmt.Appendln(nil, i))
	}
	out, err := exec.CommandContext(t.Context(), "lscpu", "--sysroot", root).CombinedOutput()
	if err != nil {
		t.Fatalf("lscpu (Debian's package util-linux): %v: %s", err, out)
	}
	got, err := cgroup.ParseCPUs([]byte(strings.Join(values(string(out), "On-line CPU(s) list"), " ")), nil)
	if diff := cmp.Diff(online, got); err != nil || diff != "" {
		t.Errorf("lscpu finds other CPUs (%v): %s", err, diff)
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
