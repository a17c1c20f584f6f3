package podman

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// show prints what a container sees, by the programs people use, too.
const show = `free -k; echo cpus $(grep -c ^processor /proc/cpuinfo); cat /proc/uptime /proc/loadavg; uptime; grep -E "fuse|pressure" /proc/self/mountinfo || :`

// Whose files a container has.
type whose string

const (
	own     whose = "/containers/" // resolved by their inode
	readers whose = "/(proc|sys)/" // resolved by who reads
	none    whose = "(no files)"   // the host's
)

var (
	memTotal = regexp.MustCompile(`(?m)^MemTotal: +(\d+)`)
	total    = regexp.MustCompile(`(?m)^Mem: +(\d+)`)
	cpus     = regexp.MustCompile(`(?m)^cpus (\d+)$`)
	uptime   = regexp.MustCompile(`(?m)^(\d+)\.\d\d \d+\.\d\d$`)
	loadavg  = regexp.MustCompile(`(?m)^\d+\.\d\d \d+\.\d\d \d+\.\d\d \d+/(\d+) \d+$`)
)

func number(t *testing.T, re *regexp.Regexp, out string) int {
	t.Helper()
	m := re.FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("no %s in %s", re, out)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// sees checks what show printed: a container sees its limits, and has each file
// once; or (none) it sees the host.
func sees(t *testing.T, out string, want whose, kib, nCPUs int) {
	t.Helper()
	host := ""
	for _, name := range []string{"/proc/uptime", "/proc/loadavg", "/proc/meminfo"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		host += string(b)
	}
	if want == none {
		if got, hosts := number(t, total, out), number(t, memTotal, host); got != hosts {
			t.Errorf("%d kB of memory, the host has %d\n%s", got, hosts, out)
		}
	} else {
		contained(t, out, host, kib, nCPUs)
	}
	ours := regexp.MustCompile(`^\d+ \d+ \S+ ` + string(want))
	times := map[string]int{}
	for line := range strings.Lines(out) {
		if strings.Contains(line, " - fuse.lxcfs-nri ") {
			times[strings.Fields(line)[4]]++
			if !ours.MatchString(line) {
				t.Errorf("want files of %s, got %s", want, line)
			}
		}
	}
	if want == none {
		return
	}
	for _, file := range spec() {
		if times["/"+file] != 1 {
			t.Errorf("/%s is mounted %d times\n%s", file, times["/"+file], out)
		}
	}
}

// contained checks the figures of a container.
func contained(t *testing.T, out, host string, kib, nCPUs int) {
	t.Helper()
	for what, ok := range map[string]bool{
		"total memory": number(t, total, out) == kib,
		"CPUs":         number(t, cpus, out) == nCPUs,
		// Containers run for seconds, machines for longer.
		"uptime": number(t, uptime, out) < number(t, uptime, host)-1,
		"tasks":  number(t, loadavg, out) < number(t, loadavg, host)/2,
	} {
		if !ok {
			t.Errorf("%s is not the container's\n%s", what, out)
		}
	}
}

// spec lists the files that are mounted where there is no cgroup2, too.
func spec() []string {
	return slices.DeleteFunc(view.Paths(), func(file string) bool {
		i := slices.IndexFunc(view.Files, func(f view.File) bool { return f.Path == file })
		_, err := os.Stat("/" + file)
		return err != nil || view.Files[i].Reach != view.SpecMount
	})
}

// limited checks a container of the limits that all here have.
func limited(t *testing.T, out string, want whose) {
	t.Helper()
	sees(t, out, want, 200<<10, 1)
}

// pressure says that a container has its own pressure files: it must where its
// cgroup does. They are lxcfs-nri's where the kernel takes no triggers from a cgroup
// namespace, which containers have.
func pressure(t *testing.T, out string) {
	t.Helper()
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err != nil {
		return // cgroup v1: it keeps the kernel's
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	from := `/%s\.pressure`
	if strings.Contains(string(mounts), "nsdelegate") {
		from = `/containers/[0-9a-f]+/proc/pressure/%s`
	}
	for _, file := range []string{"cpu", "memory", "io"} {
		want := fmt.Sprintf(from+` /proc/pressure/%s rw`, file, file)
		if n := len(regexp.MustCompile(want).FindAllString(out, -1)); n != 1 {
			t.Errorf("%s is there %d times: %s", want, n, out)
		}
	}
}
