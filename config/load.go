package config

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"unicode/utf8"
)

// maxSize bounds the file: far beyond any list of namespaces, and small enough
// to be read whole.
const maxSize = 1 << 20

// requiredLine is how package hook finds the key, which has no parser.
var requiredLine = regexp.MustCompile(`(?m)^required: +true *\r?$`)

// Load reads the YAML file at path on top of Default. Known lists the paths
// that can be served; Files may name no others.
//
// The reading is strict: unknown and doubled keys, values of another type, a
// second document, anchors and tags are errors. An empty file is not, and an
// empty list replaces the default. The error has a line for every fault, each
// with file, line, key and remedy.
func Load(path string, known []string) (Config, error) {
	src, err := read(path)
	if err != nil {
		return Config{}, err
	}
	return load(path, src, known)
}

// read reads the file, up to maxSize.
func read(path string) ([]byte, error) {
	const remedy = "name a file that can be read, or none: the defaults are complete"
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w; %s", err, remedy)
	}
	defer file.Close()
	src, err := io.ReadAll(io.LimitReader(file, maxSize+1))
	if err != nil {
		return nil, fmt.Errorf("%w; %s", err, remedy)
	}
	if len(src) > maxSize {
		return nil, report(path, []problem{problemf("", "larger than %d bytes; is this the right file?", maxSize)})
	}
	return src, nil
}

// load is Load of a file's content.
func load(file string, src []byte, known []string) (Config, error) {
	// Editors of other systems begin a file with a byte order mark, which
	// would become part of the first key.
	src = bytes.TrimPrefix(src, []byte("\ufeff"))
	if p, ok := checkText(src); !ok {
		return Config{}, report(file, []problem{p})
	}
	c := Default()
	lines, found := decode(src, &c)
	if c.Required != requiredLine.Match(src) {
		found = append(found, problem{line: lines["required"], key: "required", text: `the OCI hook takes it otherwise; write "required: true" as a line of its own, or nowhere`})
	}
	for _, p := range c.check(known) {
		p.line = lineOf(lines, p.key)
		found = append(found, p)
	}
	if len(found) > 0 {
		return Config{}, report(file, found)
	}
	return c, nil
}

// checkText looks for what no YAML file may hold; a binary handed over by
// mistake is told apart here rather than by a syntax error far away.
func checkText(src []byte) (problem, bool) {
	line := 1
	for i := 0; i < len(src); {
		r, size := utf8.DecodeRune(src[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			return problem{line: line, text: "not UTF-8 text; save the file as UTF-8"}, false
		case r < ' ' && r != '\t' && r != '\n' && r != '\r', r == 0x7f:
			return problem{line: line, text: fmt.Sprintf("control character %U; remove it", r)}, false
		case r == '\n':
			line++
		}
		i += size
	}
	return problem{}, true
}

// lineOf is the line of a key, or of the list it stands in.
func lineOf(lines map[string]int, key string) int {
	if line, ok := lines[key]; ok {
		return line
	}
	list, _, _ := strings.Cut(key, "[")
	return lines[list]
}
