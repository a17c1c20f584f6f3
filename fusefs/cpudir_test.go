package fusefs_test

import (
	"errors"
	"hash/fnv"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// cpuHost makes a host with four CPUs, as sysfs lays them out. As on most, the
// first can't be taken off-line.
func cpuHost(t *testing.T, m *mounted) {
	t.Helper()
	dir := filepath.Join(m.root, view.CPUDir)
	all := map[string]string{
		"online": "0-3\n", "possible": "0-3\n", "present": "0-3\n", "offline": ",4-7\n", "kernel_max": "8191\n",
		"isolated": "0,3\n", "nohz_full": "(null)\n", "enabled": "0-3\n", "crash_hotplug": "1\n",
		"smt/active": "1\n", "smt/control": "on\n", "vulnerabilities/meltdown": "Not affected\n",
		"cpufreq/policy0/affected_cpus": "0 1\n", "cpufreq/policy0/related_cpus": "0 1\n", "cpufreq/policy0/scaling_driver": "x\n",
		"cpufreq/policy2/affected_cpus": "2 3\n", "cpufreq/policy2/related_cpus": "2 3\n", "cpufreq/policy2/scaling_driver": "x\n",
	}
	for i, pair := range []string{"0-1", "0-1", "2-3", "2-3"} {
		cpu := "cpu" + string(rune('0'+i)) + "/"
		mask := map[string]string{"0-1": "3\n", "2-3": "c\n"}[pair]
		one := []string{"1\n", "2\n", "4\n", "8\n"}[i]
		for name, content := range map[string]string{
			"topology/physical_package_id": "1\n", "topology/core_id": "7\n", "topology/die_id": "3\n", "topology/ppin": "0x5\n",
			"topology/core_cpus": mask, "topology/core_cpus_list": pair + "\n",
			"topology/thread_siblings": mask, "topology/thread_siblings_list": pair + "\n",
			"topology/core_siblings": "f\n", "topology/core_siblings_list": "0-3\n",
			"topology/package_cpus": "f\n", "topology/package_cpus_list": "0-3\n",
			"topology/book_siblings": "f\n", "topology/drawer_siblings_list": "0-3\n",
			"cache/index0/shared_cpu_map": mask, "cache/index0/shared_cpu_list": pair + "\n",
			"cache/index1/shared_cpu_map": one, "cache/index0/size": "32K\n",
			"hotplug/state": "236\n", "hotplug/target": "236\n", "hotplug/fail": "-1\n",
			"microcode/version": "0x1\n", "power/energy_perf_bias": "6\n", "power/control": "auto\n", "pmc1": "0\n",
			"online": "1\n", "which": string(rune('0'+i)) + "\n",
		} {
			if i > 0 || name != "online" {
				all[cpu+name] = content
			}
		}
	}
	for name, content := range all {
		write(t, filepath.Join(dir, name), content)
	}
	for _, cpu := range []string{"cpu0", "cpu1", "cpu2", "cpu3"} {
		if err := os.Symlink("../../../../bus/cpu", filepath.Join(dir, cpu, "subsystem")); err != nil {
			t.Fatal(err)
		}
	}
}

// names are those in a directory, blanks between them.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

// contents compares files with what they should hold, sizes and modes too.
func contents(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	for file, want := range want {
		if got := read(t, filepath.Join(dir, file)); got != want {
			t.Errorf("%s is %q, want %q", file, got, want)
		}
		if st, err := os.Stat(filepath.Join(dir, file)); err != nil || st.Size() != int64(len(want)) || st.Mode() != 0o444 {
			t.Errorf("%s has size %d and mode %v (%v)", file, st.Size(), st.Mode(), err)
		}
	}
}

func missing(t *testing.T, dir string, files ...string) {
	t.Helper()
	for _, file := range files {
		if _, err := os.Stat(filepath.Join(dir, file)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v, want that it does not exist", file, err)
		}
	}
}

func TestCPUDirectory(t *testing.T) {
	m := mount(t)
	cpuHost(t, m)
	m.set(t, "cpu.max", "max 100000\n")
	m.set(t, "cpuset.cpus.effective", "1-3\n")
	dir := m.path(view.CPUDir)
	for sub, want := range map[string]string{
		"": "cpu0 cpu1 cpu2 cpu3 cpufreq crash_hotplug enabled isolated kernel_max nohz_full offline online possible present smt vulnerabilities",
		// CPU 0 is off-line.
		"cpu0":       "hotplug online power subsystem which",
		"cpu0/power": "control",
		"cpu1":       "cache hotplug microcode online pmc1 power subsystem topology which",
		"cpu1/power": "control energy_perf_bias",
	} {
		if got := names(t, filepath.Join(dir, sub)); got != want {
			t.Errorf("%s has %s, want %s", sub, got, want)
		}
	}
	contents(t, dir, map[string]string{
		"online": "1-3\n", "possible": "0-3\n", "present": "0-3\n", "offline": "0,4-7\n", "kernel_max": "8191\n",
		"isolated": "3\n", "nohz_full": "(null)\n", "enabled": "1-3\n", "crash_hotplug": "1\n",
		"smt/active": "1\n", "smt/control": "on\n", "vulnerabilities/meltdown": "Not affected\n",
		"cpufreq/policy0/affected_cpus": "1\n", "cpufreq/policy0/related_cpus": "1\n", "cpufreq/policy0/scaling_driver": "x\n",
		"cpufreq/policy2/affected_cpus": "2 3\n",
		"cpu0/which":                    "0\n", "cpu2/which": "2\n",
		"cpu0/online": "0\n", "cpu0/hotplug/state": "0\n", "cpu0/hotplug/target": "0\n", "cpu0/hotplug/fail": "-1\n",
		"cpu1/online": "1\n", "cpu1/hotplug/state": "236\n",
		"cpu2/topology/physical_package_id": "1\n", "cpu2/topology/core_id": "7\n", "cpu2/topology/die_id": "3\n", "cpu2/topology/ppin": "0x5\n",
		"cpu2/topology/core_cpus": "c\n", "cpu2/topology/core_cpus_list": "2-3\n",
		"cpu1/topology/thread_siblings": "2\n", "cpu1/topology/thread_siblings_list": "1\n",
		"cpu1/topology/core_siblings": "e\n", "cpu1/topology/package_cpus_list": "1-3\n",
		"cpu1/topology/book_siblings": "e\n", "cpu1/topology/drawer_siblings_list": "1-3\n",
		"cpu1/cache/index0/shared_cpu_list": "1\n", "cpu1/cache/index0/shared_cpu_map": "2\n",
		"cpu3/cache/index0/shared_cpu_list": "2-3\n", "cpu2/cache/index0/shared_cpu_map": "c\n",
		"cpu1/cache/index1/shared_cpu_map": "2\n", "cpu1/cache/index0/size": "32K\n",
	})
	if to, err := os.Readlink(filepath.Join(dir, "cpu0/subsystem")); err != nil || to != "../../../../bus/cpu" {
		t.Errorf("the link leads to %q, %v", to, err)
	}
	missing(t, dir, "cpu4", "cpu4/online", "cpu01", "nothing", "cpu0/nothing", "cpu1/topology/../../../x",
		"cpu0/topology", "cpu0/topology/core_id", "cpu0/cache/index0/size", "cpu0/microcode/version", "cpu0/power/energy_perf_bias", "cpu0/pmc1")
}

// TestCPUDirectoryFollowsLimits: a second after a limit has changed, the CPUs that it
// takes away are off-line, and those that it gives back are on-line.
func TestCPUDirectoryFollowsLimits(t *testing.T) {
	m := mount(t)
	cpuHost(t, m)
	m.set(t, "cpu.max", "max 100000\n")
	m.set(t, "cpuset.cpus.effective", "0-3\n")
	dir := m.path(view.CPUDir)
	all := func() {
		t.Helper()
		// Nothing is cut: the files are the host's.
		contents(t, dir, map[string]string{
			"online": "0-3\n", "offline": ",4-7\n", "isolated": "0,3\n", "smt/active": "1\n", "cpu1/online": "1\n",
			"cpu1/hotplug/state": "236\n", "cpu1/topology/core_id": "7\n", "cpufreq/policy0/scaling_driver": "x\n",
		})
		missing(t, dir, "cpu0/online")
	}
	all()
	for _, set := range []string{"2\n", "0-3\n", "2\n"} {
		m.set(t, "cpuset.cpus.effective", set)
		time.Sleep(time.Second)
		if set == "0-3\n" {
			all()
			continue
		}
		contents(t, dir, map[string]string{
			"online": "2\n", "offline": "0-1,3-7\n", "isolated": "\n", "smt/active": "0\n",
			"cpu0/online": "0\n", "cpu1/online": "0\n", "cpu1/hotplug/state": "0\n", "cpu2/topology/core_cpus": "4\n",
			"cpufreq/policy2/affected_cpus": "2\n",
		})
		missing(t, dir, "cpu1/topology", "cpu1/topology/core_id", "cpu3/cache/index0/size")
		if _, err := os.ReadFile(filepath.Join(dir, "cpufreq/policy0/scaling_driver")); !errors.Is(err, unix.EBUSY) {
			t.Errorf("a policy without a CPU on-line: %v, want EBUSY", err)
		}
	}
}

// TestCPUDirectoryOfOddHosts: what a host lacks costs nothing else.
func TestCPUDirectoryOfOddHosts(t *testing.T) {
	for name, host := range map[string]struct {
		lacks []string
		want  map[string]string
	}{
		"no possible": {[]string{"possible"}, map[string]string{"possible": "0-3\n", "present": "0-3\n", "online": "1-3\n", "offline": "0,4-7\n"}},
		"no present":  {[]string{"present"}, map[string]string{"possible": "0-3\n", "present": "0-3\n", "online": "1-3\n"}},
		"no lists":    {[]string{"online", "possible", "present", "offline"}, map[string]string{"possible": "0-3\n", "present": "0-3\n", "online": "1-3\n"}},
		"no topology": {[]string{"cpu1/topology", "cpu2/topology", "cpu3/topology"}, map[string]string{"smt/active": "1\n", "cpu1/online": "1\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			m, log := machine(t)
			cpuHost(t, m)
			m.set(t, "cpu.max", "max 100000\n")
			m.set(t, "cpuset.cpus.effective", "1-3\n")
			write(t, m.root+"/proc/stat", "cpu  4 0 0 0\ncpu0 1 0 0 0\ncpu1 1 0 0 0\ncpu2 1 0 0 0\ncpu3 1 0 0 0\nbtime 1\n")
			for _, name := range host.lacks {
				if err := os.RemoveAll(filepath.Join(m.root, view.CPUDir, name)); err != nil {
					t.Fatal(err)
				}
			}
			serve(t, m, log)
			contents(t, m.path(view.CPUDir), host.want)
		})
	}
}

// TestCPUNodeNumbersStay: a name has the number that each version before gave it,
// so that a kernel which knows the numbers reads what it asks the successor for.
func TestCPUNodeNumbersStay(t *testing.T) {
	m := mount(t)
	cpuHost(t, m)
	m.set(t, "cpu.max", "max 100000\n")
	const number = 1<<39 | 3<<26
	h := fnv.New64a()
	h.Write([]byte("topology/core_id"))
	for name, want := range map[string]uint64{"cpu2": number, "cpu2/topology/core_id": number | h.Sum64()&(1<<26-1)} {
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(m.path(view.CPUDir), name), &st); err != nil || st.Ino&(1<<40-1) != want {
			t.Errorf("%s has number %#x (%v), want %#x", name, st.Ino&(1<<40-1), err, want)
		}
	}
}

// TestRealCPUDirectory has this machine's own directory read through, whole,
// and asks lscpu.
func TestRealCPUDirectory(t *testing.T) {
	dir := mountLive(t)
	count := 0
	err := filepath.WalkDir("/"+view.CPUDir, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		host, err := os.Lstat(p)
		if err != nil {
			return err
		}
		ours, err := os.Lstat(filepath.Join(dir, p))
		if err != nil || ours.Mode().Type() != host.Mode().Type() || ours.Mode().Perm() != host.Mode().Perm()&0o555 {
			t.Errorf("%s: %v, want %v without write (%v)", p, ours, host.Mode(), err)
		}
		count++
		return nil
	})
	if err != nil || count < 50 {
		t.Errorf("%d entries, %v", count, err)
	}
	host, err1 := exec.Command("lscpu", "-p=CPU,CORE,SOCKET").Output()
	out, err2 := exec.Command("unshare", "-m", "sh", "-c", "mount --bind "+dir+"/"+view.CPUDir+" /"+view.CPUDir+" && exec lscpu -p=CPU,CORE,SOCKET").Output()
	if err1 != nil || err2 != nil || strings.Count(string(out), "\n") != strings.Count(string(host), "\n") {
		t.Errorf("lscpu: %v %v, host:\n%s\nours:\n%s", err1, err2, host, out)
	}
}
