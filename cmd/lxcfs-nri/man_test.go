package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// The manual is made by the tests, so that the program does not carry what makes
// it, and no command, flag or key can be without a page.
var manDir = flag.String("man", "", "write the manual pages to `DIR`")

func TestManPages(t *testing.T) {
	dir := *manDir
	if dir == "" {
		dir = t.TempDir()
	}
	root := rootCommand()
	root.DisableAutoGenTag = true
	header := doc.GenManHeader{Section: "8", Source: "lxcfs-nri", Manual: "System Administration"}
	if err := doc.GenManTree(root, &header, dir); err != nil {
		t.Fatal(err)
	}
	checkCommand(t, dir, root)

	sample, err := os.ReadFile("../../packaging/config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "lxcfs-nri.yaml.5"), configPage(sample))
	pages, err := filepath.Glob("../../packaging/man/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		src, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, strings.TrimSuffix(filepath.Base(page), ".md")), src)
	}
}

func write(t *testing.T, path string, markdown []byte) {
	t.Helper()
	if err := os.WriteFile(path, md2man.Render(markdown), 0o644); err != nil {
		t.Fatal(err)
	}
}

// checkCommand checks that a command's page names its flags, and so on below it.
func checkCommand(t *testing.T, dir string, c *cobra.Command) {
	t.Helper()
	path := filepath.Join(dir, strings.ReplaceAll(c.CommandPath(), " ", "-")+".8")
	page, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	}
	for flag := range strings.FieldsSeq(c.LocalFlags().FlagUsages()) {
		if name, ok := strings.CutPrefix(flag, "--"); ok && !bytes.Contains(page, []byte(`--`+name)) {
			t.Errorf("%s does not tell of --%s", path, name)
		}
	}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			checkCommand(t, dir, sub)
		}
	}
}

// configPage is lxcfs-nri.yaml(5), in Markdown, from the sample configuration.
func configPage(sample []byte) []byte {
	b := bytes.NewBufferString(`lxcfs-nri.yaml 5 "" "lxcfs-nri" "File Formats"
==============================================

# NAME

lxcfs-nri.yaml - configuration of lxcfs-nri

# SYNOPSIS

/etc/lxcfs-nri/config.yaml

# DESCRIPTION

The file is YAML, and read once, when **lxcfs-nri serve** starts. Nothing has to be
set. A key that is not known, or a value of another type, is an error that names the
line and the remedy. Flags on the command line win over the file.

# KEYS

A dot stands for one more level of indentation.

`)
	for _, k := range sampleKeys(sample) {
		b.WriteString("**" + k.name + "**")
		if k.value != "" {
			b.WriteString(" (default: `" + k.value + "`)")
		}
		b.WriteString("\n:   " + strings.ReplaceAll(strings.Join(k.text, " "), "*", `\*`) + "\n\n")
	}
	b.WriteString("# SEE ALSO\n\n**lxcfs-nri-serve**(8)\n")
	return b.Bytes()
}

// sampleKey is a key of the sample: its dotted name, its default, and the
// comment above it.
type sampleKey struct {
	name, value string
	text        []string
}

func sampleKeys(sample []byte) []sampleKey {
	var keys []sampleKey
	var section, text []string
	for line := range strings.Lines(string(sample)) {
		line = strings.TrimRight(strings.TrimPrefix(line, "#"), "\n")
		trimmed := strings.TrimLeft(line, " ")
		depth := (len(line) - len(trimmed)) / 2
		comment, isComment := strings.CutPrefix(trimmed, "# ")
		switch {
		case trimmed == "":
			text = nil // what stands above the first key is of the whole file
		case isComment:
			text = append(text, comment)
		case strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "  "):
			text = append(text, trimmed)
		default:
			name, value, _ := strings.Cut(trimmed, ":")
			section = append(section[:depth], name)
			keys = append(keys, sampleKey{strings.Join(section, "."), strings.TrimSpace(value), text})
			text = nil
		}
	}
	return keys
}

func TestSampleKeys(t *testing.T) {
	got := sampleKeys([]byte("# All of it.\n\n# One\n# more.\n#a: 1\n\n# Two.\n#b:\n#  # Three.\n#  c:\n#    # Four.\n#    d: [x]\n#  # Five.\n#  e: \"\"\n"))
	want := []sampleKey{
		{"a", "1", []string{"One", "more."}},
		{"b", "", []string{"Two."}},
		{"b.c", "", []string{"Three."}},
		{"b.c.d", "[x]", []string{"Four."}},
		{"b.e", `""`, []string{"Five."}},
	}
	if !slices.EqualFunc(got, want, func(a, b sampleKey) bool {
		return a.name == b.name && a.value == b.value && slices.Equal(a.text, b.text)
	}) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
