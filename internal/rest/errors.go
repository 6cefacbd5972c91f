package rest

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

// WireError turns any failure into the answer that the client gets: the one place where kinds of failure become codes. The
// cause stays inside for the log.
func WireError(err error) *protocol.Error {
	var e *protocol.Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, engine.ErrNoSpace):
		return protocol.ErrServerBusy.Saying("The server cannot take writes: no space is left on its data disks.").Because(err)
	case errors.Is(err, engine.ErrUnavailable):
		return protocol.ErrServerBusy.Saying("The server cannot serve this request: too few of its data disks are available.").Because(err)
	case errors.Is(err, engine.ErrBusy):
		return protocol.ErrServerBusy.Saying("The server is short of resources at the moment. Please retry your request.").Because(err)
	case errors.Is(err, engine.ErrClosed), errors.Is(err, context.Canceled):
		return protocol.ErrServerBusy.Saying("The server is shutting down. Please retry your request.").Because(err)
	case errors.Is(err, context.DeadlineExceeded):
		return protocol.ErrOperationTimedOut.Because(err)
	case errors.Is(err, engine.ErrCorrupt):
		return protocol.ErrInternalError.Saying("The stored data is damaged and cannot be rebuilt.").Because(err)
	}
	return protocol.ErrInternalError.Because(err)
}

// ErrorWriter is implemented by a service that words its errors itself; the others get XML. The code header is set already;
// WriteError is not called for an answer without a body (HEAD, 304).
type ErrorWriter interface {
	WriteError(r *Request, e *protocol.Error)
}

// fail answers with an error; w may be nil.
func (r *Request) fail(err error, w ErrorWriter) {
	e := WireError(err)
	if r.cause == nil && errors.Unwrap(e) != nil {
		r.cause = e
	}
	r.code = e.Code
	r.dropBody()
	r.SetReason(e.Message)
	r.SetHeader("x-ms-error-code", e.Code)
	for _, h := range e.Headers {
		r.SetHeader(h.Name, h.Value)
	}
	switch {
	case r.Method == "HEAD" || e.Status == 304:
		r.Reply(e.Status)
	case w != nil:
		w.WriteError(r, e)
	default:
		r.ReplyXML(e.Status, AppendXMLError(nil, e, r.ID, r.Now))
	}
}

// BOM opens every XML body of the Blob service (as recorded answers have it).
const BOM = "\xEF\xBB\xBF"

// AppendXMLError appends the error body of the Blob service.
func AppendXMLError(b []byte, e *protocol.Error, id string, now time.Time) []byte {
	b = append(b, BOM+`<?xml version="1.0" encoding="utf-8"?><Error><Code>`...)
	b = appendText(b, e.Code)
	b = append(b, `</Code><Message>`...)
	b = AppendMessage(b, e.Message, id, now, appendText)
	b = append(b, `</Message>`...)
	for _, d := range e.Details {
		b = append(append(b, '<'), d.Name...)
		if d.Value == "" {
			b = append(b, " />"...)
			continue
		}
		b = appendText(append(b, '>'), d.Value)
		b = append(append(append(b, "</"...), d.Name...), '>')
	}
	return append(b, `</Error>`...)
}

// AppendMessage appends the message text that every service uses, with the request's id and time; escape appends the message
// itself as the format needs it.
func AppendMessage(b []byte, message, id string, now time.Time, escape func([]byte, string) []byte) []byte {
	b = escape(b, message)
	b = append(b, "\nRequestId:"...)
	b = append(b, id...)
	b = append(b, "\nTime:"...)
	return now.UTC().AppendFormat(b, "2006-01-02T15:04:05.0000000Z")
}

// appendText appends character data, escaped; what XML cannot carry becomes U+FFFD.
func appendText(b []byte, s string) []byte {
	for _, c := range strings.ToValidUTF8(s, "\uFFFD") {
		switch {
		case c == '<':
			b = append(b, "&lt;"...)
		case c == '>':
			b = append(b, "&gt;"...)
		case c == '&':
			b = append(b, "&amp;"...)
		case c == '\r':
			b = append(b, "&#xD;"...)
		case c < ' ' && c != '\t' && c != '\n', c == 0xFFFE, c == 0xFFFF:
			b = append(b, "\uFFFD"...)
		default:
			b = append(b, string(c)...)
		}
	}
	return b
}
