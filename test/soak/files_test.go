package soak

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// namedFiles are those of view.Files that this kernel has.
func namedFiles() (all []string) {
	for _, f := range view.Files {
		if _, err := os.Stat("/" + f.Path); err == nil && f.Append != nil {
			all = append(all, f.Path)
		}
	}
	return all
}

// otherCPU is the directory of a CPU that is not the first: its files are those of
// the first one.
var otherCPU = regexp.MustCompile(`^cpu[1-9][0-9]*$`)

// cpuTree are the files of the CPU directory below root that are in no list. Those
// that the kernel itself does not let be read are left out.
func cpuTree(root string) (all []string, err error) {
	named := namedFiles()
	err = filepath.WalkDir(filepath.Join(root, view.CPUDir), func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && otherCPU.MatchString(e.Name()) {
			return fs.SkipDir
		}
		file, err := filepath.Rel(root, name)
		if err != nil || !e.Type().IsRegular() || slices.Contains(named, file) {
			return err
		}
		if text, err := os.ReadFile("/" + file); err == nil && len(text) > 0 {
			all = append(all, file)
		}
		return nil
	})
	for _, must := range []string{"kernel_max", "offline", "cpu0/topology/core_id", "cpu0/topology/package_cpus_list"} {
		if file := view.CPUDir + "/" + must; err == nil && !slices.Contains(all, file) {
			err = errors.Join(err, fmt.Errorf("%s is not served below %s", file, root))
		}
	}
	return all, err
}

// cpuFiles are those whose text is the host's in a container without a limit on CPUs.
var cpuFiles = []string{
	"offline", "cpu0/topology/core_id", "cpu0/topology/physical_package_id",
	"cpu0/topology/core_cpus_list", "cpu0/topology/thread_siblings_list",
}

var number = regexp.MustCompile(`[0-9]+`)

// cpuFile: the text of a file of the CPU directory is what it was, since the
// limits are; where the kernel counts something, but for numbers.
func (c *checker) cpuFile(file, text string) error {
	name := strings.TrimPrefix(file, view.CPUDir+"/")
	if slices.Contains(cpuFiles, name) {
		want, err := os.ReadFile("/" + file)
		if err != nil {
			return err
		}
		if text != string(want) {
			return fmt.Errorf("want %q", want)
		}
	}
	for _, counts := range []string{"/power/", "/cpuidle/", "/cpufreq/", "/thermal_throttle/"} {
		if strings.Contains(file, counts) {
			text = number.ReplaceAllString(text, "0")
		}
	}
	return c.same(file, text)
}
