package rest

import (
	"io"
	"net/http"
	"sync"

	"github.com/blobd/blobd/internal/invariants"
	"github.com/blobd/blobd/internal/rest/framing"
	"github.com/blobd/blobd/internal/view"
)

// SetHeader sets a response header. Names are sent as given. A CR, LF or NUL in name or value is taken out: nothing that a
// client stored may split the answer.
func (r *Request) SetHeader(name, value string) {
	invariants.Look(r.added) // which the library looks through
	r.ctx.Response.Header.Set(clean(name), clean(value))
}

// AddHeader is SetHeader for one of many headers of different names: it does not look for another of the name.
func (r *Request) AddHeader(name, value string) {
	r.added++
	r.ctx.Response.Header.Add(clean(name), clean(value))
}

// maxReason is the most of a message that the status line carries, in bytes.
const maxReason = 512

// SetReason sets the text of the status line: the services put the message of an error there, and old clients make it the text of
// their exceptions; for a HEAD it is all that there is.
func (r *Request) SetReason(text string) {
	plain := func(c byte) bool { return c >= ' ' && c <= '~' }
	r.reason = text[:min(len(text), maxReason)]
	for i := 0; i < len(r.reason); i++ {
		if !plain(r.reason[i]) {
			b := []byte(r.reason)
			for j := range b {
				if !plain(b[j]) {
					b[j] = '?'
				}
			}
			r.reason = string(b)
			break
		}
	}
	r.ctx.Response.Header.SetStatusMessage([]byte(r.reason))
}

// Reply answers with a status and no body.
func (r *Request) Reply(status int) {
	r.status = status
	r.ctx.Response.SetStatusCode(status)
	if r.Method == http.MethodHead {
		r.ctx.Response.SkipBody = true
		r.ctx.Response.Header.SetContentLength(0)
	}
}

// ReplyHead answers a HEAD with the length that the entity of the corresponding GET has.
func (r *Request) ReplyHead(status int, length int64) {
	r.Reply(status)
	r.ctx.Response.Header.SetContentLength(int(length))
}

// ReplyBytes answers with a whole body. body is not used after the answer is sent; the caller leaves it alone until then.
func (r *Request) ReplyBytes(status int, contentType string, body []byte) {
	r.Reply(status)
	r.sent = int64(len(body))
	r.ctx.Response.Header.SetContentType(clean(contentType))
	r.ctx.Response.SetBodyRaw(body)
}

// Room returns a buffer for the body that ReplyBytes is to send. It is the caller's until the answer is sent, or until the next
// call.
func (r *Request) Room(n int) []byte {
	if r.conn == nil {
		return make([]byte, n)
	}
	return r.conn.Room(n)
}

// ReplyXML answers with an XML body that encode has made, BOM included.
func (r *Request) ReplyXML(status int, body []byte) { r.ReplyBytes(status, "application/xml", body) }

// ReplyStream answers with length bytes of body, which is closed when they are sent or the connection breaks. If body fails
// the connection is cut, so that the client sees a short body and never a wrong one.
func (r *Request) ReplyStream(status int, length int64, body io.ReadCloser) {
	r.Reply(status)
	r.stream = replyStream{r: r, body: body}
	r.ctx.Response.SetBodyStream(&r.stream, int(length))
}

// HoldAnswer counts the answer of an operation that has changed nothing yet: n bytes so far, or as many as are expected. So many that are
// made at a time stay within the memory for answers.
func (r *Request) HoldAnswer(n int) error {
	if r == nil || r.conn == nil || int64(n) <= max(r.answer, framing.SmallAnswer) {
		return nil
	}
	r.answer = int64(n + n/4 + 64<<10)
	if !r.conn.Answer(r.answer, false) {
		return errUntaken
	}
	return nil
}

// HoldStream counts n bytes of buffers of the body that ReplyStream is to send, which a client that reads slowly keeps for long.
func (r *Request) HoldStream(n int64) error {
	if r.conn == nil || n <= framing.SmallAnswer || r.conn.Stream(n) {
		return nil
	}
	return errUntaken
}

// countAnswer counts an answer that is made. If too much waits for clients it is refused; where something may have been done that
// refusal would say the opposite, and the connection ends without an answer.
func (r *Request) countAnswer(n int64) error {
	done := r.Method != http.MethodGet
	if r.conn == nil || r.conn.Answer(n, done) {
		return nil
	}
	if done {
		r.body.err = errUntaken
	}
	return errUntaken
}

// ReplyWhole is ReplyStream of a body that is in memory as a whole; refused, and closed, if too much of the kind waits for clients.
func (r *Request) ReplyWhole(status int, length int64, body io.ReadCloser) error {
	if err := r.countAnswer(length); err != nil {
		_ = body.Close()
		return err
	}
	r.ReplyStream(status, length, body)
	return nil
}

// replyStream is the body of an answer on its way: it counts, it turns a panic of the source into an error and so into a broken
// connection, and its Close is the end of the request. The library would recover as well, but close it only once the request is
// forgotten.
type replyStream struct {
	r    *Request
	body io.ReadCloser
}

// Read implements io.Reader.
func (s *replyStream) Read(p []byte) (n int, err error) {
	defer s.trap(&err)
	n, err = s.body.Read(p)
	s.r.sent += int64(n)
	if err != nil && err != io.EOF {
		s.r.cause = err
	}
	return n, err
}

// WriteTo implements io.WriterTo, which the HTTP library prefers.
func (s *replyStream) WriteTo(w io.Writer) (n int64, err error) {
	defer s.trap(&err)
	if wt, ok := s.body.(io.WriterTo); ok {
		n, err = wt.WriteTo(w)
	} else {
		b := copyBuffers.Get().(*[]byte)
		n, err = io.CopyBuffer(w, struct{ io.Reader }{s.body}, *b)
		invariants.Overwrite(*b)
		copyBuffers.Put(b)
	}
	s.r.sent += n
	if err != nil {
		s.r.cause = err
	}
	return n, err
}

func (s *replyStream) trap(err *error) {
	if v := recover(); v != nil {
		s.r.cause = s.r.panicked(v)
		*err = s.r.cause
	}
}

// dropBody takes back the body of an answer that has begun, as another answer is to be sent. The request does not end with it.
func (r *Request) dropBody() {
	if b := r.stream.body; b != nil {
		r.stream = replyStream{}
		_ = b.Close()
	}
	r.ctx.Response.ResetBody()
}

// Close ends the request, unless the body was taken back.
func (s *replyStream) Close() error {
	if s.body == nil {
		return nil
	}
	err := s.body.Close()
	s.r.finish()
	return err
}

var copyBuffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// clean takes out what would end a header line.
func clean(v string) string {
	for i := 0; i < len(v); i++ {
		if v[i] <= '\r' && breaks(v[i]) {
			b := []byte(v)
			for j := range b {
				if breaks(b[j]) {
					b[j] = ' '
				}
			}
			return string(b)
		}
	}
	return v
}

func breaks(c byte) bool { return c == '\r' || c == '\n' || c == 0 }

// ReplyHeaders visits the names of the answer's headers so far.
func (r *Request) ReplyHeaders(visit func(name string)) {
	for name := range r.ctx.Response.Header.All() {
		visit(view.String(name))
	}
}
