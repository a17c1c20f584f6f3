package config

import (
	"strings"
	"testing"
)

// badFiles is every bad input and its whole message: file, line, key, remedy.
var badFiles = []struct{ name, src, want string }{
	{
		"unknown key", "policy:\n  namespaces:\n    exlude: [a]\n",
		`x.yaml:3: policy.namespaces.exlude: unknown key; did you mean "exclude"? known keys here: exclude, include`,
	},
	{
		"unknown key, nothing near", "a: 1\n",
		`x.yaml:1: a: unknown key; known keys here: attachExisting, files, log, mountpoint, nri, policy, required, runDir, selinuxContext, stat, swap`,
	},
	{
		"wrong case", "\nSwap: true\n",
		`x.yaml:2: Swap: unknown key; did you mean "swap"? known keys here: attachExisting, files, log, mountpoint, nri, policy, required, runDir, selinuxContext, stat, swap`,
	},
	{
		"wrong indentation", "policy:\n  exclude: [a]\n",
		`x.yaml:2: policy.exclude: unknown key; did you mean files.exclude or policy.namespaces.exclude? (check the indentation) known keys here: inject, namespaces, podSelector, skipHostPID, skipRuntimeHandlers, webhookAnnotations`,
	},
	{
		"dotted key", "policy.inject: false\n",
		`x.yaml:1: "policy.inject": unknown key; write it as nested keys, one level a line; known keys here: attachExisting, files, log, mountpoint, nri, policy, required, runDir, selinuxContext, stat, swap`,
	},
	{
		"key that forges lines", "\"a\\nb\": 1\n",
		`x.yaml:1: "a\nb": unknown key; known keys here: attachExisting, files, log, mountpoint, nri, policy, required, runDir, selinuxContext, stat, swap`,
	},
	{
		"required, where the hook can't find it", "swap: true\nrequired: true # by all means\n",
		`x.yaml:2: required: the OCI hook takes it otherwise; write "required: true" as a line of its own, or nowhere`,
	},
	{
		"number as a key", "log:\n  5: debug\n",
		`x.yaml:2: log.5: got the number 5 as a key; write a plain name`,
	},
	{
		"merge key", "<<: {swap: false}\n",
		`x.yaml:1: "<<": got a YAML anchor as a key; write a plain name`,
	},
	{
		"complex key", "? swap\n: false\n",
		`x.yaml:1: ?: got something unexpected as a key; write a plain name`,
	},
	{
		"doubled key", "swap: true\nlog: {level: info}\nswap: true\n",
		`x.yaml:3: swap: set twice, first on line 1; keep one of the two`,
	},
	{
		"doubled key, other quotes", "log:\n  level: info\n  'level': info\n",
		`x.yaml:3: log.level: set twice, first on line 2; keep one of the two`,
	},
	{
		"doubled section", "log:\n  level: info\nlog:\n  format: json\n",
		`x.yaml:3: log: set twice, first on line 1; keep one of the two`,
	},
	{
		"second document", "swap: true\n---\nlog:\n  level: info\n",
		`x.yaml:3: a second YAML document begins above this line; remove the --- between them`,
	},
	{
		"directive", "%YAML 1.2\n---\nswap: true\n",
		`x.yaml:1: a YAML directive; remove the line`,
	},
	{
		"anchor", "log:\n  level: &l info\n",
		`x.yaml:2: log.level: got a YAML anchor instead of a text; write the value itself`,
	},
	{
		"tag", "swap: !!bool true\n",
		`x.yaml:1: swap: got a YAML tag; write true or false`,
	},
	{
		"list as the file", "- swap\n",
		`x.yaml:1: got a list instead of keys; known keys here: attachExisting, files, log, mountpoint, nri, policy, required, runDir, selinuxContext, stat, swap`,
	},
	{
		"text as the file", "swap:true\n",
		`x.yaml:1: got the text "swap:true" instead of keys; known keys here: attachExisting, files, log, mountpoint, nri, policy, required, runDir, selinuxContext, stat, swap`,
	},
	{
		"text as a section", "log: debug\n",
		`x.yaml:1: log: got the text "debug" instead of keys; known keys here: format, level`,
	},
	{
		"text as a boolean", "swap: no\n",
		`x.yaml:1: swap: got the text "no"; write true or false`,
	},
	{
		"nothing as a boolean", "swap:\n\nlog: {}\n",
		`x.yaml:1: swap: got no value; write true or false`,
	},
	{
		"number as a text", "nri:\n  pluginIndex: 50\n",
		`x.yaml:2: nri.pluginIndex: got the number 50 instead of a text; put it in quotes: "50"`,
	},
	{
		"fraction as a text", "nri:\n  pluginName: 1.5\n",
		`x.yaml:2: nri.pluginName: got the number 1.5 instead of a text; put it in quotes: "1.5"`,
	},
	{
		"boolean as a text", "nri:\n  pluginName: true\n",
		`x.yaml:2: nri.pluginName: got the boolean true instead of a text; put it in quotes: "true"`,
	},
	{
		"nothing as a text", "runDir: ~\n",
		`x.yaml:1: runDir: got no value instead of a text; write a value, or remove it`,
	},
	{
		"list as a text", "runDir: [/run]\n",
		`x.yaml:1: runDir: got a list instead of a text; write a single value`,
	},
	{
		"text as a list", "files:\n  exclude: proc/stat\n",
		`x.yaml:2: files.exclude: got the text "proc/stat" instead of a list; write ["proc/stat"]`,
	},
	{
		"nothing as a list", "policy:\n  skipRuntimeHandlers:\n",
		`x.yaml:2: policy.skipRuntimeHandlers: got no value instead of a list; write [] for an empty list, or remove the key`,
	},
	{
		"keys as a list", "files:\n  exclude: {proc/stat: true}\n",
		`x.yaml:2: files.exclude: got keys instead of a list; write [] for an empty list, or remove the key`,
	},
	{
		"number in a list", "policy:\n  namespaces:\n    exclude:\n    - a\n    - 5\n",
		`x.yaml:5: policy.namespaces.exclude[1]: got the number 5 instead of a text; put it in quotes: "5"`,
	},
	{
		"list in a list", "policy:\n  namespaces:\n    exclude:\n    - [a]\n",
		`x.yaml:4: policy.namespaces.exclude[0]: got a list instead of a text; write a single value`,
	},
	{
		"open bracket", "files:\n  exclude: [a\n",
		`x.yaml:2: not YAML: sequence end token ']' not found; check quotes, brackets and indentation there`,
	},
	{
		"tab", "log:\n\tlevel: info\n",
		"x.yaml:2: not YAML: found character '\t' that cannot start any token; check quotes, brackets and indentation there",
	},
	{
		"two colons", "swap: true: false\n",
		`x.yaml:1: not YAML: mapping value is not allowed in this context; check quotes, brackets and indentation there`,
	},
	{
		"binary", "swap: true\n\x7fELF",
		`x.yaml:2: control character U+007F; remove it`,
	},
	{
		"other encoding", "# Gr\xfc\xdfe\n",
		`x.yaml:1: not UTF-8 text; save the file as UTF-8`,
	},
}

func TestLoadFaults(t *testing.T) {
	for _, tt := range badFiles {
		t.Run(tt.name, func(t *testing.T) {
			_, err := load("x.yaml", []byte(tt.src), knownFiles)
			if err == nil {
				t.Fatal("no error")
			}
			if got := err.Error(); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// Some versions of the library dereference nil here, so an upgrade must pass
// this first: https://github.com/goccy/go-yaml/issues/890.
func TestLoadStrayBracket(t *testing.T) {
	for _, src := range []string{"key:\n}", "swap: true\nkey:\n}\n"} {
		_, err := load("x.yaml", []byte(src), knownFiles)
		if err == nil || !strings.HasPrefix(err.Error(), "x.yaml:") {
			t.Errorf("%q: got %v, want an error that names the file", src, err)
		}
	}
}

func FuzzLoad(f *testing.F) {
	for _, seed := range []string{
		"", "swap: true", "nri:\n  socket: none\n", "policy: {namespaces: {exclude: [a, 'b*']}}",
		"files:\n  exclude:\n  - /proc/stat\n", "a: &b c\nd: *b\n", "key:\n}", "---\n...\n---\n", "? a\n: b", "%YAML 1.2\n",
		"policy:\n  podSelector: >-\n    a in (b)\n", "swap: !!bool true\n", "\"\\x00\": 'a''b'", "<<: *a", "- - -", "a:\n- b\n-\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		c, err := load("x.yaml", src, knownFiles)
		if err != nil {
			for line := range strings.Lines(err.Error()) {
				if !strings.HasPrefix(line, "x.yaml:") {
					t.Errorf("%q does not name the file", line)
				}
			}
			return
		}
		if err := c.Validate(knownFiles); err != nil {
			t.Errorf("valid once only: %v", err)
		}
	})
}
