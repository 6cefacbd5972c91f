package rest

import (
	"io"
)

// SetHeader sets a response header. Names are sent as given. A CR, LF or NUL in value is taken out: nothing that a client
// stored may split the answer.
func (r *Request) SetHeader(name, value string) {
	r.ctx.Response.Header.Set(name, clean(value))
}

// Reply answers with a status and no body.
func (r *Request) Reply(status int) {
	r.ctx.Response.SetStatusCode(status)
	r.ctx.Response.SkipBody = r.Method == "HEAD"
}

// ReplyBytes answers with a whole body. body is not used after the answer is sent; the caller leaves it alone until then.
func (r *Request) ReplyBytes(status int, contentType string, body []byte) {
	r.Reply(status)
	r.ctx.Response.Header.SetContentType(contentType)
	r.ctx.Response.SetBodyRaw(body)
}

// ReplyXML answers with an XML body that encode has made, BOM included.
func (r *Request) ReplyXML(status int, body []byte) { r.ReplyBytes(status, "application/xml", body) }

// ReplyStream answers with length bytes of body, which is closed when they are sent or the connection breaks. If body fails
// the connection is cut, so that the client sees a short body and never a wrong one.
func (r *Request) ReplyStream(status int, length int64, body io.ReadCloser) {
	r.Reply(status)
	r.ctx.Response.SetBodyStream(body, int(length))
}

func clean(v string) string {
	for i := 0; i < len(v); i++ {
		if v[i] == '\r' || v[i] == '\n' || v[i] == 0 {
			b := []byte(v)
			for j := range b {
				if b[j] == '\r' || b[j] == '\n' || b[j] == 0 {
					b[j] = ' '
				}
			}
			return string(b)
		}
	}
	return v
}
