package config

import (
	"reflect"
	"strings"
	"testing"
)

var longPath = "/" + strings.Repeat("x", 200)

// badValues is well-formed files whose values are wrong.
var badValues = []struct{ name, src, line, want string }{
	{
		"relative path", "swap: true\nmountpoint: mnt\n", "2",
		`mountpoint: got "mnt"; write an absolute path`,
	},
	{"empty path", "runDir: ''\n", "1", `runDir: got ""; write an absolute path`},
	{
		"control character in a path", "mountpoint: \"/mnt\\n\"\n", "1",
		`mountpoint: got "/mnt\n"; write a path without control characters`,
	},
	{"root as mountpoint", "mountpoint: //\n", "1", `mountpoint: is the root of the file system; name a folder of its own`},
	{
		"same folder twice", "mountpoint: /srv/x\nrunDir: /srv/x/\n", "2",
		`runDir: /srv/x lies in the mountpoint /srv/x, which would hide it; name a folder outside`,
	},
	{
		"state below the mountpoint", "mountpoint: /run\n", "",
		`runDir: /run/lxcfs-nri lies in the mountpoint /run, which would hide it; name a folder outside`,
	},
	{
		"long run folder", "runDir: " + longPath + "\n", "1",
		`runDir: longer than 80 bytes, which leaves no room for a socket's name; name a shorter path`,
	},
	{
		"context with a quote", "selinuxContext: 'a:b:c\",x'\n", "1",
		`selinuxContext: got "a:b:c\",x"; write auto, none, or a context such as system_u:object_r:container_file_t:s0`,
	},
	{
		"no context", "selinuxContext: off\n", "1",
		`selinuxContext: got "off"; write auto, none, or a context such as system_u:object_r:container_file_t:s0`,
	},
	{
		"long socket", "nri:\n  socket: " + longPath + "\n", "2",
		`nri.socket: longer than the 107 bytes of a socket's path; name a shorter one`,
	},
	{
		"relative socket", "nri:\n  socket: None\n", "2",
		`nri.socket: got "None"; write the absolute path of the runtime's socket, or none`,
	},
	{
		"plugin name", "nri:\n  pluginName: a/b\n", "2",
		`nri.pluginName: got "a/b"; write up to 63 letters, digits, '.', '_' or '-'`,
	},
	{
		"plugin index", "nri: {pluginIndex: '5'}\n", "1",
		`nri.pluginIndex: got "5"; write two digits in quotes, such as "50"`,
	},
	{"log level", "log:\n  level: verbose\n", "2", `log.level: got "verbose"; write one of debug, info, warn, error`},
	{"log format", "log:\n  format: JSON\n", "2", `log.format: got "JSON"; write one of text, json`},
	{"throttled", "stat:\n\n  throttled: show\n", "3", `stat.throttled: got "show"; write one of steal, hide`},
	{
		"file not known", "files:\n  include:\n  - proc/stat\n  - /proc/memnfo\n", "4",
		`files.include[1]: "/proc/memnfo" is no file that can be served; did you mean "proc/meminfo"? known files: proc/meminfo, proc/cpuinfo, proc/stat, sys/devices/system/cpu/online`,
	},
	{
		"file not near any", "files:\n  exclude: [etc]\n", "2",
		`files.exclude[0]: "etc" is no file that can be served; known files: proc/meminfo, proc/cpuinfo, proc/stat, sys/devices/system/cpu/online`,
	},
	{
		"nothing left", "files:\n  include: [proc/stat]\n  exclude: [proc/stat]\n", "3",
		`files.exclude: leaves no file to serve; remove an entry, or set policy.inject to false to leave containers alone`,
	},
	{
		"namespace pattern", "policy:\n  namespaces:\n    include: ['a', 'b[']\n", "3",
		`policy.namespaces.include[1]: "b[" is no pattern; close the bracket, or write a name with * and ? only`,
	},
	{
		"handler pattern", "policy:\n  skipRuntimeHandlers:\n  - kata*\n  - '[a-'\n", "4",
		`policy.skipRuntimeHandlers[1]: "[a-" is no pattern; close the bracket, or write a name with * and ? only`,
	},
	{
		"empty handler", "policy:\n  skipRuntimeHandlers: ['']\n", "2",
		`policy.skipRuntimeHandlers[0]: is empty; name a runtime handler, or remove the entry`,
	},
}

// What Load and Validate say of a well-formed file: with file and line from
// the one, without them from the other, which flags also go through.
func TestSemanticFaults(t *testing.T) {
	for _, tt := range badValues {
		t.Run(tt.name, func(t *testing.T) {
			_, err := load("x.yaml", []byte(tt.src), knownFiles)
			want := "x.yaml:" + tt.line + ": " + tt.want
			if tt.line == "" {
				want = "x.yaml: " + tt.want
			}
			if err == nil || err.Error() != want {
				t.Errorf("load:\ngot  %v\nwant %s", err, want)
			}

			c := Default()
			if _, found := decode([]byte(tt.src), &c); len(found) > 0 {
				t.Fatal(found)
			}
			if err := c.Validate(knownFiles); err == nil || err.Error() != tt.want {
				t.Errorf("Validate:\ngot  %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestBadSelector(t *testing.T) {
	_, err := load("x.yaml", []byte("swap: true\npolicy:\n  podSelector: app in web\n"), knownFiles)
	if err == nil {
		t.Fatal("no error")
	}
	got := err.Error()
	if !strings.HasPrefix(got, `x.yaml:3: policy.podSelector: "app in web" is no label selector: `) ||
		!strings.HasSuffix(got, "; write it as for kubectl get --selector, such as app in (web,db),tier!=cache") {
		t.Error(got)
	}
}

// The lists of the caller stay as they are, and a selector can be changed.
func TestValidateAgain(t *testing.T) {
	include := []string{"/proc/stat"}
	c := Default()
	c.Files.Include = include
	c.Policy.PodSelector = "app=web"
	if err := c.Validate(knownFiles); err != nil {
		t.Fatal(err)
	}
	if include[0] != "/proc/stat" || c.Files.Include[0] != "proc/stat" {
		t.Errorf("caller's list %q, ours %q", include, c.Files.Include)
	}
	web := Target{PodLabels: map[string]string{"app": "web"}}
	if d := c.Policy.Decide(web); !d.Inject {
		t.Errorf("app=web: %+v", d)
	}
	c.Policy.PodSelector = "app=db"
	if err := c.Validate(knownFiles); err != nil {
		t.Fatal(err)
	}
	if d := c.Policy.Decide(web); d.Inject {
		t.Errorf("app=db: %+v", d)
	}
	c.Policy.PodSelector, c.Files.Include = "", nil
	if err := c.Validate(knownFiles); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(c, Default()) {
		t.Errorf("got %+v, want the default", c)
	}
}

func TestNearest(t *testing.T) {
	names := []string{"exclude", "include"}
	for word, want := range map[string]string{
		"exlude": "exclude", "Includes": "include", "inclde": "include", "xyz": "", "": "", strings.Repeat("e", 300): "",
	} {
		if got := nearest(word, names); got != want {
			t.Errorf("nearest(%.20q) = %q, want %q", word, got, want)
		}
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{
		"":                                    `""`,
		"a\nb\x1b":                            `"a\nb\x1b"`,
		strings.Repeat("x", 1<<18):            `"` + strings.Repeat("x", 64) + `…"`,
		strings.Repeat("x", 63) + "€uro":      `"` + strings.Repeat("x", 63) + `…"`,
		strings.Repeat("\xff", shownLength+1): `"…"`,
	} {
		if got := quote(in); got != want {
			t.Errorf("quote(%.20q) = %s, want %s", in, got, want)
		}
	}
}
