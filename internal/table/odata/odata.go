// Package odata is the wire form of the Table service: entities and tables in JSON (three levels of metadata) and Atom, both
// ways, the keys in a URL, errors, and the multipart body of a batch. Plain Go on bytes, no HTTP server in sight.
//
// Decoding is strict: what is not exactly an entity is the service's error, and takes time and memory in proportion to the
// body. Encoding appends to the caller's buffer and allocates nothing of its own. Facts: REST pages "Payload format
// for Table service operations" and "Performing entity group transactions".
package odata

import (
	"strings"

	"github.com/blobd/blobd/internal/protocol"
)

// Format is the form of an answer.
type Format byte

// The formats.
const (
	Minimal Format = iota // application/json;odata=minimalmetadata, also for plain application/json
	None                  // application/json;odata=nometadata
	Full                  // application/json;odata=fullmetadata
	Atom                  // application/atom+xml
)

// ContentType is the Content-Type of an answer that is one entity, a feed of them, or an error.
func (f Format) ContentType() string {
	switch f {
	case None:
		return "application/json;odata=nometadata;streaming=true;charset=utf-8"
	case Full:
		return "application/json;odata=fullmetadata;streaming=true;charset=utf-8"
	case Atom:
		return "application/atom+xml;charset=utf-8"
	}
	return "application/json;odata=minimalmetadata;streaming=true;charset=utf-8"
}

// JSON tells whether the format is one of JSON's.
func (f Format) JSON() bool { return f != Atom }

// errInput is what the service says of a body that it cannot read.
var errInput = protocol.ErrInvalidInput.Saying("An error occurred while processing this request.")

// Negotiate chooses the format of the answer from $format, which overrides Accept. A request that names none gets Atom in the
// versions that have it and JSON after. Even with an error the format is one to answer in.
func Negotiate(version protocol.Version, format, accept string) (Format, error) {
	asked, known := Minimal, false
	if format != "" {
		asked, known = parseFormat(format)
	} else {
		// A browser's Accept names XML before anything: where there is no Atom any more, the next best is taken.
		for rest := accept; rest != "" && !known; {
			var one string
			one, rest, _ = strings.Cut(rest, ",")
			asked, known = parseFormat(one)
			if asked == Atom && version >= protocol.V20151211 && rest != "" {
				asked, known = Minimal, false
			}
		}
	}
	switch {
	case !known && (format != "" || accept != "" && !strings.Contains(accept, "*")):
		return Minimal, protocol.ErrMediaTypeNotSupported
	case !known && version < protocol.V20151211:
		return Atom, nil
	case !known:
		return Minimal, nil
	case asked == Atom && version >= protocol.V20151211:
		return Atom, protocol.ErrAtomFormatNotSupported
	case asked != Atom && version < protocol.V20130815:
		return asked, protocol.ErrJsonFormatNotSupported
	}
	return asked, nil
}

func parseFormat(s string) (Format, bool) {
	switch s { // as most clients write it
	case "application/json", "application/json;odata=minimalmetadata":
		return Minimal, true
	case "application/json;odata=nometadata":
		return None, true
	case "application/json;odata=fullmetadata":
		return Full, true
	}
	media, params, _ := strings.Cut(s, ";")
	switch strings.ToLower(strings.TrimSpace(media)) {
	case "application/atom+xml", "application/xml", "text/xml", "atom":
		return Atom, true
	case "application/json", "json":
	default:
		return Minimal, false
	}
	for params != "" {
		var one string
		one, params, _ = strings.Cut(params, ";")
		name, value, _ := strings.Cut(one, "=")
		if strings.EqualFold(strings.TrimSpace(name), "odata") {
			switch strings.ToLower(strings.TrimSpace(value)) {
			case "nometadata":
				return None, true
			case "fullmetadata":
				return Full, true
			case "minimalmetadata":
				return Minimal, true
			}
			return Minimal, false
		}
	}
	return Minimal, true
}

// BodyIsAtom tells the form of a request's body: by its Content-Type, without one by its first character.
func BodyIsAtom(version protocol.Version, contentType string, body []byte) (bool, error) {
	f, known := parseFormat(contentType)
	if contentType == "" {
		f, known = Minimal, true
		for _, c := range body {
			if c == '<' || c == 0xEF {
				f = Atom
			}
			if c != ' ' && c != '\r' && c != '\n' && c != '\t' {
				break
			}
		}
	}
	switch {
	case !known:
		return false, protocol.ErrMediaTypeNotSupported
	case f == Atom && version >= protocol.V20151211:
		return true, protocol.ErrAtomFormatNotSupported
	case f != Atom && version < protocol.V20130815:
		return false, protocol.ErrJsonFormatNotSupported
	}
	return f == Atom, nil
}
