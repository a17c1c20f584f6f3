package main

import (
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const cpuDir = "sys/devices/system/cpu"

func (r *report) cpuinfo(text string) {
	var set []int
	for block := range strings.SplitSeq(text, "\n\n") {
		keys := map[string]string{}
		for line := range strings.Lines(block) {
			line = strings.TrimSuffix(line, "\n")
			key, value, ok := strings.Cut(line, ":")
			if line == "" {
				continue
			}
			r.expect(ok, "line %.60q has no colon", line)
			keys[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
		p, ok := keys["processor"]
		if !ok {
			continue // trailers, such as arm64's
		}
		cpu, err := strconv.Atoi(p)
		r.expect(err == nil && (len(set) == 0 || cpu > set[len(set)-1]), "processor %q comes after %v", p, set)
		set = append(set, cpu)
	}
	n := len(set)
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(key) {
		case "siblings", "cpu cores":
			k, err := strconv.Atoi(strings.TrimSpace(value))
			r.expect(err == nil && k >= 1 && k <= n, "%s, but there are %d CPUs", strings.Join(strings.Fields(line), " "), n)
		}
	}
	r.expect(n > 0, "shows no CPU")
	r.cpus["proc/cpuinfo"] = set
}

// parseList reads the kernel's lists of CPUs: "0-3,8".
func parseList(text string) ([]int, error) {
	var all []int
	text = strings.TrimSpace(text)
	if text == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		a, b, ok := strings.Cut(part, "-")
		if !ok {
			b = a
		}
		first, err := strconv.Atoi(a)
		if err != nil {
			return nil, err
		}
		last, err := strconv.Atoi(b)
		if err != nil {
			return nil, err
		}
		if last < first || len(all) > 0 && first <= all[len(all)-1] || last > 1<<16 {
			return nil, fmt.Errorf("%q does not ascend", part)
		}
		for c := first; c <= last; c++ {
			all = append(all, c)
		}
	}
	return all, nil
}

func (r *report) cpuList(text string) {
	set, err := parseList(text)
	r.expect(err == nil, "%q: %v", text, err)
	r.expect(len(set) > 0, "lists no CPU")
	r.cpus[r.file] = set
}

// list reads a list in a tree; known is false where the file is not there.
func (r *report) list(path string) (set []int, known bool) {
	b, err := os.ReadFile(filepath.Join(r.root, path))
	if err != nil {
		return nil, false
	}
	set, err = parseList(string(b))
	r.expect(err == nil, "%s: %q: %v", path, b, err)
	return set, true
}

// checkCPUs checks only what a tree shows of its CPUs, once.
func checkCPUs(root string) *report {
	r := newReport(root, true)
	for _, f := range files {
		if f.path != "proc/cpuinfo" && f.path != "proc/stat" && !strings.HasPrefix(f.path, cpuDir) {
			continue
		}
		r.file = f.path
		b, err := os.ReadFile(filepath.Join(root, f.path))
		if err != nil {
			r.fail("%v", err)
			continue
		}
		r.checked++
		r.text(f, string(b))
	}
	r.cpuTree()
	r.agreeOnCPUs()
	return r
}

// agreeOnCPUs checks that the same CPUs are on-line in all files.
func (r *report) agreeOnCPUs() {
	r.file = "all"
	const online = cpuDir + "/online"
	want, known := r.cpus[online]
	for _, name := range []string{"proc/cpuinfo", "proc/stat", cpuDir} {
		set, ok := r.cpus[name]
		r.expect(!ok || !known || slices.Equal(set, want), "%s shows CPUs %v, %s %v", name, set, online, want)
	}
}

// cpuTree checks the directories of the CPUs against the lists, and topology
// against itself.
func (r *report) cpuTree() {
	r.file = cpuDir
	var dirs []int
	for _, name := range r.dirNames(cpuDir) {
		if number, ok := strings.CutPrefix(name, "cpu"); ok {
			if n, err := strconv.Atoi(number); err == nil {
				dirs = append(dirs, n)
			}
		}
	}
	if len(dirs) == 0 {
		r.absent = append(r.absent, cpuDir+"/cpu*")
		return
	}
	r.checked++
	slices.Sort(dirs)
	present, _ := r.list(cpuDir + "/present")
	r.expect(slices.Equal(dirs, present), "directories of CPUs %v, present are %v", dirs, present)
	online := r.states(present)
	for _, c := range present {
		if slices.Contains(online, c) {
			r.topology(c, online)
			continue
		}
		for _, name := range []string{"topology", "cache"} {
			entries := r.dirNames(fmt.Sprintf("%s/cpu%d/%s", cpuDir, c, name))
			r.expect(entries == nil, "cpu%d is off-line, but has %s", c, name)
		}
	}
	r.cpus[cpuDir] = online
}

// states checks the lists of CPUs against each other, and against the "online" in
// the directory of each: online ⊆ present ⊆ possible, and every possible CPU is
// either online or offline.
func (r *report) states(present []int) (online []int) {
	online, _ = r.list(cpuDir + "/online")
	possible, _ := r.list(cpuDir + "/possible")
	for _, c := range online {
		r.expect(slices.Contains(present, c), "CPU %d is online, not present", c)
	}
	for _, c := range present {
		r.expect(slices.Contains(possible, c), "CPU %d is present, not possible", c)
		b, err := os.ReadFile(filepath.Join(r.root, fmt.Sprintf("%s/cpu%d/online", cpuDir, c)))
		// A CPU that can't be taken off-line has none.
		want := "0\n"
		if slices.Contains(online, c) {
			want = "1\n"
		}
		r.expect(err != nil || string(b) == want, "cpu%d/online is %q, online CPUs are %v", c, b, online)
	}
	offline, known := r.list(cpuDir + "/offline")
	for _, c := range offline {
		r.expect(!slices.Contains(online, c), "CPU %d is both online and offline", c)
	}
	both := slices.Sorted(slices.Values(slices.Concat(online, offline)))
	r.expect(!known || slices.Equal(both, possible), "online are %v, offline %v, possible %v", online, offline, possible)
	return online
}

// offline reports whether CPUs are off-line.
func (r *report) offline() bool {
	set, _ := r.list(cpuDir + "/offline")
	return len(set) > 0
}

// topology checks what Documentation/admin-guide/cputopology.rst tells.
func (r *report) topology(c int, online []int) {
	dir := fmt.Sprintf("%s/cpu%d/topology/", cpuDir, c)
	for _, l := range []string{"core_cpus", "thread_siblings", "core_siblings", "package_cpus", "die_cpus", "cluster_cpus"} {
		set, known := r.list(dir + l + "_list")
		if !known {
			continue
		}
		r.expect(slices.Contains(set, c), "%s%s_list does not have CPU %d itself", dir, l, c)
		for _, o := range set {
			r.expect(slices.Contains(online, o), "%s%s_list has CPU %d, which is not online", dir, l, o)
			other, ok := r.list(fmt.Sprintf("%s/cpu%d/topology/%s_list", cpuDir, o, l))
			r.expect(!ok || slices.Equal(other, set), "%s%s_list differs from that of CPU %d", dir, l, o)
		}
		b, err := os.ReadFile(filepath.Join(r.root, dir+l))
		if err != nil {
			continue
		}
		r.expect(slices.Equal(mask(string(b)), set), "%s%s is %q, its list %v", dir, l, b, set)
	}
}

// mask reads the kernel's masks of CPUs: hexadecimal words of 32 bits, the
// highest first.
func mask(text string) []int {
	words := strings.Split(strings.TrimSpace(text), ",")
	slices.Reverse(words)
	var all []int
	for i, w := range words {
		n, err := strconv.ParseUint(w, 16, 32)
		if err != nil {
			return nil
		}
		for ; n != 0; n &= n - 1 {
			all = append(all, i*32+bits.TrailingZeros64(n))
		}
	}
	return all
}
