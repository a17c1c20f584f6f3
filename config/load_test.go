package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// goodFiles is files that load, and what they change of the default.
var goodFiles = []struct {
	name, src string
	want      func(*Config) // applied to the default
}{
	{"empty", "", func(*Config) {}},
	{"comments only", "# nothing\n\n# here\n", func(*Config) {}},
	{"separator only", "---\n", func(*Config) {}},
	{"empty flow", "{}", func(*Config) {}},
	{"section with its keys commented out", "nri:\n  # socket: none\nlog:\n", func(*Config) {}},
	{"byte order mark, carriage returns", "\ufeffswap: false\r\nlog:\r\n  level: debug\r\n", func(c *Config) {
		c.Swap, c.Log.Level = false, "debug"
	}},
	{"document markers", "---\nswap: false\n...\n", func(c *Config) { c.Swap = false }},
	{"JSON", `{"nri": {"socket": "none", "pluginIndex": "07"}, "swap": false}`, func(c *Config) {
		c.NRI.Socket, c.NRI.PluginIndex, c.Swap = "none", "07", false
	}},
	{"quoted key", "\"swap\": FALSE\n", func(c *Config) { c.Swap = false }},
	{"paths are cleaned", "mountpoint: /srv//lxcfs/\nrunDir: /run/x/../y\n", func(c *Config) {
		c.Mountpoint, c.RunDir = "/srv/lxcfs", "/run/y"
	}},
	{"files lose their leading slash", "files:\n  include: [/proc/meminfo, proc/stat]\n  exclude:\n  - /proc/stat\n", func(c *Config) {
		c.Files = Files{Include: []string{"proc/meminfo", "proc/stat"}, Exclude: []string{"proc/stat"}}
	}},
	{"empty lists replace the default", "policy:\n  namespaces:\n    exclude: []\n  skipRuntimeHandlers: []\n", func(c *Config) {
		c.Policy.Namespaces.Exclude, c.Policy.SkipRuntimeHandlers = nil, nil
	}},
	{"a list replaces the default", "policy: {namespaces: {exclude: ['', \"infra-*\"], include: [a]}}", func(c *Config) {
		c.Policy.Namespaces = Namespaces{Include: []string{"a"}, Exclude: []string{"", "infra-*"}}
	}},
	{"every boolean", "swap: false\nattachExisting: true\npolicy:\n  inject: false\n  skipHostPID: false\n  webhookAnnotations: false\n", func(c *Config) {
		c.AttachExisting = true
		c.Swap, c.Policy.Inject, c.Policy.SkipHostPID, c.Policy.WebhookAnnotations = false, false, false, false
	}},
	{"required, as the hook finds it", "swap: false\r\nrequired:  true \r\n", func(c *Config) { c.Swap, c.Required = false, true }},
	{"not required", "required: false\n", func(*Config) {}},
	{"enumerations", "log: {level: error, format: json}\nstat: {throttled: hide}\n", func(c *Config) {
		c.Log, c.Stat.Throttled = Log{Level: "error", Format: "json"}, ThrottledHide
	}},
	{"no is a text", "policy:\n  namespaces:\n    include: [no, on]\n", func(c *Config) {
		c.Policy.Namespaces.Include = []string{"no", "on"}
	}},
}

func TestLoad(t *testing.T) {
	for _, tt := range goodFiles {
		t.Run(tt.name, func(t *testing.T) {
			want := Default()
			tt.want(&want)
			got, err := load("x.yaml", []byte(tt.src), knownFiles)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestLoadSelector(t *testing.T) {
	for _, src := range []string{
		"policy:\n  podSelector: app in (web, db), !legacy\n",
		"policy:\n  podSelector: >-\n    app in (web, db),\n    !legacy\n",
	} {
		c, err := load("x.yaml", []byte(src), knownFiles)
		if err != nil {
			t.Fatal(err)
		}
		if c.Policy.selector == nil {
			t.Errorf("%q: selector is not parsed", src)
		}
		for app, want := range map[string]bool{"web": true, "db": true, "cache": false} {
			if got := c.Policy.Decide(Target{PodLabels: map[string]string{"app": app}}).Inject; got != want {
				t.Errorf("%q: app=%s: inject %v, want %v", src, app, got, want)
			}
		}
	}
}

func TestLoadFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(path, []byte("swap: false\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path, knownFiles)
	if err != nil || c.Swap {
		t.Errorf("Load = swap %v, %v; want false, nil", c.Swap, err)
	}

	_, err = Load(filepath.Join(dir, "none.yaml"), knownFiles)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "none.yaml: no such file") || !strings.Contains(err.Error(), "; name a file") {
		t.Errorf("missing file: %v", err)
	}
	if _, err = Load(dir, knownFiles); err == nil || !strings.Contains(err.Error(), dir+": is a directory; name a file") {
		t.Errorf("directory: %v", err)
	}

	comment := "#" + strings.Repeat("x", maxSize-1)
	if err := os.WriteFile(path, []byte(comment), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err = Load(path, knownFiles); err != nil {
		t.Errorf("file of the greatest size: %v", err)
	}
	if err := os.WriteFile(path, []byte(comment+"x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err = Load(path, knownFiles); err == nil || !strings.Contains(err.Error(), path+": larger than 1048576 bytes") {
		t.Errorf("file one byte too large: %v", err)
	}
}

// Files that would cost the parser all memory, or minutes.
func TestLoadHostileShapes(t *testing.T) {
	for _, tt := range []struct{ src, want string }{
		{strings.Repeat("[", maxSize), "nested too deeply"},
		{strings.Repeat("]", maxSize/2) + strings.Repeat("[", maxSize/2), "x.yaml:1: "},
		{strings.Repeat("{a: ", maxSize/4), "nested too deeply"},
		{strings.Repeat("- ", maxSize/2), "nested too deeply"},
		{strings.Repeat("a: b\n", maxSize/5), "too many keys"},
		{strings.Repeat("? a\n: b\n", maxSize/8), "too many keys"},
	} {
		_, err := load("x.yaml", []byte(tt.src), knownFiles)
		if err == nil || !strings.HasPrefix(err.Error(), "x.yaml:") || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.12q…: got %v, want %q", tt.src, err, tt.want)
		}
	}
	// A long list is none of them.
	c, err := load("x.yaml", []byte("policy:\n  namespaces:\n    exclude:\n"+strings.Repeat("    - team-a\n", 50000)), knownFiles)
	if err != nil || len(c.Policy.Namespaces.Exclude) != 50000 {
		t.Errorf("50000 namespaces: %d, %v", len(c.Policy.Namespaces.Exclude), err)
	}
}

// Every fault is reported in one go, in the order of the lines, up to a bound.
func TestLoadReportsAll(t *testing.T) {
	src := "nri:\n  pluginIndex: \"5\"\nswop: true\nlog:\n  level: loud\n"
	_, err := load("x.yaml", []byte(src), knownFiles)
	if err == nil {
		t.Fatal("no error")
	}
	var heads []string
	for line := range strings.Lines(err.Error()) {
		heads = append(heads, strings.Join(strings.SplitN(line, ":", 4)[:3], ":"))
	}
	if want := []string{"x.yaml:2: nri.pluginIndex", "x.yaml:3: swop", "x.yaml:5: log.level"}; !slices.Equal(heads, want) {
		t.Errorf("got %q, want %q", heads, want)
	}

	_, err = load("x.yaml", []byte("policy: {namespaces: {exclude: ["+strings.Repeat("{}, ", 100)+"]}}"), knownFiles)
	if got := strings.Split(err.Error(), "\n"); len(got) != maxProblems+1 || got[maxProblems] != "x.yaml: 80 more faults; mend those above first" {
		t.Errorf("100 faults: got %d lines, last %q", len(got), got[len(got)-1])
	}
}
