package view

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
)

const testdata = "../cgroup/testdata/"

// TestManyCPUs: the shown CPUs are the host's from 96 on, with a core each. Only
// what the kernel counts is the view's.
func TestManyCPUs(t *testing.T) {
	for name, n := range map[string]int{"v1-large": 21, "v2-large": 32} {
		v := open(t, fixture.Load(t, testdata+name+".txtar"), Options{})
		p := parse(t, v)
		if len(p.cpuinfo) != n || len(p.stat.CPU) != n {
			t.Fatalf("%s: cpuinfo has %d CPUs, stat %d, want %d", name, len(p.cpuinfo), len(p.stat.CPU), n)
		}
		for i, c := range p.cpuinfo {
			got := []any{c.Processor, c.APICID, c.InitialAPICID, c.CoreID, c.PhysicalID, c.Siblings, c.CPUCores, c.CPUMHz}
			s := fmt.Sprint(96 + i)
			want := []any{uint(96 + i), s, s, s, "0", uint(n), uint(n), float64(2000 + 96 + i)}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: CPU %d: %s", name, 96+i, diff)
			}
			if _, ok := p.stat.CPU[int64(96+i)]; !ok {
				t.Errorf("%s: stat has no CPU %d", name, 96+i)
			}
		}
		var sum float64
		for _, c := range p.stat.CPU {
			sum += c.User + c.Nice + c.System + c.Idle + c.Steal
		}
		total := p.stat.CPUTotal
		if all := total.User + total.Nice + total.System + total.Idle + total.Steal; all < sum-0.01 || all > sum+0.01 || all == 0 {
			t.Errorf("%s: cpu has %.2f s, its CPUs %.2f", name, all, sum)
		}
		for file, want := range map[string]string{"online": fmt.Sprintf("96-%d\n", 95+n), "possible": "0-255\n", "present": "0-255\n"} {
			if got := string(render(t, v, CPUDir+"/"+file)); got != want {
				t.Errorf("%s: %s %q, want %q", name, file, got, want)
			}
		}
	}
}

// TestUsePerCPUOfAWholeCPUSet: v1 tells each CPU's use; the container's is on
// the host's CPU 97, the second of its cpuset.
func TestUsePerCPUOfAWholeCPUSet(t *testing.T) {
	c := fixture.Load(t, testdata+"v1-large.txtar")
	write(t, filepath.Join(c.Root, "sys/fs/cgroup/cpu/lxnri-fix/kubepods/burstable/pod1234/ctr/cpu.cfs_quota_us"), []byte("-1\n"))
	p := parse(t, open(t, c, Options{}))
	if len(p.stat.CPU) != 32 {
		t.Fatalf("%d CPUs, want 32", len(p.stat.CPU))
	}
	for i, cpu := range p.stat.CPU {
		if used := cpu.User+cpu.System > 1; used != (i == 97) {
			t.Errorf("CPU %d has used %.2f s, want some on CPU 97 only", i, cpu.User+cpu.System)
		}
	}
}

// TestManyDisks: figures of three of 40 disks, of three major numbers.
func TestManyDisks(t *testing.T) {
	const columns = " 0 0 0 0 0 0 0 0 0 0"
	want := map[string]string{
		"sda":  "   8       0 sda 1 0 8 0 2 0 16 0 0 0 0 0 0 0 0 0 0",
		"sdq":  "  65       0 sdq 3 0 24 0 4 0 32 0 0 0 0 0 0 0 0 0 0",
		"sdan": "  66     112 sdan 5 0 40 0 6 0 48 0 0 0 0 0 0 0 0 0 0",
		"sdb":  "   8      16 sdb 0 0 0 0 0 0 0" + columns,
		"sdam": "  66      96 sdam 0 0 0 0 0 0 0" + columns,
	}
	for _, name := range []string{"v1-large", "v2-large"} {
		v := open(t, fixture.Load(t, testdata+name+".txtar"), Options{})
		lines := strings.Split(strings.TrimSpace(string(render(t, v, "proc/diskstats"))), "\n")
		if len(lines) != 40 || strings.Fields(lines[0])[2] != "sda" || strings.Fields(lines[39])[2] != "sdan" {
			t.Errorf("%s: %d disks from %q to %q, want 40 from sda to sdan", name, len(lines), lines[0], lines[len(lines)-1])
		}
		for _, line := range lines {
			if w, ok := want[strings.Fields(line)[2]]; ok && strings.TrimSpace(line) != strings.TrimSpace(w) {
				t.Errorf("%s: got %q, want %q", name, line, w)
			}
		}
		var reads, writes uint64
		for _, d := range parse(t, v).disks {
			reads, writes = reads+d.ReadIOs, writes+d.WriteIOs
		}
		if reads != 1+3+5 || writes != 2+4+6 {
			t.Errorf("%s: a parser reads %d reads, %d writes, want 9 and 12", name, reads, writes)
		}
	}
}

func TestZswapIsTheGroups(t *testing.T) {
	v := open(t, fixture.Load(t, testdata+"v2-zswap.txtar"), Options{})
	m := parse(t, v).meminfo
	if *m.Zswap != 6144 || *m.Zswapped != 16384 {
		t.Errorf("Zswap %d kB, Zswapped %d, want 6144 and 16384", *m.Zswap, *m.Zswapped)
	}
	if text := string(render(t, v, "proc/meminfo")); !strings.Contains(text, "\nZswap:              6144 kB\nZswapped:          16384 kB\n") {
		t.Errorf("not the kernel's columns: %s", text)
	}
}

// TestCPUDirOfManyCPUs: masks of eight words, for CPUs in the middle, and what a
// CPU has that is off-line for the view.
func TestCPUDirOfManyCPUs(t *testing.T) {
	c := fixture.Load(t, testdata+"v2-large.txtar")
	fixture.CPUDir(t, c.Root, 256, 95, 96, 101, 112, 127)
	v := open(t, c, Options{})
	four := strings.Repeat("00000000,", 4)
	for _, f := range []struct {
		cpu        int
		path, want string
	}{
		{101, "which", "101\n"},
		{127, "which", "127\n"},
		{95, "which", "95\n"},
		{101, "topology/core_id", "101\n"},
		{101, "topology/physical_package_id", "1\n"},
		// CPU 229, the other thread of its core, is not in the cpuset.
		{101, "topology/core_cpus", four + "00000020,00000000,00000000,00000000\n"},
		{101, "topology/core_cpus_list", "101\n"},
		{127, "topology/thread_siblings", four + "80000000,00000000,00000000,00000000\n"},
		{96, "topology/package_cpus", four + "ffffffff,00000000,00000000,00000000\n"},
		{101, "cache/index0/shared_cpu_map", four + "00000020,00000000,00000000,00000000\n"},
		{101, "cache/index3/shared_cpu_map", four + "0000ffff,00000000,00000000,00000000\n"},
		{101, "cache/index3/shared_cpu_list", "96-111\n"},
		{112, "cache/index3/shared_cpu_map", four + "ffff0000,00000000,00000000,00000000\n"},
		{112, "cache/index3/shared_cpu_list", "112-127\n"},
		{95, "online", "0\n"},
	} {
		got, err := v.AppendCPUFile(CPUNode{CPU: f.cpu, Path: f.path}, nil)
		if err != nil || string(got) != f.want {
			t.Errorf("cpu%d/%s: got %q (%v), want %q", f.cpu, f.path, got, err, f.want)
		}
	}
	for _, n := range []CPUNode{{256, ""}, {256, "online"}, {95, "topology"}, {95, "topology/core_id"}, {95, "cache/index0/size"}} {
		if _, _, err := v.CPUEntry(n); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("cpu%d/%s: %v, want ErrNotExist", n.CPU, n.Path, err)
		}
	}
	all, err := v.CPUList(TopCPUNode)
	dirs := 0
	for _, e := range all {
		if e.Type.IsDir() {
			dirs++
		}
	}
	if dirs != 256 || err != nil {
		t.Errorf("%d directories (%v), want 256", dirs, err)
	}
}

// TestCPUsOfBothHalves: a cpuset with a gap, of more CPUs than a mask's word.
func TestCPUsOfBothHalves(t *testing.T) {
	c := fixture.Load(t, testdata+"v2-large.txtar")
	fixture.CPUDir(t, c.Root, 256, 224)
	const set = "sys/fs/cgroup/kubepods/burstable/pod1234/ctr/cpuset.cpus.effective"
	write(t, filepath.Join(c.Root, set), []byte("96-127,224-255\n"))
	v := open(t, c, Options{})
	const zeros = "00000000,00000000,00000000"
	for path, want := range map[string]string{
		"which":                        "224\n",
		"topology/package_cpus":        "ffffffff," + zeros + ",ffffffff," + zeros + "\n",
		"topology/core_cpus":           "00000001," + zeros + ",00000001," + zeros + "\n",
		"cache/index0/shared_cpu_map":  "00000001," + zeros + ",00000001," + zeros + "\n",
		"cache/index3/shared_cpu_list": "96-111,224-239\n",
	} {
		got, err := v.AppendCPUFile(CPUNode{CPU: 224, Path: path}, nil)
		if err != nil || string(got) != want {
			t.Errorf("cpu224/%s: got %q (%v), want %q", path, got, err, want)
		}
	}
}

// BenchmarkLarge renders each file on a machine of two CPUs and on one of 256.
func BenchmarkLarge(b *testing.B) {
	for _, name := range []string{"v1-limited", "v1-large", "v2-limited", "v2-large"} {
		v := open(b, fixture.Load(b, testdata+name+".txtar"), Options{})
		out := make([]byte, 0, 1<<20)
		for i := range Files {
			if Files[i].Append == nil {
				continue
			}
			b.Run(name+"/"+filepath.Base(Files[i].Path), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := v.Append(&Files[i], out); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		// What a reader pays once a second: the host's file, parsed anew.
		host, err := os.ReadFile(filepath.Join(v.host.root, "proc/cpuinfo"))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name+"/parse-cpuinfo", func(b *testing.B) {
			for b.Loop() {
				if _, err := parseCPUInfo(host); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
