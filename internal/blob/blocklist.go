package blob

import (
	"encoding/base64"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/protocol"
)

// parseBlockID decodes a block id; ok is false for what is no base64 or is too long.
func parseBlockID(s string) (id string, ok bool) {
	if s == "" || len(s) > base64.StdEncoding.EncodedLen(record.MaxBlockID) || strings.ContainsAny(s, "\r\n") { // which the decoder skips
		return "", false
	}
	var buf [record.MaxBlockID + 2]byte
	n, err := base64.StdEncoding.Decode(buf[:], []byte(s))
	if err != nil || n == 0 || n > record.MaxBlockID {
		return "", false
	}
	return string(buf[:n]), true
}

// parseBlockList reads the body of Put Block List. It knows only what such a list is made of: a declaration, comments, the three
// elements, text, CDATA and references to single characters; anything else is InvalidXmlDocument, so there are no entities
// to expand.
func parseBlockList(doc string) ([]store.BlockRef, error) {
	x := listParser{s: strings.TrimPrefix(doc, "\ufeff")}
	if !x.prolog() || !x.open("BlockList") {
		return nil, protocol.ErrInvalidXmlDocument
	}
	if x.empty {
		return nil, x.end()
	}
	refs := make([]store.BlockRef, 0, min(store.MaxBlocks, 1+len(doc)/40))
	for {
		if !x.space() {
			return nil, protocol.ErrInvalidXmlDocument
		}
		if x.close("BlockList") {
			return refs, x.end()
		}
		var ref store.BlockRef
		var name string
		switch {
		case x.open("Latest"):
			name = "Latest"
		case x.open("Committed"):
			name, ref.Source = "Committed", store.CommittedBlock
		case x.open("Uncommitted"):
			name, ref.Source = "Uncommitted", store.UncommittedBlock
		default:
			return nil, protocol.ErrInvalidXmlDocument
		}
		text := ""
		if !x.empty {
			var ok bool
			if text, ok = x.text(); !ok || !x.close(name) {
				return nil, protocol.ErrInvalidXmlDocument
			}
		}
		var ok bool
		if ref.ID, ok = parseBlockID(strings.TrimSpace(text)); !ok {
			return nil, protocol.ErrInvalidBlockId
		}
		if len(refs) == store.MaxBlocks {
			return nil, protocol.ErrBlockListTooLong
		}
		refs = append(refs, ref)
	}
}

// listParser is a cursor over the document. Its methods leave it where it was when they return false.
type listParser struct {
	s     string
	empty bool // the element opened last was <x/>
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func skipSpace(s string) string {
	for s != "" && isSpace(s[0]) {
		s = s[1:]
	}
	return s
}

// space passes over white space and comments; false for a comment without an end.
func (x *listParser) space() bool {
	for {
		x.s = skipSpace(x.s)
		rest, ok := strings.CutPrefix(x.s, "<!--")
		if !ok {
			return true
		}
		i := strings.Index(rest, "-->")
		if i < 0 {
			return false
		}
		x.s = rest[i+3:]
	}
}

// prolog passes over a declaration.
func (x *listParser) prolog() bool {
	if rest, ok := strings.CutPrefix(x.s, "<?xml"); ok {
		i := strings.Index(rest, "?>")
		if i < 1 || !isSpace(rest[0]) || strings.ContainsAny(rest[:i], "<>") {
			return false
		}
		x.s = rest[i+2:]
	}
	return x.space()
}

// open passes over <name>, <name/> or a tag with attributes, which mean nothing here.
func (x *listParser) open(name string) bool {
	rest, ok := strings.CutPrefix(x.s, "<")
	if !ok {
		return false
	}
	if rest, ok = strings.CutPrefix(rest, name); !ok || rest == "" || !isSpace(rest[0]) && rest[0] != '>' && rest[0] != '/' {
		return false
	}
	i := strings.IndexByte(rest, '>')
	if i < 0 || strings.ContainsAny(rest[:i], "<&") {
		return false
	}
	attributes := rest[:i]
	x.empty = strings.HasSuffix(attributes, "/")
	attributes = skipSpace(strings.TrimSuffix(attributes, "/"))
	if attributes != "" && (strings.Count(attributes, `"`)%2 != 0 || !strings.Contains(attributes, `="`)) {
		return false
	}
	x.s = rest[i+1:]
	return true
}

// close passes over </name>.
func (x *listParser) close(name string) bool {
	rest, ok := strings.CutPrefix(x.s, "</")
	if !ok {
		return false
	}
	if rest, ok = strings.CutPrefix(rest, name); !ok {
		return false
	}
	if rest, ok = strings.CutPrefix(skipSpace(rest), ">"); !ok {
		return false
	}
	x.s = rest
	return true
}

// text reads up to the next tag: characters, references to them and CDATA sections.
func (x *listParser) text() (string, bool) {
	var out strings.Builder
	rest := x.s
	for {
		i := strings.IndexByte(rest, '<')
		if i < 0 {
			return "", false
		}
		t := rest[:i]
		if strings.IndexByte(t, '&') >= 0 {
			var ok bool
			if t, ok = unescape(t); !ok {
				return "", false
			}
		}
		rest = rest[i:]
		section, ok := strings.CutPrefix(rest, "<![CDATA[")
		if !ok {
			x.s = rest
			if out.Len() == 0 {
				return t, true
			}
			out.WriteString(t)
			return out.String(), true
		}
		end := strings.Index(section, "]]>")
		if end < 0 {
			return "", false
		}
		out.WriteString(t)
		out.WriteString(section[:end])
		rest = section[end+3:]
	}
}

// references are the entities that XML has without a declaration.
var references = map[string]rune{"amp": '&', "lt": '<', "gt": '>', "quot": '"', "apos": '\''}

// unescape replaces the references in a text. Others than the predefined ones and those to characters are no XML here.
func unescape(s string) (string, bool) {
	var out strings.Builder
	for {
		text, rest, found := strings.Cut(s, "&")
		out.WriteString(text)
		if !found {
			return out.String(), true
		}
		name, after, ok := strings.Cut(rest, ";")
		if !ok {
			return "", false
		}
		c, known := references[name]
		if number, numeric := strings.CutPrefix(name, "#"); numeric {
			base := 10
			if hex, ok := strings.CutPrefix(number, "x"); ok {
				number, base = hex, 16
			}
			n, err := strconv.ParseUint(number, base, 21)
			c, known = rune(n), err == nil && n > 0 && utf8.ValidRune(rune(n))
		}
		if !known {
			return "", false
		}
		out.WriteRune(c)
		s = after
	}
}

// end tells whether nothing follows.
func (x *listParser) end() error {
	if !x.space() || x.s != "" {
		return protocol.ErrInvalidXmlDocument
	}
	return nil
}
