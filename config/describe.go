package config

import "github.com/goccy/go-yaml/ast"

// describe says what a node is, for "got … instead of …".
func describe(node ast.Node) string {
	switch node := node.(type) {
	case *ast.NullNode:
		return "no value"
	case *ast.StringNode:
		return "the text " + quote(node.Value)
	case *ast.LiteralNode:
		return "a block of text"
	case *ast.BoolNode:
		return "the boolean " + show(node.Token.Value)
	case *ast.IntegerNode:
		return "the number " + show(node.Token.Value)
	case *ast.FloatNode:
		return "the number " + show(node.Token.Value)
	case *ast.MappingNode:
		return "keys"
	case *ast.SequenceNode:
		return "a list"
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode:
		return "a YAML anchor"
	case *ast.TagNode:
		return "a YAML tag"
	}
	return "something unexpected"
}

// textRemedy says how to make the node a text.
func textRemedy(node ast.Node) string {
	switch node := node.(type) {
	case *ast.BoolNode:
		return "put it in quotes: " + quote(node.Token.Value)
	case *ast.IntegerNode:
		return "put it in quotes: " + quote(node.Token.Value)
	case *ast.FloatNode:
		return "put it in quotes: " + quote(node.Token.Value)
	case *ast.NullNode:
		return "write a value, or remove it"
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		return "write the value itself"
	}
	return "write a single value"
}
