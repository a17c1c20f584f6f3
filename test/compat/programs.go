package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// program is one command line, and what is read from what it prints.
type program struct {
	name string
	// pkg is the Debian package that it comes in; else version prints one.
	pkg     string
	version []string // a command that prints one
	in      kind     // of container
	cmd     []string
	// interval is how long the program looks at the use of the CPUs.
	interval time.Duration
	asks     []ask
}

// ask is one figure that a program tells.
type ask struct {
	what figure
	// from is the file, or the system call, that the program has it from.
	from  string
	shows whose
	// pattern finds numbers, whose sum is meant, in the last place that
	// matches. DISK in it stands for the disk's name.
	pattern string
	// unit is what these numbers are multiplied with; 0 stands for 1.
	unit float64
	// parse is for what isn't a number.
	parse func(text string, now time.Time) (float64, error)
	// count has the matches counted instead.
	count bool
	// late is how long before the end the program asks.
	late time.Duration
	// absent is allowed where there is nothing to tell of, which counts as 0.
	absent bool
	remark string
}

// kind is a container's name in the table.
type kind string

const (
	quota  kind = "quota"  // of one CPU, with work of every sort
	cpuset kind = "cpuset" // of the last CPU only
	load   kind = "load"   // tasks that wait for the disk, by all appearances
)

const (
	kib  = 1.0 / 1024 // in MiB
	byt  = kib / 1024
	byKB = 1.0

	meminfo  = "/proc/meminfo"
	stat     = "/proc/stat"
	sysinfo  = "sysinfo(2)"
	affinity = "sched_getaffinity(2)"
	sysCPU   = "/sys/devices/system/cpu"
)

var programs = []program{
	{name: "free", pkg: "procps", in: quota, cmd: []string{"free", "-k"}, asks: []ask{
		{what: memTotal, from: meminfo, shows: container, pattern: `(?m)^Mem: +(\d+)`, unit: kib},
		{what: memUsedLessAvailable, from: meminfo, shows: container, pattern: `(?m)^Mem: +\d+ +(\d+)`, unit: kib},
		{what: memFree, from: meminfo, shows: container, pattern: `(?m)^Mem: +\d+ +\d+ +(\d+)`, unit: kib},
		{what: memAvailable, from: meminfo, shows: container, pattern: `(?m)^Mem: +(?:\d+ +){5}(\d+)`, unit: kib},
		{what: swapTotal, from: meminfo, shows: container, pattern: `(?m)^Swap: +(\d+)`, unit: kib},
	}},
	{name: "top", pkg: "procps", in: quota, cmd: []string{"top", "-b", "-d", "1", "-n", "2"}, interval: time.Second, asks: []ask{
		{what: memTotal, from: meminfo, shows: container, pattern: `MiB Mem : +([\d.]+) total`},
		{what: memFree, from: meminfo, shows: container, pattern: `MiB Mem : .* ([\d.]+) free`},
		{what: memAvailable, from: meminfo, shows: container, pattern: `([\d.]+) avail Mem`},
		{what: swapTotal, from: meminfo, shows: container, pattern: `MiB Swap: +([\d.]+) total`},
		{what: cpuUsed, from: stat, shows: container, pattern: `%Cpu\(s\): +([\d.]+) us, +([\d.]+) sy, +([\d.]+) ni`},
		{what: upMinutes, from: "/proc/uptime", shows: container, parse: minutesUp},
	}},
	{name: "top", pkg: "procps", in: load, cmd: []string{"top", "-b", "-n", "1"}, asks: []ask{
		{what: load1, from: "/proc/loadavg", shows: container, pattern: `load average: ([\d.]+)`},
	}},
	{name: "vmstat", pkg: "procps", in: quota, cmd: []string{"vmstat", "-n", "1", "2"}, interval: time.Second, asks: []ask{
		{what: memFree, from: meminfo, shows: container, pattern: `(?m)^ *(?:\d+ +){3}(\d+)`, unit: kib},
		{what: cpuUsed, from: stat, shows: container, pattern: `(?m)^ *(?:\d+ +){12}(\d+) +(\d+)`},
	}},
	{name: "vmstat -s", pkg: "procps", in: quota, cmd: []string{"vmstat", "-s"}, asks: []ask{
		{what: memTotal, from: meminfo, shows: container, pattern: `(\d+) K total memory`, unit: kib},
		{what: bootTime, from: stat, shows: host, pattern: `(\d+) boot time`, parse: sinceEpoch},
	}},
	{name: "uptime -s", pkg: "procps", in: quota, cmd: []string{"uptime", "-s"}, asks: []ask{
		{what: uptime, from: "/proc/uptime", shows: container, parse: sinceDate},
	}},
	{name: "ps -o lstart", pkg: "procps", in: quota, cmd: []string{"ps", "-o", "lstart=", "-p", "1"}, asks: []ask{
		{what: processStart, from: stat, shows: container, parse: sinceANSIC, late: time.Second},
	}},
	{name: "ps -o etimes", pkg: "procps", in: quota, cmd: []string{"ps", "-o", "etimes=", "-p", "1"}, asks: []ask{
		{what: processAge, from: "/proc/uptime", shows: neither, pattern: `(\d+)`, remark: "subtracts the start since boot from the container's uptime, also for etime and %CPU; right with `files.exclude: [proc/uptime]`"},
	}},
	{name: "uptime", pkg: "procps", in: load, cmd: []string{"uptime"}, asks: []ask{
		{what: load1, from: "/proc/loadavg", shows: container, pattern: `load average: ([\d.]+)`},
	}},
	{name: "w", pkg: "procps", in: load, cmd: []string{"w"}, asks: []ask{
		{what: upMinutes, from: "/proc/uptime", shows: container, parse: minutesUp},
		{what: load1, from: "/proc/loadavg", shows: container, pattern: `load average: ([\d.]+)`},
	}},
	{name: "mpstat", pkg: "sysstat", in: quota, cmd: []string{"mpstat", "1", "1"}, interval: time.Second, asks: []ask{
		{what: cpuCount, from: sysCPU, shows: host, pattern: `\((\d+) CPU\)`, remark: "in all: counts off-line CPUs, too"},
		{what: cpuUsed, from: stat, shows: container, pattern: `(?m)^Average: +all +([\d.]+) +([\d.]+) +([\d.]+)`},
	}},
	{name: "sar -u", pkg: "sysstat", in: quota, cmd: []string{"sar", "-u", "1", "1"}, interval: time.Second, asks: []ask{
		{what: cpuUsed, from: stat, shows: container, pattern: `(?m)^Average: +all +([\d.]+) +([\d.]+) +([\d.]+)`},
	}},
	{name: "sar -r", pkg: "sysstat", in: quota, cmd: []string{"sar", "-r", "1", "1"}, asks: []ask{
		{what: memFree, from: meminfo, shows: container, pattern: `(?m)^Average: +(\d+)`, unit: kib},
		{what: memAvailable, from: meminfo, shows: container, pattern: `(?m)^Average: +\d+ +(\d+)`, unit: kib},
		{what: memUsedLessCache, from: meminfo, shows: container, pattern: `(?m)^Average: +\d+ +\d+ +(\d+)`, unit: kib},
	}},
	{name: "sar -S", pkg: "sysstat", in: quota, cmd: []string{"sar", "-S", "1", "1"}, asks: []ask{
		{what: swapTotal, from: meminfo, shows: container, pattern: `(?m)^Average: +(\d+) +(\d+)`, unit: kib},
	}},
	{name: "sar -q", pkg: "sysstat", in: load, cmd: []string{"sar", "-q", "1", "1"}, asks: []ask{
		{what: load1, from: "/proc/loadavg", shows: container, pattern: `(?m)^Average: +\d+ +\d+ +([\d.]+)`},
	}},
	{name: "iostat -c", pkg: "sysstat", in: quota, cmd: []string{"iostat", "-c", "1", "2"}, interval: time.Second, asks: []ask{
		{what: cpuUsed, from: stat, shows: container, pattern: `%idle\n +([\d.]+) +([\d.]+) +([\d.]+)`},
	}},
	{name: "iostat -p ALL", pkg: "sysstat", in: quota, cmd: []string{"iostat", "-d", "-k", "-p", "ALL"}, asks: []ask{
		{what: written, from: "/proc/diskstats", shows: container, pattern: `(?m)^DISK +(?:[\d.]+ +){5}(\d+)`, unit: byKB},
	}},
	{name: "iostat", pkg: "sysstat", in: quota, cmd: []string{"iostat", "-d", "-k"}, asks: []ask{
		{what: written, from: "/sys/block/*/stat", shows: host, pattern: `(?m)^DISK +(?:[\d.]+ +){5}(\d+)`, unit: byKB, remark: "not among the files that are served"},
	}},
	{name: "lscpu -p", pkg: "util-linux", in: quota, cmd: []string{"lscpu", "-p=CPU"}, asks: []ask{
		{what: cpuCount, from: sysCPU, shows: container, pattern: `(?m)^\d+$`, count: true},
	}},
	{name: "lscpu", pkg: "util-linux", in: quota, cmd: []string{"lscpu"}, asks: []ask{
		{what: cpuCount, from: sysCPU, shows: host, pattern: `(?m)^CPU\(s\): +(\d+)`, remark: "in all: lists on-line and off-line CPUs below"},
	}},
	{name: "lscpu -p", pkg: "util-linux", in: cpuset, cmd: []string{"lscpu", "-p=CPU"}, asks: []ask{
		{what: cpuCount, from: sysCPU, shows: container, pattern: `(?m)^\d+$`, count: true},
	}},
	{name: "lsmem", pkg: "util-linux", in: quota, cmd: []string{"lsmem", "--bytes", "--summary=only"}, asks: []ask{
		{what: memBlocks, from: "/sys/devices/system/memory", shows: host, pattern: `Total online memory: +(\d+)`, unit: byt, remark: "blocks of memory that can be plugged"},
	}},
	{name: "swapon", pkg: "util-linux", in: quota, cmd: []string{"swapon", "--show=SIZE", "--bytes", "--noheadings"}, asks: []ask{
		{what: swapTotal, from: "/proc/swaps", shows: container, pattern: `(?m)^ *(\d+)$`, unit: byt, absent: true},
	}},
	{name: "nproc", pkg: "coreutils", in: quota, cmd: []string{"nproc"}, asks: []ask{
		{what: cpuCount, from: affinity, shows: host, pattern: `(\d+)`, remark: "a quota changes no affinity"},
	}},
	{name: "nproc --all", pkg: "coreutils", in: quota, cmd: []string{"nproc", "--all"}, asks: []ask{
		{what: cpuCount, from: sysCPU + "/possible", shows: host, pattern: `(\d+)`, remark: "counts off-line CPUs, too"},
	}},
	{name: "nproc", pkg: "coreutils", in: cpuset, cmd: []string{"nproc"}, asks: []ask{
		{what: cpuCount, from: affinity, shows: container, pattern: `(\d+)`},
	}},
	{name: "getconf _NPROCESSORS_ONLN", pkg: "libc-bin", in: quota, cmd: []string{"getconf", "_NPROCESSORS_ONLN"}, asks: []ask{
		{what: cpuCount, from: sysCPU + "/online", shows: container, pattern: `(\d+)`},
	}},
	{name: "getconf _NPROCESSORS_CONF", pkg: "libc-bin", in: quota, cmd: []string{"getconf", "_NPROCESSORS_CONF"}, asks: []ask{
		{what: cpuCount, from: sysCPU + "/possible", shows: host, pattern: `(\d+)`, remark: "counts off-line CPUs, too"},
	}},
	{name: "getconf _NPROCESSORS_ONLN", pkg: "libc-bin", in: cpuset, cmd: []string{"getconf", "_NPROCESSORS_ONLN"}, asks: []ask{
		{what: cpuCount, from: sysCPU + "/online", shows: container, pattern: `(\d+)`},
	}},
	{name: "getconf _PHYS_PAGES", pkg: "libc-bin", in: quota, cmd: []string{"getconf", "_PHYS_PAGES"}, asks: []ask{
		{what: memTotal, from: sysinfo, shows: host, pattern: `(\d+)`, unit: page},
	}},
	{name: "getconf _AVPHYS_PAGES", pkg: "libc-bin", in: quota, cmd: []string{"getconf", "_AVPHYS_PAGES"}, asks: []ask{
		{what: memFree, from: sysinfo, shows: host, pattern: `(\d+)`, unit: page},
	}},
}

// minutesUp reads "up 3 min", "up 1:02" and "up 2 days, 1:02".
func minutesUp(text string, _ time.Time) (float64, error) {
	_, rest, _ := strings.Cut(text, " up ")
	var days, hours, minutes int
	if n, _ := fmt.Sscanf(rest, "%d day", &days); n == 1 && strings.Contains(rest, "day") {
		_, rest, _ = strings.Cut(rest, ",")
	} else {
		days = 0
	}
	if n, _ := fmt.Sscanf(rest, "%d:%d", &hours, &minutes); n < 2 {
		hours = 0
		if n, err := fmt.Sscanf(rest, "%d min", &minutes); n < 1 {
			return 0, fmt.Errorf("no time after up: %w", err)
		}
	}
	return float64((days*24+hours)*60 + minutes), nil
}

func sinceEpoch(text string, now time.Time) (float64, error) {
	seconds, err := strconv.ParseFloat(text, 64)
	return float64(now.UnixMilli())/1000 - seconds, err
}

func sinceANSIC(text string, now time.Time) (float64, error) {
	at, err := time.Parse(time.ANSIC, strings.TrimSpace(text))
	return now.Sub(at).Seconds(), err
}

func sinceDate(text string, now time.Time) (float64, error) {
	at, err := time.Parse(time.DateTime, strings.TrimSpace(text))
	return now.Sub(at).Seconds(), err
}
