package filter

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/table/entity"
)

type tokenKind byte

const (
	tokenEnd tokenKind = iota
	tokenOpen
	tokenClose
	tokenComma
	tokenName    // a property, an operator, and/or/not
	tokenLiteral // value is set
)

type token struct {
	kind  tokenKind
	at    int // bytes into the text
	text  string
	value entity.Value
}

// lexer cuts the text of a filter into tokens.
type lexer struct {
	text string
	at   int
}

func (l *lexer) syntax(at int) error {
	text := l.text
	if len(text) > 256 {
		text = text[:256]
	}
	return protocol.ErrInvalidInput.Saying(fmt.Sprintf("Syntax error at position %d in '%s'.", at, text))
}

func (l *lexer) next() (token, error) {
	for l.at < len(l.text) {
		r, n := utf8.DecodeRuneInString(l.text[l.at:])
		if !unicode.IsSpace(r) {
			break
		}
		l.at += n
	}
	if l.at == len(l.text) {
		return token{kind: tokenEnd, at: l.at}, nil
	}
	from := l.at
	switch c := l.text[from]; {
	case c == '(':
		l.at++
		return token{kind: tokenOpen, at: from}, nil
	case c == ')':
		l.at++
		return token{kind: tokenClose, at: from}, nil
	case c == ',':
		l.at++
		return token{kind: tokenComma, at: from}, nil
	case c == '\'':
		s, err := l.quoted()
		return token{kind: tokenLiteral, at: from, value: entity.StringValue(s)}, err
	case c >= '0' && c <= '9' || c == '-' || c == '.':
		v, err := l.number()
		return token{kind: tokenLiteral, at: from, value: v}, err
	}
	name := l.name()
	if name == "" {
		return token{}, l.syntax(from)
	}
	if l.at < len(l.text) && l.text[l.at] == '\'' {
		v, err := l.prefixed(from, name)
		return token{kind: tokenLiteral, at: from, value: v}, err
	}
	t := token{kind: tokenLiteral, at: from, text: name}
	switch {
	case strings.EqualFold(name, "true"):
		t.value = entity.BooleanValue(true)
	case strings.EqualFold(name, "false"):
		t.value = entity.BooleanValue(false)
	case name == "NaN", name == "INF":
		f, _ := entity.ParseDouble(name)
		t.value = entity.DoubleValue(f)
	default:
		t.kind = tokenName
	}
	return t, nil
}

func (l *lexer) name() string {
	from := l.at
	for l.at < len(l.text) {
		r, n := utf8.DecodeRuneInString(l.text[l.at:])
		if r != '_' && !unicode.IsLetter(r) && (l.at == from || !unicode.In(r, unicode.Nd, unicode.Mn, unicode.Mc, unicode.Pc, unicode.Cf)) {
			break
		}
		l.at += n
	}
	return l.text[from:l.at]
}

// quoted reads from the opening quote at l.at; a quote inside is doubled.
func (l *lexer) quoted() (string, error) {
	from := l.at
	l.at++
	start := l.at
	var unescaped []byte
	for ; l.at < len(l.text); l.at++ {
		if l.text[l.at] != '\'' {
			continue
		}
		if l.at+1 < len(l.text) && l.text[l.at+1] == '\'' {
			unescaped = append(unescaped, l.text[start:l.at+1]...)
			l.at++
			start = l.at + 1
			continue
		}
		s := l.text[start:l.at]
		l.at++
		if unescaped != nil {
			s = string(append(unescaped, s...))
		}
		return s, nil
	}
	return "", l.syntax(from)
}

// prefixed reads the quoted part of datetime'…', guid'…', X'…' and binary'…'. The prefix is in any case.
func (l *lexer) prefixed(from int, prefix string) (entity.Value, error) {
	s, err := l.quoted()
	if err != nil {
		return entity.Value{}, err
	}
	switch strings.ToLower(prefix) {
	case "datetime":
		if ticks, ok := entity.ParseDateTime(s); ok {
			return entity.DateTimeValue(ticks), nil
		}
	case "guid":
		if g, ok := entity.AppendParsedGuid(nil, s); ok {
			return entity.GuidValue(string(g)), nil
		}
	case "x", "binary":
		if b, ok := entity.AppendParsedHex(nil, s); ok {
			return entity.BinaryValue(string(b)), nil
		}
	}
	return entity.Value{}, l.syntax(from)
}

// number reads an Int32, an Int64 (suffix L) or a Double (with a fraction, an exponent or the suffix D, or -INF).
func (l *lexer) number() (entity.Value, error) {
	from := l.at
	if l.text[l.at] == '-' {
		l.at++
	}
	if strings.HasPrefix(l.text[l.at:], "INF") && l.at > from {
		l.at += len("INF")
		return entity.DoubleValue(math.Inf(-1)), l.ends(from)
	}
	integer := true
scan:
	for ; l.at < len(l.text); l.at++ {
		switch c := l.text[l.at]; {
		case c >= '0' && c <= '9':
		case c == '.', c == 'e', c == 'E':
			integer = false
			if c != '.' && l.at+1 < len(l.text) && (l.text[l.at+1] == '-' || l.text[l.at+1] == '+') {
				l.at++
			}
		default:
			break scan
		}
	}
	digits := l.text[from:l.at]
	suffix := byte(0)
	if l.at < len(l.text) {
		if c := l.text[l.at] | 0x20; c == 'l' && integer || c == 'd' {
			suffix = c
			l.at++
		}
	}
	if err := l.ends(from); err != nil {
		return entity.Value{}, err
	}
	switch {
	case suffix == 'l':
		if n, err := strconv.ParseInt(digits, 10, 64); err == nil {
			return entity.Int64Value(n), nil
		}
	case integer && suffix == 0:
		if n, err := strconv.ParseInt(digits, 10, 32); err == nil {
			return entity.Int32Value(int32(n)), nil
		}
	default:
		if f, ok := entity.ParseDouble(digits); ok {
			return entity.DoubleValue(f), nil
		}
	}
	return entity.Value{}, l.syntax(from)
}

// ends refuses a number that goes on as a name.
func (l *lexer) ends(from int) error {
	if r, _ := utf8.DecodeRuneInString(l.text[l.at:]); r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) {
		return l.syntax(from)
	}
	return nil
}
