package config

import (
	"errors"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// What the parser is given at most. It recurses at every opening bracket with
// a copy of the path so far, and compares every key with all before it: a file
// of 1 MiB that holds nothing but "[" takes all memory of the machine, one of
// 200 000 keys takes minutes. A configuration needs three levels and one key
// per setting.
const (
	maxDepth = 16
	maxKeys  = 1000
)

// parse is the one document of the source, or nil if there is nothing in it.
func parse(src []byte) (ast.Node, *problem) {
	tokens := lexer.Tokenize(string(src))
	if fault := checkShape(tokens); fault != nil {
		return nil, fault
	}
	// Doubled keys are found by the decoder, which knows their dotted path.
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, syntaxFault(err)
	}
	var doc ast.Node
	for _, d := range file.Docs {
		switch body := d.Body.(type) {
		case nil:
			// Nothing but comments, or a separator at either end.
		case *ast.DirectiveNode:
			return nil, &problem{line: line(body), text: "a YAML directive; remove the line"}
		default:
			if doc != nil {
				return nil, &problem{line: line(body), text: "a second YAML document begins above this line; remove the --- between them"}
			}
			doc = body
		}
	}
	return doc, nil
}

// checkShape refuses what would cost the parser more than it is worth.
func checkShape(tokens token.Tokens) *problem {
	brackets, keys, dashes, dashLine := 0, 0, 0, 0
	for _, t := range tokens {
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			brackets++
		case token.SequenceEndType, token.MappingEndType:
			// One too many is the parser's to report, not credit for more.
			brackets = max(brackets-1, 0)
		case token.MappingValueType:
			keys++
		case token.SequenceEntryType:
			if t.Position.Line != dashLine {
				dashes, dashLine = 0, t.Position.Line
			}
			dashes++
		}
		switch {
		case brackets > maxDepth || dashes > maxDepth:
			return &problem{line: t.Position.Line, text: "nested too deeply; is this the right file?"}
		case keys > maxKeys:
			return &problem{line: t.Position.Line, text: "too many keys; is this the right file?"}
		}
	}
	return nil
}

// syntaxFault is the parser's error in our form.
func syntaxFault(err error) *problem {
	fault := &problem{text: "not YAML; check quotes, brackets and indentation"}
	// The error's own text repeats the source over many lines, and its type
	// is internal to the library.
	type known interface {
		error
		GetMessage() string
		GetToken() *token.Token
	}
	if known, ok := errors.AsType[known](err); ok {
		fault.text = "not YAML: " + known.GetMessage() + "; check quotes, brackets and indentation there"
		if t := known.GetToken(); t != nil && t.Position != nil {
			fault.line = t.Position.Line
		}
	}
	return fault
}

// line is where a node begins, or 0 if the parser did not keep it.
func line(node ast.Node) int {
	if t := node.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 0
}
