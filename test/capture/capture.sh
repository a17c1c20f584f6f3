#!/bin/sh
# capture.sh PID OUTDIR: copies what a cgroup-aware reader of a process looks
# at, as a tree below OUTDIR with the same paths: the host's files, and the
# cgroup files of the process's group and of all its ancestors, in every
# hierarchy. Needs sh, sed, grep, mkdir and cat only (busybox will do).
set -u
pid=$1 out=$2

# Sizes of such files lie: they are read, not copied.
keep() {
	mkdir -p "$out$(dirname "$1")"
	cat "$1" >"$out$1" 2>/dev/null || rm -f "$out$1"
}

for f in /proc/meminfo /proc/cpuinfo /proc/stat /proc/uptime /proc/swaps /proc/diskstats \
	/proc/sys/vm/overcommit_ratio /proc/sys/vm/overcommit_kbytes \
	/proc/pressure/cpu /proc/pressure/memory /proc/pressure/io /proc/pressure/irq \
	/sys/devices/system/cpu/online /sys/devices/system/cpu/possible /sys/devices/system/cpu/present \
	"/proc/$pid/cgroup" "/proc/$pid/stat"; do
	keep "$f"
done
# per-interrupt columns are many, and nobody's business
sed -i 's/^\(intr [0-9]*\).*/\1/' "$out/proc/stat"

mkdir -p "$out/proc/self"
grep ' - cgroup2\? ' /proc/self/mountinfo >"$out/proc/self/mountinfo"

# levels DIR PATH: the group PATH in the hierarchy mounted at DIR, and its ancestors
levels() {
	at=$2
	while :; do
		for f in memory.max memory.current memory.stat memory.swap.max memory.swap.current \
			memory.limit_in_bytes memory.usage_in_bytes memory.memsw.limit_in_bytes \
			memory.memsw.usage_in_bytes memory.swappiness \
			cpu.max cpu.stat cpu.cfs_quota_us cpu.cfs_period_us cpuacct.usage_all cpuacct.usage_percpu \
			cpuset.cpus cpuset.cpus.effective cpuset.effective_cpus \
			io.stat blkio.throttle.io_serviced_recursive blkio.throttle.io_service_bytes_recursive \
			blkio.throttle.io_serviced blkio.throttle.io_service_bytes \
			blkio.bfq.io_serviced_recursive blkio.bfq.io_service_bytes_recursive \
			hugetlb.2MB.max hugetlb.2MB.current hugetlb.2MB.limit_in_bytes hugetlb.2MB.usage_in_bytes \
			cpu.pressure memory.pressure io.pressure irq.pressure \
			pids.current cgroup.controllers; do
			[ -f "$1$at/$f" ] && keep "$1${at%/}/$f"
		done
		case $at in "" | /) break ;; esac
		at=${at%/*}
	done
	for f in cgroup.threads tasks cgroup.procs; do
		[ -f "$1$2/$f" ] && keep "$1$2/$f"
	done
}

while read -r _ _ _ _ dir _ rest; do
	fs=${rest##*- }
	case $fs in
	cgroup2\ *) path=$(sed -n 's/^0:://p' "/proc/$pid/cgroup") ;;
	*)
		controller=${dir##*/}
		path=$(sed -n "s/^[0-9]*:\(.*,\)\?$controller\(,.*\)\?:\(.*\)$/\3/p" "/proc/$pid/cgroup" | head -n 1)
		;;
	esac
	[ -n "$path" ] && levels "$dir" "$path"
done <"$out/proc/self/mountinfo"
