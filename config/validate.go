package config

import (
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"k8s.io/apimachinery/pkg/labels"
)

// The kernel takes 107 bytes of a Unix socket's path (sun_path in unix(7));
// sockets are made below RunDir, which leaves room for their names.
const (
	maxSocketPath = 107
	maxRunDir     = 80
)

var (
	// NRI forms file names of both, and compares indices as text.
	pluginName  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
	pluginIndex = regexp.MustCompile(`^[0-9]{2}$`)
	// It goes into the options of a mount, in quotes: user:role:type, and often a
	// level such as s0:c1,c2 or s0-s0:c0.c1023.
	selinuxContext = regexp.MustCompile(`^[A-Za-z0-9_.]+:[A-Za-z0-9_.]+:[A-Za-z0-9_.]+(:[A-Za-z0-9_.,:-]+)?$`)
)

// Validate checks the configuration and brings it into the form the other
// packages rely on: paths are cleaned, entries of Files lose their leading
// slash, the pod selector is parsed. Load has done so already; call it again
// after a change. Known is as in Load.
func (c *Config) Validate(known []string) error {
	return report("", c.check(known))
}

// check is Validate with the faults apart.
func (c *Config) check(known []string) []problem {
	var found []problem
	for _, s := range settings {
		value, ok := s.at(c).(*string)
		if ok && len(s.oneOf) > 0 && !slices.Contains(s.oneOf, *value) {
			found = append(found, problemf(s.key, "got %s; write one of %s", quote(*value), strings.Join(s.oneOf, ", ")))
		}
	}
	found = append(found, c.checkPaths()...)
	if s := c.SELinuxContext; s != SELinuxAuto && s != SELinuxNone && !selinuxContext.MatchString(s) {
		found = append(found, problemf("selinuxContext", "got %s; write %s, %s, or a context such as system_u:object_r:container_file_t:s0", quote(s), SELinuxAuto, SELinuxNone))
	}
	found = append(found, c.NRI.check()...)
	found = append(found, c.Files.check(known)...)
	return append(found, c.Policy.check()...)
}

// checkPaths checks and cleans the daemon's own folders.
func (c *Config) checkPaths() []problem {
	found := checkPath("mountpoint", &c.Mountpoint)
	found = append(found, checkPath("runDir", &c.RunDir)...)
	if len(found) > 0 {
		return found
	}
	if c.Mountpoint == "/" {
		found = append(found, problemf("mountpoint", "is the root of the file system; name a folder of its own"))
	}
	if len(c.RunDir) > maxRunDir {
		found = append(found, problemf("runDir", "longer than %d bytes, which leaves no room for a socket's name; name a shorter path", maxRunDir))
	}
	if c.RunDir == c.Mountpoint || strings.HasPrefix(c.RunDir, c.Mountpoint+"/") {
		found = append(found, problemf("runDir", "%s lies in the mountpoint %s, which would hide it; name a folder outside", show(c.RunDir), show(c.Mountpoint)))
	}
	return found
}

// checkPath checks a path on the host, and cleans it.
func checkPath(key string, at *string) []problem {
	switch {
	case !filepath.IsAbs(*at):
		return []problem{problemf(key, "got %s; write an absolute path", quote(*at))}
	case strings.ContainsFunc(*at, unicode.IsControl):
		return []problem{problemf(key, "got %s; write a path without control characters", quote(*at))}
	}
	*at = filepath.Clean(*at)
	return nil
}

// check checks how the runtime is reached.
func (n *NRI) check() []problem {
	var found []problem
	if n.Socket != NoSocket {
		switch faults := checkPath("nri.socket", &n.Socket); {
		case len(faults) > 0:
			found = append(found, problemf("nri.socket", "got %s; write the absolute path of the runtime's socket, or %s", quote(n.Socket), NoSocket))
		case len(n.Socket) > maxSocketPath:
			found = append(found, problemf("nri.socket", "longer than the %d bytes of a socket's path; name a shorter one", maxSocketPath))
		}
	}
	if !pluginName.MatchString(n.PluginName) {
		found = append(found, problemf("nri.pluginName", "got %s; write up to 63 letters, digits, '.', '_' or '-'", quote(n.PluginName)))
	}
	if !pluginIndex.MatchString(n.PluginIndex) {
		found = append(found, problemf("nri.pluginIndex", `got %s; write two digits in quotes, such as "50"`, quote(n.PluginIndex)))
	}
	return found
}

// check checks the lists against what can be served, and normalises them.
func (f *Files) check(known []string) []problem {
	var found []problem
	f.Include, found = served("files.include", f.Include, known)
	exclude, faults := served("files.exclude", f.Exclude, known)
	f.Exclude, found = exclude, append(found, faults...)
	if len(found) == 0 && len(known) > 0 && !slices.ContainsFunc(known, f.Serves) {
		found = append(found, problemf("files.exclude", "leaves no file to serve; remove an entry, or set policy.inject to false to leave containers alone"))
	}
	return found
}

// served is a list of paths without their leading slashes; the caller's own
// slice stays as it is.
func served(key string, list, known []string) ([]string, []problem) {
	var (
		paths []string
		found []problem
	)
	for i, entry := range list {
		p := strings.TrimPrefix(entry, "/")
		if !slices.Contains(known, p) {
			hint := ""
			if near := nearest(p, known); near != "" {
				hint = fmt.Sprintf(" did you mean %q?", near)
			}
			found = append(found, problemf(fmt.Sprintf("%s[%d]", key, i), "%s is no file that can be served;%s known files: %s", quote(entry), hint, strings.Join(known, ", ")))
		}
		paths = append(paths, p)
	}
	return paths, found
}

// check checks the patterns and parses the selector.
func (p *Policy) check() []problem {
	found := checkGlobs("policy.namespaces.include", p.Namespaces.Include)
	found = append(found, checkGlobs("policy.namespaces.exclude", p.Namespaces.Exclude)...)
	found = append(found, checkGlobs("policy.skipRuntimeHandlers", p.SkipRuntimeHandlers)...)
	for i, pattern := range p.SkipRuntimeHandlers {
		if pattern == "" {
			found = append(found, problemf(fmt.Sprintf("policy.skipRuntimeHandlers[%d]", i), "is empty; name a runtime handler, or remove the entry"))
		}
	}
	p.selector = nil
	if p.PodSelector == "" {
		return found
	}
	selector, err := labels.Parse(p.PodSelector)
	if err != nil {
		return append(found, problemf("policy.podSelector", "%s is no label selector: %s; write it as for kubectl get --selector, such as app in (web,db),tier!=cache", quote(p.PodSelector), strings.Join(strings.Fields(err.Error()), " ")))
	}
	p.selector = selector
	return found
}

// checkGlobs checks patterns of path.Match.
func checkGlobs(key string, patterns []string) []problem {
	var found []problem
	for i, pattern := range patterns {
		if _, err := path.Match(pattern, ""); err != nil {
			found = append(found, problemf(fmt.Sprintf("%s[%d]", key, i), "%s is no pattern; close the bracket, or write a name with * and ? only", quote(pattern)))
		}
	}
	return found
}
