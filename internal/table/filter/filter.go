// Package filter is the $filter of a query: parsed and compiled once, planned into ranges of keys, and evaluated on encoded
// rows without decoding them.
//
//	expr    := and ('or' and)*        and  := unary ('and' unary)*      unary := 'not' unary | primary
//	primary := '(' expr ')' | operand [op operand]                     op    := eq ne gt ge lt le
//	operand := property | literal
//
// A comparison has a literal on one side; a property alone is a Boolean. Where a row lacks the property, or holds another type,
// a comparison is false, ne too; "not" negates plainly. Int32, Int64 and Double compare with each other, exactly. Strings
// compare ordinally by UTF-16 code unit. Facts: protocol/table.md section 6.
package filter

import (
	"slices"
	"strings"

	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/table/entity"
)

type kind byte

const (
	kindAnd kind = iota
	kindOr
	kindNot
	kindCompare // slot op value
	kindConst   // value.Bits
)

type operator byte

const (
	opEq operator = iota
	opNe
	opGt
	opGe
	opLt
	opLe
)

var operators = map[string]operator{"eq": opEq, "ne": opNe, "gt": opGt, "ge": opGe, "lt": opLt, "le": opLe}

// mirrored is the operator with its sides exchanged.
var mirrored = [...]operator{opEq: opEq, opNe: opNe, opGt: opLt, opGe: opLe, opLt: opGt, opLe: opGe}

// Slots of what every entity has; the others index Filter.names.
const (
	slotPartitionKey = -1 - iota
	slotRowKey
	slotTimestamp
)

type node struct {
	kind  kind
	op    operator
	slot  int
	value entity.Value
	// key is value as it stands in a key, for a comparison of PartitionKey or RowKey with a String.
	key  []byte
	kids []node
}

// Filter is a compiled filter, immutable and safe for concurrent use. The zero Filter matches everything.
type Filter struct {
	root  *node
	names []string
}

// maxDepth bounds parentheses and "not"s within each other; LINQ providers nest one for every term.
const maxDepth = 1000

// Parse compiles the text of a $filter. Blank text gives a filter that matches everything. Errors are *protocol.Error.
func Parse(text string) (*Filter, error) {
	if strings.TrimSpace(text) == "" {
		return &Filter{}, nil
	}
	p := parser{lexer: lexer{text: strings.Clone(text)}}
	if err := p.advance(); err != nil {
		return nil, err
	}
	root, err := p.or(0)
	if err != nil {
		return nil, err
	}
	if p.tok.kind != tokenEnd {
		return nil, p.syntax(p.tok.at)
	}
	return &Filter{root: &root, names: p.names}, nil
}

type parser struct {
	lexer
	tok   token
	names []string
}

func (p *parser) advance() (err error) {
	p.tok, err = p.next()
	return err
}

func (p *parser) word(w string) bool {
	return p.tok.kind == tokenName && strings.EqualFold(p.tok.text, w)
}

func (p *parser) or(depth int) (node, error)  { return p.chain(depth, "or", kindOr, p.and) }
func (p *parser) and(depth int) (node, error) { return p.chain(depth, "and", kindAnd, p.unary) }

// chain reads operand (word operand)*; a parenthesised chain of the same kind is taken into it.
func (p *parser) chain(depth int, word string, k kind, operand func(int) (node, error)) (node, error) {
	first, err := operand(depth)
	if err != nil || !p.word(word) {
		return first, err
	}
	all := node{kind: k}
	add := func(n node) {
		if n.kind == k {
			all.kids = append(all.kids, n.kids...)
			return
		}
		all.kids = append(all.kids, n)
	}
	add(first)
	for p.word(word) {
		if err := p.advance(); err != nil {
			return node{}, err
		}
		n, err := operand(depth)
		if err != nil {
			return node{}, err
		}
		add(n)
	}
	return all, nil
}

func (p *parser) unary(depth int) (node, error) {
	if depth > maxDepth {
		return node{}, p.syntax(p.tok.at)
	}
	if p.word("not") {
		if err := p.advance(); err != nil {
			return node{}, err
		}
		n, err := p.unary(depth + 1)
		return node{kind: kindNot, kids: []node{n}}, err
	}
	if p.tok.kind != tokenOpen {
		return p.comparison()
	}
	if err := p.advance(); err != nil {
		return node{}, err
	}
	n, err := p.or(depth + 1)
	if err != nil {
		return node{}, err
	}
	if p.tok.kind != tokenClose {
		return node{}, p.syntax(p.tok.at)
	}
	return n, p.advance()
}

// errIncompatible is what the service says of operands that an operator does not take.
var errIncompatible = protocol.ErrInvalidInput.Saying("A binary operator with incompatible types was detected.")

func (p *parser) comparison() (node, error) {
	left, err := p.operand()
	if err != nil {
		return node{}, err
	}
	op, ok := operators[strings.ToLower(p.tok.text)]
	if p.tok.kind != tokenName || !ok {
		switch {
		case left.kind == tokenName: // a Boolean property
			return p.compare(left.text, opEq, entity.BooleanValue(true)), nil
		case left.value.Type == entity.Boolean:
			return node{kind: kindConst, value: left.value}, nil
		}
		return node{}, errIncompatible
	}
	if err := p.advance(); err != nil {
		return node{}, err
	}
	right, err := p.operand()
	if err != nil {
		return node{}, err
	}
	switch {
	case left.kind == tokenName && right.kind == tokenLiteral:
		return p.compare(left.text, op, right.value), nil
	case left.kind == tokenLiteral && right.kind == tokenName:
		return p.compare(right.text, mirrored[op], left.value), nil
	case left.kind == tokenLiteral:
		return node{kind: kindConst, value: entity.BooleanValue(holds(left.value, op, right.value))}, nil
	}
	return node{}, errIncompatible
}

// operand takes a property or a literal. A name before a parenthesis is a function, and the service has none.
func (p *parser) operand() (token, error) {
	t := p.tok
	if t.kind != tokenName && t.kind != tokenLiteral || t.text == "and" || t.text == "or" {
		return t, p.syntax(t.at)
	}
	if err := p.advance(); err != nil {
		return t, err
	}
	if t.kind == tokenName && p.tok.kind == tokenOpen {
		return t, protocol.ErrNotImplemented
	}
	return t, nil
}

func (p *parser) compare(name string, op operator, v entity.Value) node {
	n := node{kind: kindCompare, op: op, value: v}
	switch name {
	case "PartitionKey":
		n.slot = slotPartitionKey
	case "RowKey":
		n.slot = slotRowKey
	case "Timestamp":
		n.slot = slotTimestamp
	default:
		n.slot = slices.Index(p.names, name)
		if n.slot < 0 {
			n.slot = len(p.names)
			p.names = append(p.names, name)
		}
	}
	if n.slot < 0 && v.Type == entity.String {
		n.key = entity.AppendKeyString([]byte{}, v.Data)
	}
	return n
}
