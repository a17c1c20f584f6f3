package fusefs_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// cpuHost makes a host with four CPUs, as sysfs lays them out.
func cpuHost(t *testing.T, m *mounted) {
	t.Helper()
	dir := filepath.Join(m.root, view.CPUDir)
	all := map[string]string{
		"online": "0-3\n", "possible": "0-3\n", "present": "0-3\n", "offline": "\n", "kernel_max": "8191\n",
		"smt/active": "1\n", "vulnerabilities/meltdown": "Not affected\n",
	}
	for i, pair := range []string{"0-1", "0-1", "2-3", "2-3"} {
		cpu := "cpu" + string(rune('0'+i)) + "/"
		mask := map[string]string{"0-1": "3\n", "2-3": "c\n"}[pair]
		one := []string{"1\n", "2\n", "4\n", "8\n"}[i]
		for name, content := range map[string]string{
			"topology/physical_package_id": "1\n", "topology/core_id": "7\n", "topology/die_id": "3\n",
			"topology/core_cpus": mask, "topology/core_cpus_list": pair + "\n",
			"topology/thread_siblings": mask, "topology/thread_siblings_list": pair + "\n",
			"topology/core_siblings": "f\n", "topology/core_siblings_list": "0-3\n",
			"topology/package_cpus": "f\n", "topology/package_cpus_list": "0-3\n",
			"cache/index0/shared_cpu_map": mask, "cache/index0/shared_cpu_list": pair + "\n",
			"cache/index1/shared_cpu_map": one, "cache/index0/size": "32K\n",
			"online": "1\n", "which": string(rune('0'+i)) + "\n",
		} {
			all[cpu+name] = content
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

func TestCPUDirectory(t *testing.T) {
	m := mount(t)
	cpuHost(t, m)
	m.set(t, "cpu.max", "max 100000\n")
	m.set(t, "cpuset.cpus.effective", "1-3\n")
	dir := m.path(view.CPUDir)

	var names []string
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if rel, _ := filepath.Rel(dir, p); err == nil && !strings.Contains(rel, "/") {
			names = append(names, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{".", "cpu0", "cpu1", "cpu2", "kernel_max", "offline", "online", "possible", "present", "smt", "vulnerabilities"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	for file, want := range map[string]string{
		"online": "0-2\n", "possible": "0-2\n", "present": "0-2\n", "offline": "\n", "kernel_max": "8191\n",
		"smt/active": "1\n", "vulnerabilities/meltdown": "Not affected\n",
		"cpu0/which": "1\n", "cpu2/which": "3\n", // the host's CPU it stands for
		"cpu2/topology/physical_package_id": "0\n", "cpu2/topology/core_id": "2\n", "cpu2/topology/die_id": "0\n",
		"cpu2/topology/core_cpus": "4\n", "cpu2/topology/core_cpus_list": "2\n",
		"cpu1/topology/thread_siblings": "2\n", "cpu1/topology/thread_siblings_list": "1\n",
		"cpu1/topology/core_siblings": "7\n", "cpu1/topology/package_cpus_list": "0-2\n",
		// The host's 0-1 and 2-3 share a cache: of the shown, 0 alone, and 1-2.
		"cpu0/cache/index0/shared_cpu_list": "0\n", "cpu0/cache/index0/shared_cpu_map": "1\n",
		"cpu1/cache/index0/shared_cpu_list": "1-2\n", "cpu2/cache/index0/shared_cpu_map": "6\n",
		"cpu0/cache/index1/shared_cpu_map": "1\n", "cpu0/cache/index0/size": "32K\n",
	} {
		if got := read(t, filepath.Join(dir, file)); got != want {
			t.Errorf("%s is %q, want %q", file, got, want)
		}
		if st, err := os.Stat(filepath.Join(dir, file)); err != nil || st.Size() != int64(len(want)) || st.Mode() != 0o444 {
			t.Errorf("%s has size %d and mode %v (%v)", file, st.Size(), st.Mode(), err)
		}
	}
	if to, err := os.Readlink(filepath.Join(dir, "cpu1/subsystem")); err != nil || to != "../../../../bus/cpu" {
		t.Errorf("the link leads to %q, %v", to, err)
	}
	for _, missing := range []string{"cpu3", "cpu3/online", "cpu01", "nothing", "cpu0/nothing", "cpu0/topology/../../../x"} {
		if _, err := os.Stat(filepath.Join(dir, missing)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v, want that it does not exist", missing, err)
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
