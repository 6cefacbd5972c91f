package odata

import (
	"strings"
	"unicode/utf8"

	"github.com/blobd/blobd/internal/protocol"
)

// Target is what a path below the account names.
type Target struct {
	// Table is the table: of "T", "T()", "T(PartitionKey='p',RowKey='r')" or "Tables('T')".
	Table string
	// Set tells that it is "Tables" or "Tables('T')".
	Set bool
	// Entity tells that both keys are there.
	Entity               bool
	PartitionKey, RowKey string
}

// ParsePath reads a path as sent, without its leading slash: percent-encoded, quotes in keys doubled, the keys in either order.
func ParsePath(raw string) (Target, error) {
	path, err := Unescape(raw)
	if err != nil {
		return Target{}, err
	}
	name, rest, parens := strings.Cut(path, "(")
	t := Target{Table: name}
	if strings.EqualFold(name, "Tables") {
		t.Set, t.Table = true, ""
	}
	if !parens {
		return t, nil
	}
	switch {
	case rest == ")":
		return t, nil
	case t.Set:
		if t.Table, rest, err = cutQuoted(rest); err != nil || rest != ")" {
			return t, protocol.ErrInvalidUri
		}
		return t, nil
	}
	var seen [2]bool
	for i := range seen {
		key, value, _ := strings.Cut(rest, "=")
		if value, rest, err = cutQuoted(strings.TrimLeft(value, " ")); err != nil {
			return t, err
		}
		which := 0
		switch strings.TrimSpace(key) {
		case "PartitionKey":
			t.PartitionKey = value
		case "RowKey":
			t.RowKey, which = value, 1
		default:
			return t, protocol.ErrInvalidUri
		}
		if seen[which] {
			return t, protocol.ErrInvalidUri
		}
		seen[which] = true
		end := ","
		if i == 1 {
			end = ")"
		}
		var found bool
		if rest, found = strings.CutPrefix(rest, end); !found {
			return t, protocol.ErrInvalidUri
		}
	}
	if rest != "" {
		return t, protocol.ErrInvalidUri
	}
	t.Entity = true
	return t, nil
}

// cutQuoted reads a quoted string at the beginning of s.
func cutQuoted(s string) (value, rest string, err error) {
	if s == "" || s[0] != '\'' {
		return "", "", protocol.ErrInvalidUri
	}
	for i := 1; i < len(s); i++ {
		if s[i] != '\'' {
			continue
		}
		if i+1 < len(s) && s[i+1] == '\'' {
			i++
			continue
		}
		value, rest = s[1:i], s[i+1:]
		if strings.Contains(value, "''") {
			value = strings.ReplaceAll(value, "''", "'")
		}
		return value, rest, nil
	}
	return "", "", protocol.ErrInvalidUri
}

// Unescape decodes percent-escapes; the result is UTF-8.
func Unescape(s string) (string, error) {
	if strings.IndexByte(s, '%') >= 0 {
		b := make([]byte, 0, len(s))
		for i := 0; i < len(s); i++ {
			if s[i] != '%' {
				b = append(b, s[i])
				continue
			}
			hi, lo := byte(16), byte(16)
			if i+2 < len(s) {
				hi, lo = protocol.Unhex(s[i+1]), protocol.Unhex(s[i+2])
			}
			if hi > 15 || lo > 15 {
				return "", protocol.ErrInvalidUri
			}
			b = append(b, hi<<4|lo)
			i += 2
		}
		s = string(b)
	}
	if !utf8.ValidString(s) {
		return "", protocol.ErrInvalidUri
	}
	return s, nil
}

// AppendEntityPath appends "T(PartitionKey='p',RowKey='r')" with quotes doubled and the rest percent-encoded.
func AppendEntityPath(dst []byte, table, pk, rk string) []byte {
	return AppendRowPath(AppendPartitionPath(dst, table, pk), rk)
}

// AppendPartitionPath appends what AppendEntityPath does, up to where the RowKey stands.
func AppendPartitionPath(dst []byte, table, pk string) []byte {
	dst = append(append(dst, table...), `(PartitionKey='`...)
	return append(appendEscapedKey(dst, pk), `',RowKey='`...)
}

// AppendRowPath appends the rest.
func AppendRowPath(dst []byte, rk string) []byte {
	return append(appendEscapedKey(dst, rk), `')`...)
}

// unreserved has the bytes that stand for themselves in a URL (RFC 3986 section 2.3).
var unreserved = func() (t [256]bool) {
	for c := range t {
		b := byte(c)
		t[c] = b|0x20 >= 'a' && b|0x20 <= 'z' || b >= '0' && b <= '9' || b == '-' || b == '_' || b == '.' || b == '~'
	}
	return t
}()

func appendEscapedKey(dst []byte, s string) []byte {
	from := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if unreserved[c] {
			continue
		}
		dst = append(dst, s[from:i]...)
		from = i + 1
		if c == '\'' {
			dst = append(dst, '\'', '\'')
		} else {
			dst = append(dst, '%', "0123456789ABCDEF"[c>>4], "0123456789ABCDEF"[c&15])
		}
	}
	return append(dst, s[from:]...)
}
