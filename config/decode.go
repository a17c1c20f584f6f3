package config

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// decoder puts a document into a Config. It walks the tree itself instead of
// unmarshalling, since only so every fault is found in one go and named by its
// dotted key.
type decoder struct {
	config *Config
	lines  map[string]int // of every key and list entry met
	found  []problem
}

// decode reads source into c and returns the line of every key in it.
func decode(src []byte, c *Config) (lines map[string]int, found []problem) {
	d := decoder{config: c, lines: map[string]int{}}
	doc, fault := parse(src)
	switch {
	case fault != nil:
		d.found = append(d.found, *fault)
	case doc != nil:
		d.section("", doc)
	}
	return d.lines, d.found
}

// fault notes what is wrong at a node.
func (d *decoder) fault(node ast.Node, key, format string, args ...any) {
	d.found = append(d.found, problem{line: line(node), key: key, text: fmt.Sprintf(format, args...)})
}

// section reads the keys below a dotted key; "" is the whole file.
func (d *decoder) section(section string, node ast.Node) {
	switch node := node.(type) {
	case *ast.MappingNode:
		for _, value := range node.Values {
			d.entry(section, value)
		}
	case *ast.NullNode:
		// A section whose keys are all commented out.
	default:
		d.fault(node, section, "got %s instead of keys; known keys here: %s", describe(node), strings.Join(names(section), ", "))
	}
}

// entry reads one "name: value" of a section.
func (d *decoder) entry(section string, node *ast.MappingValueNode) {
	name, ok := keyName(node.Key)
	shown := show(name)
	if strings.Contains(name, ".") || strings.Contains(name, "[") {
		// It must not pass for a dotted key.
		shown = quote(name)
	}
	key := shown
	if section != "" {
		key = section + "." + shown
	}
	if !ok {
		d.fault(node.Key, key, "got %s as a key; write a plain name", describe(node.Key))
		return
	}
	if first, doubled := d.lines[key]; doubled {
		d.fault(node.Key, key, "set twice, first on line %d; keep one of the two", first)
		return
	}
	d.lines[key] = line(node.Key)
	if s, ok := lookup(key); ok {
		d.value(s, node)
		return
	}
	if isSection(key) {
		d.section(key, node.Value)
		return
	}
	d.fault(node.Key, key, "unknown key;%s known keys here: %s", suggestion(section, name), strings.Join(names(section), ", "))
}

// suggestion is " did you mean …?" for a key that does not exist, or nothing.
func suggestion(section, name string) string {
	if near := nearest(name, names(section)); near != "" {
		return fmt.Sprintf(" did you mean %q?", near)
	}
	switch {
	case strings.Contains(name, "."):
		if _, ok := lookup(name); ok {
			return " write it as nested keys, one level a line;"
		}
	case len(elsewhere(name)) > 0:
		return fmt.Sprintf(" did you mean %s? (check the indentation)", strings.Join(elsewhere(name), " or "))
	}
	return ""
}

// value reads the value of a setting.
func (d *decoder) value(s setting, node *ast.MappingValueNode) {
	at := node.Value
	if _, ok := at.(*ast.NullNode); ok {
		// The parser puts a value that is not there on any line.
		at = node.Key
	}
	switch field := s.at(d.config).(type) {
	case *string:
		text, ok := scalarText(node.Value)
		if !ok {
			d.fault(at, s.key, "got %s instead of a text; %s", describe(node.Value), textRemedy(node.Value))
			return
		}
		*field = text
	case *bool:
		value, ok := node.Value.(*ast.BoolNode)
		if !ok {
			d.fault(at, s.key, "got %s; write true or false", describe(node.Value))
			return
		}
		*field = value.Value
	case *[]string:
		d.list(s.key, field, node.Value, at)
	default:
		panic("BUG: no way to read " + s.key)
	}
}

// list reads a list of texts in place of the one in field.
func (d *decoder) list(key string, field *[]string, node, at ast.Node) {
	sequence, ok := node.(*ast.SequenceNode)
	if !ok {
		remedy := "write [] for an empty list, or remove the key"
		if text, ok := scalarText(node); ok {
			remedy = "write [" + quote(text) + "]"
		}
		d.fault(at, key, "got %s instead of a list; %s", describe(node), remedy)
		return
	}
	var all []string
	for i, value := range sequence.Values {
		entry := key + "[" + strconv.Itoa(i) + "]"
		d.lines[entry] = line(value)
		text, ok := scalarText(value)
		if !ok {
			d.fault(value, entry, "got %s instead of a text; %s", describe(value), textRemedy(value))
			continue
		}
		all = append(all, text)
	}
	*field = all
}

// keyName is the name a key is written as.
func keyName(key ast.MapKeyNode) (string, bool) {
	if t := key.GetToken(); t != nil {
		_, ok := key.(*ast.StringNode)
		return t.Value, ok
	}
	return "", false
}

// scalarText is the text of a node that is one.
func scalarText(node ast.Node) (string, bool) {
	switch node := node.(type) {
	case *ast.StringNode:
		return node.Value, true
	case *ast.LiteralNode:
		return strings.TrimSpace(node.Value.Value), true
	}
	return "", false
}
