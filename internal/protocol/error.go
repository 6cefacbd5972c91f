// Package protocol holds the words that the storage services share on the wire: errors, versions, conditions, ranges, names,
// dates and ETags, checksums. Plain Go, no HTTP server in sight.
package protocol

import (
	"net/textproto"
	"slices"
	"strings"
)

// Error is an answer of the service that says why not. The table in codes.go has one value for each code; With and Because
// return copies, so the table is never changed.
type Error struct {
	Status  int
	Code    string // x-ms-error-code
	Message string // first line of <Message>
	Details []Detail
	Headers []Detail // further response headers
	cause   error
}

// Detail is one extra child of an error body, in the order in which it was added, or one header.
type Detail struct{ Name, Value string }

func (e *Error) Error() string {
	s := e.Code + ": " + e.Message
	for _, d := range e.Details {
		s += "; " + d.Name + "=" + d.Value
	}
	return s
}

// Unwrap returns the internal cause, which is logged and never sent.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether target has the same code, so that errors.Is works on copies.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Status == e.Status
}

// maxDetail bounds what a detail repeats of a request, in bytes: headers may be long, and what was signed holds most of them.
const maxDetail = 4 << 10

// With adds a child to the body, such as HeaderName. A long value is cut.
func (e *Error) With(name, value string) *Error {
	if len(value) > maxDetail {
		value = strings.ToValidUTF8(value[:maxDetail], "") + "..."
	}
	c := *e
	c.Details = append(slices.Clip(c.Details), Detail{name, value})
	return &c
}

// WithHeader adds a response header.
func (e *Error) WithHeader(name, value string) *Error {
	c := *e
	c.Headers = append(slices.Clip(c.Headers), Detail{name, value})
	return &c
}

// Saying replaces the message.
func (e *Error) Saying(message string) *Error {
	c := *e
	c.Message = message
	return &c
}

// Because keeps the internal cause for the log.
func (e *Error) Because(cause error) *Error {
	c := *e
	c.cause = cause
	return &c
}

// InvalidHeader is InvalidHeaderValue for one header, as Azure words it.
func InvalidHeader(name, value string) *Error {
	return ErrInvalidHeaderValue.With("HeaderName", headerName(name)).With("HeaderValue", value)
}

// MissingHeader is MissingRequiredHeader for one header.
func MissingHeader(name string) *Error {
	return ErrMissingRequiredHeader.With("HeaderName", headerName(name))
}

// headerName is how the services write the name of a header: those of HTTP as RFC 9110 has them, their own in lower case.
func headerName(name string) string {
	if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-ms-") {
		return lower
	}
	return strings.Replace(textproto.CanonicalMIMEHeaderKey(name), "-Md5", "-MD5", 1)
}

// InvalidQuery is InvalidQueryParameterValue for one parameter; reason may be empty.
func InvalidQuery(name, value, reason string) *Error {
	return ErrInvalidQueryParameterValue.With("QueryParameterName", name).With("QueryParameterValue", value).With("Reason", reason)
}

// MissingQuery is MissingRequiredQueryParameter for one parameter.
func MissingQuery(name string) *Error {
	return ErrMissingRequiredQueryParameter.With("QueryParameterName", name)
}
