package tagquery

import (
	"strconv"
	"strings"

	"github.com/blobd/blobd/internal/protocol"
)

// A where clause compares tags with constants (REST page "Find Blobs by Tags"):
//
//	expression = conjunction { "OR" conjunction }
//	conjunction = factor { "AND" factor }
//	factor     = [ "NOT" ] ( "(" expression ")" | comparison )
//	comparison = name operator 'value'
//	name       = word | "word" | @container
//
// Find Blobs by Tags takes a conjunction of comparisons with = > >= < <=, @container among the names; x-ms-if-tags takes all
// but @container, and <> as well. Keywords may have any case. Values compare as bytes. A comparison with a tag that the blob
// does not have is false, <> too.

// maxDepth bounds the nesting of parentheses and NOT, so that a clause cannot exhaust the stack.
const maxDepth = 64

// maxClause bounds the length of a clause in bytes.
const maxClause = 8 << 10

// Where is a parsed clause.
type Where struct {
	text string
	root *Node
	// Terms are the comparisons of a conjunction: what the index is searched by. Empty for an if-tags clause.
	Terms []*Node
}

type Node struct {
	Op          Op
	Name, Value string // of a comparison; containerName for @container
	left, right *Node
}

type Op byte

const (
	EQ Op = iota
	NE
	LT
	LE
	GT
	GE
	and
	or
	not
)

const ContainerName = "@container"

// Dialect is which grammar a clause is held to.
type Dialect byte

const (
	Find Dialect = iota // the query parameter where
	If                  // the header x-ms-if-tags
)

// ParseWhere parses a clause. The result does not alias s.
func ParseWhere(s string, dialect Dialect) (*Where, error) {
	p := parser{s: strings.Clone(s), dialect: dialect}
	if len(s) > maxClause {
		return nil, p.fail(maxClause, "the expression is too long")
	}
	p.next()
	root := p.expression(0)
	if p.err == nil && p.kind != tokenEnd {
		p.unexpected()
	}
	if p.err != nil {
		return nil, p.err
	}
	w := &Where{text: p.s, root: root}
	if dialect == Find {
		w.Terms = root.conjuncts(nil)
		tags := 0
		for _, t := range w.Terms {
			if t.Name != ContainerName {
				tags++
			} else if t.Op != EQ {
				return nil, p.fail(0, "only = is supported for @container")
			}
		}
		if tags == 0 {
			return nil, p.fail(0, "there must be at least one tag name in the expression")
		}
		if tags > maxTags {
			return nil, p.fail(0, "too many conditions")
		}
	}
	return w, nil
}

func (n *Node) conjuncts(to []*Node) []*Node {
	if n.Op == and {
		return n.right.conjuncts(n.left.conjuncts(to))
	}
	return append(to, n)
}

// Matches tells whether a blob in a container with tags sorted by key meets the clause.
func (w *Where) Matches(container string, tags []protocol.Pair) bool {
	return w.root.matches(container, tags)
}

// NamesContainer tells whether the clause has a term on @container, which a search within a container does not take.
func (w *Where) NamesContainer() bool { return w.root.namesContainer() }

func (n *Node) namesContainer() bool {
	return n != nil && (n.Name == ContainerName || n.left.namesContainer() || n.right.namesContainer())
}

func (n *Node) matches(container string, tags []protocol.Pair) bool {
	switch n.Op {
	case and:
		return n.left.matches(container, tags) && n.right.matches(container, tags)
	case or:
		return n.left.matches(container, tags) || n.right.matches(container, tags)
	case not:
		return !n.left.matches(container, tags)
	}
	if n.Name == ContainerName {
		return n.compare(container)
	}
	v, ok := Value(tags, n.Name)
	return ok && n.compare(v)
}

func (n *Node) compare(v string) bool {
	switch c := strings.Compare(v, n.Value); n.Op {
	case EQ:
		return c == 0
	case NE:
		return c != 0
	case LT:
		return c < 0
	case LE:
		return c <= 0
	case GT:
		return c > 0
	default:
		return c >= 0
	}
}

// Names tells whether the clause compares the tag.
func (w *Where) Names(tag string) bool {
	for _, t := range w.Terms {
		if t.Name == tag {
			return true
		}
	}
	return false
}

type token byte

const (
	tokenEnd token = iota
	tokenBad
	tokenWord      // a bare name
	tokenName      // a name in double quotes
	tokenValue     // a constant in single quotes
	tokenContainer // @container
	tokenOperator
	tokenOpen
	tokenClose
	tokenAnd
	tokenOr
	tokenNot
)

type parser struct {
	s       string
	dialect Dialect
	pos     int // after the token
	at      int // where the token begins
	kind    token
	text    string
	op      Op
	err     error
}

// fail keeps the first failure. Azure counts characters from 1.
func (p *parser) fail(at int, why string) error {
	if p.err == nil {
		if p.dialect == If {
			p.err = protocol.InvalidHeader("x-ms-if-tags", p.s)
		} else {
			p.err = protocol.InvalidQuery("where", p.s, "").
				Saying("Error parsing query at or near character position " + strconv.Itoa(at+1) + ": " + why)
		}
	}
	p.kind = tokenBad
	return p.err
}

func (p *parser) unexpected() {
	if p.kind == tokenEnd {
		p.fail(p.at, "unexpected end of query")
	} else {
		p.fail(p.at, "unexpected '"+p.s[p.at:p.pos]+"'")
	}
}

// next moves to the next token.
func (p *parser) next() {
	if p.err != nil {
		return
	}
	for p.pos < len(p.s) && (p.s[p.pos] == ' ' || p.s[p.pos] == '\t') {
		p.pos++
	}
	p.at = p.pos
	if p.pos == len(p.s) {
		p.kind = tokenEnd
		return
	}
	c := p.s[p.pos]
	p.pos++
	switch c {
	case '(':
		p.kind = tokenOpen
	case ')':
		p.kind = tokenClose
	case '=':
		p.kind, p.op = tokenOperator, EQ
	case '<':
		p.kind, p.op = tokenOperator, LT
		if p.accept('=') {
			p.op = LE
		} else if p.dialect == If && p.accept('>') {
			p.op = NE
		}
	case '>':
		p.kind, p.op = tokenOperator, GT
		if p.accept('=') {
			p.op = GE
		}
	case '\'', '"':
		p.quoted(c)
	default:
		p.word(c)
	}
}

func (p *parser) accept(c byte) bool {
	if p.pos < len(p.s) && p.s[p.pos] == c {
		p.pos++
		return true
	}
	return false
}

func (p *parser) quoted(quote byte) {
	end := strings.IndexByte(p.s[p.pos:], quote)
	if end < 0 {
		p.fail(p.at, "the quotation is not closed")
		return
	}
	p.text = p.s[p.pos : p.pos+end]
	p.pos += end + 1
	switch {
	case !validText(p.text):
		p.fail(p.at, "an invalid character in a tag name or value")
	case quote == '"' && (p.text == "" || len(p.text) > maxKey):
		p.fail(p.at, "a tag name must be between 1 and 128 characters in length")
	case quote == '\'' && len(p.text) > maxValue:
		p.fail(p.at, "a tag value must be between 0 and 256 characters in length")
	case quote == '"':
		p.kind = tokenName
	default:
		p.kind = tokenValue
	}
}

func (p *parser) word(first byte) {
	if !isWord(first) && first != '@' {
		p.fail(p.at, "unexpected '"+p.s[p.at:p.pos]+"'")
		return
	}
	for p.pos < len(p.s) && isWord(p.s[p.pos]) {
		p.pos++
	}
	p.text = p.s[p.at:p.pos]
	switch {
	case first == '@':
		p.kind = tokenContainer
		if p.text != ContainerName || p.dialect == If {
			p.fail(p.at, "unsupported parameter '"+p.text+"'")
		}
	case strings.EqualFold(p.text, "and"):
		p.kind = tokenAnd
	case strings.EqualFold(p.text, "or"):
		p.kind = tokenOr
	case strings.EqualFold(p.text, "not"):
		p.kind = tokenNot
	case len(p.text) > maxKey:
		p.fail(p.at, "a tag name must be between 1 and 128 characters in length")
	default:
		p.kind = tokenWord
	}
}

func isWord(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func (p *parser) expression(depth int) *Node {
	n := p.conjunction(depth)
	for p.kind == tokenOr {
		if p.dialect == Find {
			p.unexpected()
			return nil
		}
		p.next()
		n = &Node{Op: or, left: n, right: p.conjunction(depth)}
	}
	return n
}

func (p *parser) conjunction(depth int) *Node {
	n := p.factor(depth)
	for p.kind == tokenAnd {
		p.next()
		n = &Node{Op: and, left: n, right: p.factor(depth)}
	}
	return n
}

func (p *parser) factor(depth int) *Node {
	if depth > maxDepth {
		p.fail(p.at, "the expression is nested too deeply")
		return nil
	}
	switch p.kind {
	case tokenNot:
		if p.dialect == Find {
			p.unexpected()
			return nil
		}
		p.next()
		return &Node{Op: not, left: p.factor(depth + 1)}
	case tokenOpen:
		if p.dialect == Find {
			p.unexpected()
			return nil
		}
		p.next()
		n := p.expression(depth + 1)
		if p.kind != tokenClose {
			p.unexpected()
			return nil
		}
		p.next()
		return n
	case tokenWord, tokenName, tokenContainer:
		return p.comparison()
	}
	p.unexpected()
	return nil
}

func (p *parser) comparison() *Node {
	n := &Node{Name: p.text}
	p.next()
	if p.kind != tokenOperator {
		if p.err == nil {
			p.fail(p.at, "expected an operator")
		}
		return nil
	}
	n.Op = p.op
	p.next()
	if p.kind != tokenValue {
		p.unexpected()
		return nil
	}
	n.Value = p.text
	p.next()
	return n
}
