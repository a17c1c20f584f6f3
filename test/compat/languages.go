package main

import (
	"fmt"
	"os"
	"time"
)

var page = float64(os.Getpagesize()) * byt

// busybox asks the kernel where procps reads files.
var busybox = []program{
	{name: "busybox cat", pkg: "busybox-static", in: quota, cmd: []string{"busybox", "cat", meminfo}, asks: []ask{
		{what: memTotal, from: meminfo, shows: container, pattern: `MemTotal: +(\d+) kB`, unit: kib, remark: "by sendfile(2), then read(2)"},
	}},
	{name: "busybox top", pkg: "busybox-static", in: quota, cmd: []string{"busybox", "top", "-b", "-d", "1", "-n", "2"}, interval: time.Second, asks: []ask{
		{what: memTotal, from: meminfo, shows: container, pattern: `Mem: (\d+)K used, (\d+)K free`, unit: kib, remark: "used and free"},
		{what: memUsed, from: meminfo, shows: container, pattern: `Mem: (\d+)K used`, unit: kib},
		{what: cpuUsed, from: stat, shows: container, pattern: `CPU: +(\d+)% usr +(\d+)% sys +(\d+)% nic`},
	}},
	{name: "busybox top", pkg: "busybox-static", in: load, cmd: []string{"busybox", "top", "-b", "-n", "1"}, asks: []ask{
		{what: load1, from: "/proc/loadavg", shows: container, pattern: `Load average: ([\d.]+)`},
	}},
	{name: "busybox free", pkg: "busybox-static", in: quota, cmd: []string{"busybox", "free", "-k"}, asks: []ask{
		{what: memTotal, from: sysinfo, shows: host, pattern: `(?m)^Mem: +(\d+)`, unit: kib},
		{what: memFree, from: sysinfo, shows: host, pattern: `(?m)^Mem: +\d+ +\d+ +(\d+)`, unit: kib},
		{what: memAvailable, from: meminfo, shows: container, pattern: `(?m)^Mem: +(?:\d+ +){5}(\d+)`, unit: kib, remark: "in one line with the host's total"},
	}},
	{name: "busybox uptime", pkg: "busybox-static", in: load, cmd: []string{"busybox", "uptime"}, asks: []ask{
		{what: upMinutes, from: sysinfo, shows: host, parse: minutesUp},
		{what: load1, from: sysinfo, shows: host, pattern: `load average: ([\d.]+)`},
	}},
	{name: "busybox nproc", pkg: "busybox-static", in: quota, cmd: []string{"busybox", "nproc"}, asks: []ask{
		{what: cpuCount, from: affinity, shows: host, pattern: `(\d+)`},
	}},
}

// htop has no batch mode: it is shown a terminal, on which it draws once whole.
const htopScript = `
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT
cat >"$dir/htoprc" <<'END'
htop_version=3.2.2
config_reader_min_version=3
fields=0 48 38 39 2 46 47 49 1
header_layout=two_50_50
column_meters_0=AllCPUs Memory Swap
column_meter_modes_0=2 2 2
column_meters_1=Tasks LoadAverage Uptime
column_meter_modes_1=2 2 2
delay=15
END
{ while sleep 0.3; do printf q || break; done; } 2>/dev/null |
	HTOPRC=$dir/htoprc TERM=vt100 script -qec 'stty rows 30 cols 140; exec htop' /dev/null |
	sed 's/\x1b\[[0-9;?]*[a-zA-Z]//g; s/\x1b[()].//g; s/[\x0e\x0f]//g'
`

var htop = []program{
	{name: "htop", pkg: "htop", in: quota, cmd: []string{"bash", "-c", htopScript}, asks: []ask{
		{what: cpuCount, from: sysCPU, shows: container, pattern: `sys:`, count: true},
		{what: memTotal, from: meminfo, shows: container, pattern: `Mem:([\d.]+)M used:`},
		{what: memUsedLessCache, from: meminfo, shows: container, pattern: `Mem:[\d.]+M used:([\d.]+)M`},
		{what: memAvailable, from: meminfo, shows: container, pattern: `Mem:.*? available:([\d.]+)M`},
		{what: swapTotal, from: meminfo, shows: container, pattern: `Swp:([\d.]+)[KM] used:`},
		{what: uptime, from: "/proc/uptime", shows: container, pattern: `Uptime: (\d+:\d+:\d+)`, parse: clock},
	}},
	{name: "htop", pkg: "htop", in: load, cmd: []string{"bash", "-c", htopScript}, asks: []ask{
		{what: load1, from: "/proc/loadavg", shows: container, pattern: `Load average: ([\d.]+)`},
	}},
}

// clock reads hours, minutes and seconds.
func clock(text string, _ time.Time) (float64, error) {
	var h, m, s int
	_, err := fmt.Sscanf(text, "%d:%d:%d", &h, &m, &s)
	return float64(h*3600 + m*60 + s), err
}

// Python of the distribution: others would not have its psutil.
const pythonScript = `
import os, psutil
print('total', psutil.virtual_memory().total)
print('available', psutil.virtual_memory().available)
print('used', psutil.virtual_memory().used)
print('swap', psutil.swap_memory().total)
print('cpus', psutil.cpu_count())
print('os.cpus', os.cpu_count())
print('affinity', len(os.sched_getaffinity(0)))
print('boot', psutil.boot_time())
print('created', psutil.Process(1).create_time())
print('written', psutil.disk_io_counters(perdisk=True)[os.environ['DISK']].write_bytes)
print('percent', psutil.cpu_percent(1))
`

const pythonLoad = `
import os, psutil
print('psutil', psutil.getloadavg()[0])
print('os', os.getloadavg()[0])
`

var python = []program{
	{name: "psutil", pkg: "python3-psutil", in: quota, cmd: []string{"/usr/bin/python3", "-c", pythonScript}, interval: time.Second, asks: []ask{
		{what: memTotal, from: meminfo, shows: container, pattern: `(?m)^total (\d+)`, unit: byt},
		{what: memAvailable, from: meminfo, shows: container, pattern: `(?m)^available (\d+)`, unit: byt},
		{what: memUsedLessCache, from: meminfo, shows: container, pattern: `(?m)^used (\d+)`, unit: byt},
		{what: swapTotal, from: meminfo, shows: container, pattern: `(?m)^swap (\d+)`, unit: byt},
		{what: cpuCount, from: sysCPU + "/online", shows: container, pattern: `(?m)^cpus (\d+)`},
		{what: cpuUsed, from: stat, shows: container, pattern: `(?m)^percent ([\d.]+)`},
		{what: bootTime, from: stat, shows: host, pattern: `(?m)^boot ([\d.]+)`, parse: sinceEpoch, late: time.Second, remark: "processes' starts count from it"},
		{what: processStart, from: stat, shows: container, pattern: `(?m)^created ([\d.]+)`, parse: sinceEpoch, late: time.Second},
		{what: written, from: "/proc/diskstats", shows: container, pattern: `(?m)^written (\d+)`, unit: kib},
	}},
	{name: "Python os.cpu_count", pkg: "python3", in: quota, cmd: []string{"/usr/bin/python3", "-c", "import os; print(os.cpu_count())"}, asks: []ask{
		{what: cpuCount, from: sysCPU + "/online", shows: container, pattern: `(\d+)`},
	}},
	{name: "Python os.sched_getaffinity", pkg: "python3", in: quota, cmd: []string{"/usr/bin/python3", "-c", "import os; print(len(os.sched_getaffinity(0)))"}, asks: []ask{
		{what: cpuCount, from: affinity, shows: host, pattern: `(\d+)`, remark: "a quota changes no affinity"},
	}},
	{name: "psutil", pkg: "python3-psutil", in: load, cmd: []string{"/usr/bin/python3", "-c", pythonLoad}, asks: []ask{
		{what: load1, from: sysinfo, shows: host, pattern: `(?m)^psutil ([\d.]+)`, remark: "by getloadavg(3) of glibc"},
	}},
}

// goArgument makes this program a Go program that tells what it sees.
const goArgument = "compat-go"

var golang = []program{
	{name: "Go runtime.NumCPU", version: goVersion, in: quota, cmd: []string{self, goArgument}, asks: []ask{
		{what: cpuCount, from: affinity, shows: host, pattern: `NumCPU (\d+)`, remark: "a quota changes no affinity"},
	}},
	{name: "Go GOMAXPROCS", version: goVersion, in: quota, cmd: []string{self, goArgument}, asks: []ask{
		{what: goProcs, from: "the cgroup's quota", shows: container, pattern: `GOMAXPROCS (\d+)`, remark: "since Go 1.25, at least 2"},
	}},
	{name: "Go runtime.NumCPU", version: goVersion, in: cpuset, cmd: []string{self, goArgument}, asks: []ask{
		{what: cpuCount, from: affinity, shows: container, pattern: `NumCPU (\d+)`},
	}},
}

var hwloc = []program{
	{name: "lstopo", pkg: "hwloc-nox", in: quota, cmd: []string{"lstopo-no-graphics", "--no-io", "--of", "xml"}, asks: []ask{
		{what: cpuCount, from: sysCPU, shows: container, pattern: `type="PU"`, count: true},
		{what: nodeMemory, from: "/sys/devices/system/node", shows: host, pattern: `type="NUMANode"[^>]* local_memory="(\d+)"`, unit: 1.0 / (1 << 20), remark: "not among the files that are served"},
	}},
	{name: "lstopo", pkg: "hwloc-nox", in: cpuset, cmd: []string{"lstopo-no-graphics", "--no-io"}, asks: []ask{
		{what: cpuCount, from: sysCPU, shows: container, pattern: `PU L#`, count: true},
	}},
}
