package rest

import (
	"slices"
	"strings"

	"github.com/blobd/blobd/internal/invariants"
	"github.com/blobd/blobd/internal/protocol"
)

// field is one header or query parameter. Lower is the name in lower case.
type field struct{ name, lower, value string }

type fields []field

// Get returns the first value of the name, whose case does not matter.
func (f *fields) Get(name string) (string, bool) {
	invariants.Look(len(*f))
	for i := range *f {
		if e := &(*f)[i]; len(e.lower) == len(name) && (e.lower == name || strings.EqualFold(e.lower, name)) {
			return e.value, true
		}
	}
	return "", false
}

// get is Get for a name in lower case.
func (f fields) get(lower string) (string, bool) {
	invariants.Look(len(f))
	for i := range f {
		if f[i].lower == lower {
			return f[i].value, true
		}
	}
	return "", false
}

// All visits every field in the order sent.
func (f *fields) All(visit func(name, value string)) {
	for i := range *f {
		visit((*f)[i].name, (*f)[i].value)
	}
}

// parseHeaders indexes a header block that the framing has found well-formed.
func (f *fields) parseHeaders(block string, s *scratch) error {
	list := (*f)[:0]
	for block != "" {
		var line string
		line, block, _ = strings.Cut(block, "\r\n")
		if line == "" {
			break
		}
		name, value, _ := strings.Cut(line, ":")
		list = append(list, field{name, s.lower(name), trimOWS(value)})
	}
	*f = list
	return list.checkMetadata()
}

const metadataPrefix = "x-ms-meta-"

// checkMetadata refuses a metadata name that is given twice, also in another case: it could not be stored as sent. Its cost is
// linear but for the sorting of many, as anybody may send them.
func (f fields) checkMetadata() error {
	var some [16]string
	names := some[:0]
	for i := range f {
		if strings.HasPrefix(f[i].lower, metadataPrefix) {
			names = append(names, f[i].lower)
		}
	}
	if len(names) > 1 {
		slices.Sort(names)
	}
	for i := range names {
		if i > 0 && names[i] == names[i-1] {
			return protocol.ErrInvalidMetadata
		}
	}
	return nil
}

// maxParameters bounds the parameters of a query; an operation has hardly twenty, and each look-up passes over all of them.
const maxParameters = 256

// parseQuery indexes a query string.
func (f *fields) parseQuery(query string, s *scratch) error {
	list := (*f)[:0]
	for query != "" {
		var part string
		part, query, _ = strings.Cut(query, "&")
		if part == "" {
			continue
		}
		rawName, rawValue, _ := strings.Cut(part, "=")
		name, ok := s.unescape(rawName, true)
		if !ok {
			*f = list[:0]
			return protocol.ErrInvalidUri
		}
		if len(list) == maxParameters {
			*f = list[:0]
			return protocol.ErrInvalidUri
		}
		value, ok := s.unescape(rawValue, true)
		if !ok {
			*f = list[:0]
			return protocol.InvalidQuery(strings.Clone(name), strings.ToValidUTF8(rawValue, "\uFFFD"), "")
		}
		list = append(list, field{name, s.lower(name), value})
	}
	*f = list
	return nil
}

// trimOWS takes spaces and tabs off both ends.
func trimOWS(v string) string {
	for v != "" && (v[0] == ' ' || v[0] == '\t') {
		v = v[1:]
	}
	for v != "" && (v[len(v)-1] == ' ' || v[len(v)-1] == '\t') {
		v = v[:len(v)-1]
	}
	return v
}

// DecodeQuery decodes a part of a query string; what cannot be decoded comes back as it is.
func DecodeQuery(part string) string {
	s := scratch{b: make([]byte, 0, len(part))}
	if v, ok := s.unescape(part, true); ok {
		return v
	}
	return part
}
