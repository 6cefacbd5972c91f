package protocol

import (
	"strings"
	"unicode/utf8"
)

// XMLHead is how every XML body of the service begins: a byte order mark and the declaration.
const XMLHead = "\ufeff<?xml version=\"1.0\" encoding=\"utf-8\"?>"

// xmlPlain has the bytes that stand for themselves in text.
var xmlPlain = func() (t [256]bool) {
	for c := 0x20; c < 0x80; c++ {
		t[c] = true
	}
	t['\t'], t['\n'] = true, true
	t['&'], t['<'], t['>'], t['"'], t['\''], t[0x7f] = false, false, false, false, false, true
	return t
}()

// AppendText appends s as XML text or as the value of an attribute. What XML 1.0 cannot hold becomes U+FFFD.
func AppendText(b []byte, s string) []byte {
	start := 0
	for i := 0; i < len(s); {
		if xmlPlain[s[i]] {
			i++
			continue
		}
		esc, width := "", 1
		switch c := s[i]; c {
		case '&':
			esc = "&amp;"
		case '<':
			esc = "&lt;"
		case '>':
			esc = "&gt;"
		case '"':
			esc = "&quot;"
		case '\'':
			esc = "&apos;"
		case '\r':
			esc = "&#xD;"
		default:
			var r rune
			r, width = utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && width == 1 || !xmlChar(r) {
				esc = "\uFFFD"
			}
		}
		if esc != "" {
			b = append(b, s[start:i]...)
			b = append(b, esc...)
			start = i + width
		}
		i += width
	}
	return append(b, s[start:]...)
}

// xmlChar tells what XML 1.0 allows (production 2, Char).
func xmlChar(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' || r >= 0x20 && r <= 0xD7FF || r >= 0xE000 && r <= 0xFFFD || r >= 0x10000
}

// XMLSafe reports whether XML 1.0 can hold a name.
func XMLSafe(s string) bool {
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			if c < 0x20 && c != '\t' && c != '\n' && c != '\r' {
				return false
			}
			i++
			continue
		}
		r, width := utf8.DecodeRuneInString(s[i:])
		if !xmlChar(r) {
			return false
		}
		i += width
	}
	return true
}

// AppendName appends an element whose text is a blob name or a part of one. If XML cannot hold it, the whole is percent-encoded
// and marked with Encoded="true" (since 2021-02-12).
func AppendName(b []byte, element, name string, v Version) []byte {
	b = append(b, '<')
	b = append(b, element...)
	if v >= V20210212 && !XMLSafe(name) {
		b = append(b, ` Encoded="true">`...)
		b = AppendPercent(b, name)
	} else {
		b = append(b, '>')
		b = AppendText(b, name)
	}
	b = append(b, '<', '/')
	b = append(b, element...)
	return append(b, '>')
}

// AppendPercent appends s with every byte but the unreserved ones percent-encoded.
func AppendPercent(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			b = append(b, c)
		} else {
			b = append(b, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return b
}

// AppendElement appends <name>text</name>, or <name /> if there is no text.
func AppendElement(b []byte, name, text string) []byte {
	b = append(b, '<')
	b = append(b, name...)
	if text == "" {
		return append(b, " />"...)
	}
	b = append(b, '>')
	b = AppendText(b, text)
	b = append(b, '<', '/')
	b = append(b, name...)
	return append(b, '>')
}

// Unhex is the value of a hexadecimal digit, over 15 for another byte.
func Unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}
