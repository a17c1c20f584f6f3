package systemd

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/test/vm"
)

// many are more tasks than are looked at one by one (view.maxTasksScanned).
const many = 1100

// TestV1 has the unit on cgroup v1, of which systemd 257 knows nothing any more: of a
// group with very many tasks the kernel tells by generic netlink how many run.
func TestV1(t *testing.T) {
	n := boot(t, vm.Options{Kernel: "6.1", Release: "bookworm", Append: "systemd.unified_cgroup_hierarchy=0"})
	// Those that run are started last, when the others sleep: they have the highest
	// numbers, and would be overlooked.
	out := n.run(t, fmt.Sprintf(`
box() {
	for d in memory cpu,cpuacct cpuset pids; do
		mkdir -p /sys/fs/cgroup/$d/box
		[ $d != cpuset ] || for f in cpus mems; do cat /sys/fs/cgroup/$d/cpuset.$f >/sys/fs/cgroup/$d/box/cpuset.$f; done
		echo $$ >/sys/fs/cgroup/$d/box/cgroup.procs || exit
	done
	echo 600M >/sys/fs/cgroup/memory/box/memory.limit_in_bytes
}
box
cd /var/lib/lxcfs-nri/proc
for i in $(seq %d); do sleep 1000 & done
for i in $(seq 60); do
	read -r a b c running rest <loadavg
	case $running in [0-2]/*) break ;; esac
	sleep 1
done
for i in 1 2 3; do while :; do :; done & done
sleep 2
cat loadavg; grep MemTotal: meminfo
kill $(jobs -p)
grep Seccomp: /proc/$(systemctl show --value -p MainPID lxcfs-nri)/status`, many))
	var load [3]float64
	var running, all int
	if _, err := fmt.Sscanf(out, "%f %f %f %d/%d", &load[0], &load[1], &load[2], &running, &all); err != nil || running < 3 || all < many+3 {
		t.Errorf("%d of %d tasks run (%v), want 3 of %d: %q", running, all, err, many, out)
	}
	for _, want := range []string{"\nMemTotal:         614400 kB\n", "\nSeccomp:\t2"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q lacks %q", out, want)
		}
	}
	if t.Failed() {
		t.Log(n.why(t))
	}
}
