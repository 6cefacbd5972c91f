package blob

import (
	"strconv"
	"strings"

	"github.com/blobd/blobd/internal/protocol"
)

// A where clause compares tags with constants (blob.md section 14):
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

// maxWhereDepth bounds the nesting of parentheses and NOT, so that a clause cannot exhaust the stack.
const maxWhereDepth = 64

// maxWhere bounds the length of a clause in bytes.
const maxWhere = 8 << 10

// where is a parsed clause.
type where struct {
	text string
	root *whereNode
	// terms are the comparisons of a conjunction: what the index is searched by. Empty for an if-tags clause.
	terms []*whereNode
}

type whereNode struct {
	op          whereOp
	name, value string // of a comparison; containerName for @container
	left, right *whereNode
}

type whereOp byte

const (
	whereEQ whereOp = iota
	whereNE
	whereLT
	whereLE
	whereGT
	whereGE
	whereAnd
	whereOr
	whereNot
)

const containerName = "@container"

// whereDialect is which grammar a clause is held to.
type whereDialect byte

const (
	findDialect whereDialect = iota // the query parameter where
	ifDialect                       // the header x-ms-if-tags
)

// parseWhere parses a clause. The result does not alias s.
func parseWhere(s string, dialect whereDialect) (*where, error) {
	p := whereParser{s: clone(s), dialect: dialect}
	if len(s) > maxWhere {
		return nil, p.fail(maxWhere, "the expression is too long")
	}
	p.next()
	root := p.expression(0)
	if p.err == nil && p.kind != tokenEnd {
		p.unexpected()
	}
	if p.err != nil {
		return nil, p.err
	}
	w := &where{text: p.s, root: root}
	if dialect == findDialect {
		w.terms = root.conjuncts(nil)
		tags := 0
		for _, t := range w.terms {
			if t.name != containerName {
				tags++
			} else if t.op != whereEQ {
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

func (n *whereNode) conjuncts(to []*whereNode) []*whereNode {
	if n.op == whereAnd {
		return n.right.conjuncts(n.left.conjuncts(to))
	}
	return append(to, n)
}

// matches tells whether a blob in a container with tags sorted by key meets the clause.
func (w *where) matches(container string, tags []Pair) bool { return w.root.matches(container, tags) }

func (n *whereNode) matches(container string, tags []Pair) bool {
	switch n.op {
	case whereAnd:
		return n.left.matches(container, tags) && n.right.matches(container, tags)
	case whereOr:
		return n.left.matches(container, tags) || n.right.matches(container, tags)
	case whereNot:
		return !n.left.matches(container, tags)
	}
	if n.name == containerName {
		return n.compare(container)
	}
	v, ok := tagValue(tags, n.name)
	return ok && n.compare(v)
}

func (n *whereNode) compare(v string) bool {
	switch c := strings.Compare(v, n.value); n.op {
	case whereEQ:
		return c == 0
	case whereNE:
		return c != 0
	case whereLT:
		return c < 0
	case whereLE:
		return c <= 0
	case whereGT:
		return c > 0
	default:
		return c >= 0
	}
}

// names tells whether the clause compares the tag.
func (w *where) names(tag string) bool {
	for _, t := range w.terms {
		if t.name == tag {
			return true
		}
	}
	return false
}

type whereToken byte

const (
	tokenEnd whereToken = iota
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

type whereParser struct {
	s       string
	dialect whereDialect
	pos     int // after the token
	at      int // where the token begins
	kind    whereToken
	text    string
	op      whereOp
	err     error
}

// fail keeps the first failure. Azure counts characters from 1.
func (p *whereParser) fail(at int, why string) error {
	if p.err == nil {
		if p.dialect == ifDialect {
			p.err = protocol.InvalidHeader("x-ms-if-tags", p.s)
		} else {
			p.err = protocol.InvalidQuery("where", p.s, "").
				Saying("Error parsing query at or near character position " + strconv.Itoa(at+1) + ": " + why)
		}
	}
	p.kind = tokenBad
	return p.err
}

func (p *whereParser) unexpected() {
	if p.kind == tokenEnd {
		p.fail(p.at, "unexpected end of query")
	} else {
		p.fail(p.at, "unexpected '"+p.s[p.at:p.pos]+"'")
	}
}

// next moves to the next token.
func (p *whereParser) next() {
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
		p.kind, p.op = tokenOperator, whereEQ
	case '<':
		p.kind, p.op = tokenOperator, whereLT
		if p.accept('=') {
			p.op = whereLE
		} else if p.dialect == ifDialect && p.accept('>') {
			p.op = whereNE
		}
	case '>':
		p.kind, p.op = tokenOperator, whereGT
		if p.accept('=') {
			p.op = whereGE
		}
	case '\'', '"':
		p.quoted(c)
	default:
		p.word(c)
	}
}

func (p *whereParser) accept(c byte) bool {
	if p.pos < len(p.s) && p.s[p.pos] == c {
		p.pos++
		return true
	}
	return false
}

func (p *whereParser) quoted(quote byte) {
	end := strings.IndexByte(p.s[p.pos:], quote)
	if end < 0 {
		p.fail(p.at, "the quotation is not closed")
		return
	}
	p.text = p.s[p.pos : p.pos+end]
	p.pos += end + 1
	switch {
	case !validTagText(p.text):
		p.fail(p.at, "an invalid character in a tag name or value")
	case quote == '"' && (p.text == "" || len(p.text) > maxTagKey):
		p.fail(p.at, "a tag name must be between 1 and 128 characters in length")
	case quote == '\'' && len(p.text) > maxTagValue:
		p.fail(p.at, "a tag value must be between 0 and 256 characters in length")
	case quote == '"':
		p.kind = tokenName
	default:
		p.kind = tokenValue
	}
}

func (p *whereParser) word(first byte) {
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
		if p.text != containerName || p.dialect == ifDialect {
			p.fail(p.at, "unsupported parameter '"+p.text+"'")
		}
	case strings.EqualFold(p.text, "and"):
		p.kind = tokenAnd
	case strings.EqualFold(p.text, "or"):
		p.kind = tokenOr
	case strings.EqualFold(p.text, "not"):
		p.kind = tokenNot
	case len(p.text) > maxTagKey:
		p.fail(p.at, "a tag name must be between 1 and 128 characters in length")
	default:
		p.kind = tokenWord
	}
}

func isWord(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func (p *whereParser) expression(depth int) *whereNode {
	n := p.conjunction(depth)
	for p.kind == tokenOr {
		if p.dialect == findDialect {
			p.unexpected()
			return nil
		}
		p.next()
		n = &whereNode{op: whereOr, left: n, right: p.conjunction(depth)}
	}
	return n
}

func (p *whereParser) conjunction(depth int) *whereNode {
	n := p.factor(depth)
	for p.kind == tokenAnd {
		p.next()
		n = &whereNode{op: whereAnd, left: n, right: p.factor(depth)}
	}
	return n
}

func (p *whereParser) factor(depth int) *whereNode {
	if depth > maxWhereDepth {
		p.fail(p.at, "the expression is nested too deeply")
		return nil
	}
	switch p.kind {
	case tokenNot:
		if p.dialect == findDialect {
			p.unexpected()
			return nil
		}
		p.next()
		return &whereNode{op: whereNot, left: p.factor(depth + 1)}
	case tokenOpen:
		if p.dialect == findDialect {
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

func (p *whereParser) comparison() *whereNode {
	n := &whereNode{name: p.text}
	p.next()
	if p.kind != tokenOperator {
		if p.err == nil {
			p.fail(p.at, "expected an operator")
		}
		return nil
	}
	n.op = p.op
	p.next()
	if p.kind != tokenValue {
		p.unexpected()
		return nil
	}
	n.value = p.text
	p.next()
	return n
}
