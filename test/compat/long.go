package main

// Node and OpenJDK are large, and start slowly on emulated processors.
var long = []program{
	{name: "Node os.*", version: nodeVersion, in: quota, cmd: []string{"node", "-e", nodeScript}, asks: []ask{
		{what: cpuCount, from: stat, shows: container, pattern: `(?m)^cpus (\d+)`, remark: "os.cpus"},
		{what: cpuCount, from: affinity, shows: host, pattern: `(?m)^parallel (\d+)`, remark: "os.availableParallelism"},
		{what: memTotal, from: meminfo, shows: container, pattern: `(?m)^total (\d+)`, unit: byt, remark: "os.totalmem"},
		{what: memAvailable, from: meminfo, shows: container, pattern: `(?m)^free (\d+)`, unit: byt, remark: "os.freemem"},
		{what: uptime, from: "/proc/uptime", shows: container, pattern: `(?m)^uptime ([\d.]+)`, remark: "os.uptime"},
		{what: memTotal, from: "the cgroup's limit", shows: container, pattern: `(?m)^constrained (\d+)`, unit: byt, remark: "process.constrainedMemory"},
	}},
	{name: "Node os.*", version: nodeVersion, in: cpuset, cmd: []string{"node", "-e", nodeScript}, asks: []ask{
		{what: cpuCount, from: stat, shows: container, pattern: `(?m)^cpus (\d+)`, remark: "os.cpus"},
		{what: cpuCount, from: affinity, shows: container, pattern: `(?m)^parallel (\d+)`, remark: "os.availableParallelism"},
	}},
	{name: "Node os.*", version: nodeVersion, in: load, cmd: []string{"node", "-e", nodeScript}, asks: []ask{
		{what: load1, from: "/proc/loadavg", shows: container, pattern: `(?m)^load ([\d.]+)`, remark: "os.loadavg"},
	}},
	{name: "java", version: javaVersion, in: quota, cmd: java(""), asks: []ask{
		{what: cpuCount, from: "the cgroup's quota", shows: container, pattern: `Effective CPU Count: (\d+)`, remark: "-XshowSettings:system"},
		{what: memTotal, from: "the cgroup's limit", shows: container, pattern: `Memory Limit: ([\d.]+)M`, remark: "-XshowSettings:system"},
		{what: cpuCount, from: sysCPU + "/possible", shows: host, pattern: `CPUs: (\d+) total`, remark: "-Xlog:gc+init, in all: counts off-line CPUs, too"},
		{what: cpuCount, from: "the cgroup's quota", shows: container, pattern: `CPUs: \d+ total, (\d+) available`, remark: "Runtime.availableProcessors"},
		{what: memTotal, from: "the cgroup's limit", shows: container, pattern: `\] Memory: (\d+)M`, remark: "of which maxMemory is a part"},
	}},
	{name: "java -XX:-UseContainerSupport", version: javaVersion, in: quota, cmd: java("-XX:-UseContainerSupport"), asks: []ask{
		{what: cpuCount, from: sysCPU + "/possible", shows: host, pattern: `CPUs: (\d+) total`, remark: "-Xlog:gc+init, in all: counts off-line CPUs, too"},
		{what: cpuCount, from: affinity, shows: host, pattern: `CPUs: \d+ total, (\d+) available`, remark: "Runtime.availableProcessors"},
		{what: memTotal, from: sysinfo, shows: host, pattern: `\] Memory: (\d+)M`, remark: "of which maxMemory is a part"},
	}},
}

var (
	nodeVersion = []string{"node", "--version"}
	javaVersion = []string{"sh", "-c", "java -version 2>&1 | cut -d '\"' -f 2 -s"}
	goVersion   = []string{self, goArgument, "version"}
)

const nodeScript = `
const os = require('os');
console.log('cpus', os.cpus().length);
console.log('parallel', os.availableParallelism());
console.log('total', os.totalmem());
console.log('free', os.freemem());
console.log('uptime', os.uptime());
console.log('load', os.loadavg()[0]);
console.log('constrained', process.constrainedMemory());
`

// java starts one that tells its settings and ends: compiling would only take time.
func java(flag string) []string {
	return []string{"sh", "-c", "java -Xint " + flag + " -XshowSettings:system -Xlog:gc+init -version 2>&1"}
}
