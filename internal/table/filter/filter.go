// Package filter is the $filter of a query: parsed and compiled once, planned into ranges of keys, and evaluated on encoded
// rows without decoding them.
//
//	or      := and ('or' and)*             and     := unary ('and' unary)*
//	unary   := 'not' unary | primary [op primary]
//	primary := '(' or ')' | property | literal                           op := eq ne gt ge lt le
//
// A comparison has a literal on one side; a property alone is a Boolean. Where a row lacks the property a comparison is false, ne
// too; "not" negates plainly. A property of another type is less than the literal. An Int32 literal compares with Int64 and Double
// properties, an Int64 literal with Double ones, exactly; a wider literal is of another type. PartitionKey, RowKey and Timestamp have
// types of their own, so that a literal of another is refused. Strings compare ordinally by UTF-16 code unit. Facts: REST
// page "Querying tables and entities".
package filter

import (
	"slices"
	"strings"

	"github.com/blobd/blobd/internal/invariants"
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

// operatorKinds are their names in errors.
var operatorKinds = [...]string{opEq: "Equal", opNe: "NotEqual", opGt: "GreaterThan", opGe: "GreaterThanOrEqual", opLt: "LessThan", opLe: "LessThanOrEqual"}

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
	// key is value as it stands in a key, for a comparison of PartitionKey or RowKey.
	key  []byte
	kids []node
}

// Filter is a compiled filter, immutable and safe for concurrent use. The zero Filter matches everything.
type Filter struct {
	root  *node
	names []string
	slots map[string]int // of the names, where there are many; else nil
}

// fewNames are looked through faster than they are looked up.
const fewNames = 8

// maxDepth bounds parentheses and "not"s within each other; LINQ providers nest one for every term.
const maxDepth = 1000

// Parse compiles the text of a $filter of entities. Blank text gives a filter that matches everything. Errors are *protocol.Error.
func Parse(text string) (*Filter, error) {
	return parse(text, ofEntities)
}

// ParseTables compiles the text of a $filter of tables, for MatchName.
func ParseTables(text string) (*Filter, error) {
	return parse(text, ofTables)
}

// The properties that have types of their own.
var (
	ofEntities = map[string]entity.Type{"PartitionKey": entity.String, "RowKey": entity.String, "Timestamp": entity.DateTime}
	ofTables   = map[string]entity.Type{"TableName": entity.String}
)

func parse(text string, typed map[string]entity.Type) (*Filter, error) {
	if strings.TrimSpace(text) == "" {
		return &Filter{}, nil
	}
	p := parser{lexer: lexer{text: strings.Clone(text)}, typed: typed}
	if err := p.advance(); err != nil {
		return nil, err
	}
	all, err := p.or(0)
	if err != nil {
		return nil, err
	}
	if p.tok.kind != tokenEnd {
		return nil, p.syntax(p.lexer.at)
	}
	root, ok := p.condition(all)
	if !ok {
		return nil, protocol.ErrInvalidInput.Saying("The $filter expression must evaluate to a single boolean value.")
	}
	return &Filter{root: &root, names: p.names, slots: p.slots}, nil
}

type parser struct {
	lexer
	tok   token
	typed map[string]entity.Type // of the properties that every row has
	names []string
	slots map[string]int // see Filter
}

// slot is the number of a name.
func (p *parser) slot(name string) int {
	if p.slots != nil {
		if slot, ok := p.slots[name]; ok {
			return slot
		}
	} else {
		invariants.Look(len(p.names))
		if slot := slices.Index(p.names, name); slot >= 0 {
			return slot
		}
	}
	slot := len(p.names)
	p.names = append(p.names, name)
	if p.slots == nil && len(p.names) > fewNames {
		p.slots = map[string]int{}
		for i, n := range p.names {
			p.slots[n] = i
		}
	} else if p.slots != nil {
		p.slots[name] = slot
	}
	return slot
}

// operand is what has been read of an expression: a property or a literal as long as no operator has met it, else a condition.
type operand struct {
	tok  token // kind tokenEnd: none, it is node
	node node
}

func (p *parser) advance() (err error) {
	p.tok, err = p.next()
	return err
}

func (p *parser) word(w string) bool {
	return p.tok.kind == tokenName && strings.EqualFold(p.tok.text, w)
}

func (p *parser) or(depth int) (operand, error)  { return p.chain(depth, "or", kindOr, p.and) }
func (p *parser) and(depth int) (operand, error) { return p.chain(depth, "and", kindAnd, p.unary) }

// chain reads operand (word operand)*; a parenthesised chain of the same kind is taken into it.
func (p *parser) chain(depth int, word string, k kind, next func(int) (operand, error)) (operand, error) {
	left, err := next(depth)
	for err == nil && p.word(word) {
		if err = p.advance(); err != nil {
			break
		}
		var right operand
		if right, err = next(depth); err != nil {
			break
		}
		a, ok1 := p.condition(left)
		b, ok2 := p.condition(right)
		if !ok1 || !ok2 {
			return operand{}, p.incompatible(left, right, map[kind]string{kindAnd: "And", kindOr: "Or"}[k])
		}
		left = operand{node: join(k, a, b)}
	}
	return left, err
}

// join makes one chain of two conditions. The shorter goes behind the longer, whichever stands first, so that chains that are nested
// from either side are put together in linear time; their order has no meaning.
func join(k kind, a, b node) node {
	if b.kind == k && (a.kind != k || len(a.kids) < len(b.kids)) {
		a, b = b, a
	}
	if a.kind != k {
		a = node{kind: k, kids: []node{a}}
	}
	if b.kind != k {
		a.kids = append(a.kids, b)
		return a
	}
	invariants.Look(len(b.kids))
	a.kids = append(a.kids, b.kids...)
	return a
}

func (p *parser) unary(depth int) (operand, error) {
	if depth > maxDepth {
		return operand{}, p.syntax(p.lexer.at)
	}
	if !p.word("not") {
		return p.comparison(depth)
	}
	if err := p.advance(); err != nil {
		return operand{}, err
	}
	o, err := p.unary(depth + 1)
	if err != nil {
		return operand{}, err
	}
	n, ok := p.condition(o)
	if !ok {
		return operand{}, protocol.ErrInvalidInput.Saying("A unary operator with an incompatible type was detected. Found operand type '" + p.typeOf(o) + "' for operator kind 'Not'.")
	}
	return operand{node: node{kind: kindNot, kids: []node{n}}}, nil
}

func (p *parser) comparison(depth int) (operand, error) {
	left, err := p.primary(depth)
	if err != nil || p.tok.kind != tokenName {
		return left, err
	}
	op, ok := operators[strings.ToLower(p.tok.text)]
	if !ok {
		return left, nil
	}
	if err := p.advance(); err != nil {
		return operand{}, err
	}
	right, err := p.primary(depth)
	if err != nil {
		return operand{}, err
	}
	n, ok := p.compare(left, op, right)
	if !ok {
		return operand{}, p.incompatible(left, right, operatorKinds[op])
	}
	return operand{node: n}, nil
}

// primary takes a property, a literal or an expression in parentheses. A name before a parenthesis is a function, and the service
// has none.
func (p *parser) primary(depth int) (operand, error) {
	t := p.tok
	if t.kind == tokenOpen {
		if err := p.advance(); err != nil {
			return operand{}, err
		}
		o, err := p.or(depth + 1)
		if err != nil {
			return operand{}, err
		}
		if p.tok.kind != tokenClose {
			return operand{}, p.syntax(p.lexer.at)
		}
		return o, p.advance()
	}
	if t.kind != tokenName && t.kind != tokenLiteral || t.text == "and" || t.text == "or" {
		return operand{}, p.syntax(p.lexer.at)
	}
	if err := p.advance(); err != nil {
		return operand{}, err
	}
	if t.kind == tokenName && p.tok.kind == tokenOpen { // a function: tables have none, and the service's answer to one is 501
		return operand{}, protocol.ErrNotImplemented
	}
	return operand{tok: t}, nil
}

// condition makes a condition of an operand; ok is false if it is of another type.
func (p *parser) condition(o operand) (node, bool) {
	switch o.tok.kind {
	case tokenName:
		return p.property(o.tok.text, opEq, entity.BooleanValue(true))
	case tokenLiteral:
		return node{kind: kindConst, value: o.tok.value}, o.tok.value.Type == entity.Boolean
	}
	return o.node, true
}

// compare makes a condition of two operands; ok is false if they do not compare.
func (p *parser) compare(left operand, op operator, right operand) (node, bool) {
	a, b := left.tok, right.tok
	switch {
	case a.kind == tokenName && b.kind == tokenLiteral:
		return p.property(a.text, op, b.value)
	case a.kind == tokenLiteral && b.kind == tokenName:
		return p.property(b.text, mirrored[op], a.value)
	case a.kind != tokenLiteral || b.kind != tokenLiteral:
		return node{}, false
	}
	v, w := a.value, b.value
	if rank(v) < rank(w) {
		v, w, op = w, v, mirrored[op]
	}
	ok := v.Type == w.Type || rank(v) > 0 && rank(w) > 0
	return node{kind: kindConst, value: entity.BooleanValue(ok && holds(v, op, w))}, ok
}

// property compares a property with a literal; ok is false if its type is another.
func (p *parser) property(name string, op operator, v entity.Value) (node, bool) {
	typ, typed := p.typed[name]
	if typed && typ != v.Type {
		return node{}, false
	}
	n := node{kind: kindCompare, op: op, value: v}
	switch {
	case typed && name == "PartitionKey":
		n.slot = slotPartitionKey
	case typed && name == "RowKey":
		n.slot = slotRowKey
	case typed && name == "Timestamp":
		n.slot = slotTimestamp
	default:
		n.slot = p.slot(name)
	}
	if n.slot == slotPartitionKey || n.slot == slotRowKey {
		n.key = entity.AppendKeyString([]byte{}, v.Data)
	}
	return n, true
}

// typeOf is the type of an operand as an error names it. A property whose type no one knows is what a condition would have it.
func (p *parser) typeOf(o operand) string {
	switch o.tok.kind {
	case tokenLiteral:
		return o.tok.value.Type.String()
	case tokenName:
		if typ, ok := p.typed[o.tok.text]; ok {
			return typ.String()
		}
	}
	return entity.Boolean.String()
}

// incompatible is what the service says of operands that an operator does not take.
func (p *parser) incompatible(left, right operand, kind string) error {
	return protocol.ErrInvalidInput.Saying("A binary operator with incompatible types was detected. Found operand types '" + p.typeOf(left) + "' and '" + p.typeOf(right) + "' for operator kind '" + kind + "'.")
}
