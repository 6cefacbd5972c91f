package odata

import (
	"github.com/blobd/blobd/internal/protocol"
)

// AppendError appends the body of an error in a format. text is the whole message: the service's text, the request's id and
// the time, a line each.
func AppendError(dst []byte, f Format, e *protocol.Error, text string) []byte {
	if f == Atom {
		dst = append(append(append(dst, xmlHead...), `<error xmlns="`+nsMetadata+`"><code>`...), e.Code...)
		dst = append(dst, `</code><message xml:lang="en-US">`...)
		dst = append(appendXMLText(dst, text), `</message>`...)
		for _, d := range e.Details {
			if d.Value != "" {
				dst = append(append(append(dst, '<'), d.Name...), '>')
				dst = append(append(append(appendXMLText(dst, d.Value), "</"...), d.Name...), '>')
			}
		}
		return append(dst, `</error>`...)
	}
	dst = append(append(append(dst, `{"odata.error":{"code":"`...), e.Code...), `","message":{"lang":"en-US","value":`...)
	dst = append(appendJSONString(dst, text), '}')
	for _, d := range e.Details {
		if d.Value != "" {
			dst = appendJSONString(append(append(append(dst, `,"`...), d.Name...), `":`...), d.Value)
		}
	}
	return append(dst, `}}`...)
}

// AppendDocumentError appends the body of an error to a request on an XML document: the ACL of a table, the properties of the service.
func AppendDocumentError(dst []byte, e *protocol.Error, text string) []byte {
	dst = append(append(append(dst, `<?xml version="1.0" encoding="utf-8"?><m:error xmlns:m="`+nsMetadata+`"><m:code>`...), e.Code...), `</m:code><m:message xml:lang="en-US">`...)
	return append(appendXMLText(dst, text), `</m:message></m:error>`...)
}

// ErrorContentType is the Content-Type of an error in a format.
func ErrorContentType(f Format) string {
	if f == Atom {
		return "application/xml;charset=utf-8"
	}
	return f.ContentType()
}
