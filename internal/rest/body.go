package rest

import (
	"io"
	"strconv"

	"github.com/blobd/blobd/internal/protocol"
)

// Body is the request body. It ends with io.EOF after exactly the declared length and with an error before; it never holds
// more than the connection's buffer. Once a read has failed the connection is lost, whatever the handler returns.
type Body struct {
	stream   io.Reader
	declared int64
	left     int64
	err      error
}

// Read implements io.Reader.
func (b *Body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.stream.Read(p)
	b.left -= int64(n)
	switch {
	case err == io.EOF && b.left > 0:
		err = io.ErrUnexpectedEOF
	case err == io.EOF:
		err = nil
	}
	b.err = err
	return n, err
}

// Len is the number of bytes not yet read.
func (b *Body) Len() int64 { return b.left }

// Body returns the request body.
func (r *Request) Body() *Body { return &r.body }

// ReadBody reads the whole body into one slice, RequestBodyTooLarge if it is longer than limit bytes.
func (r *Request) ReadBody(limit int64) ([]byte, error) {
	if n := r.body.Len(); n > limit {
		return nil, protocol.ErrRequestBodyTooLarge.With("MaxLimit", strconv.FormatInt(limit, 10))
	}
	return r.ReadAll(nil)
}

// awaited is what a body that has not yet arrived takes of the budget from the beginning, in bytes: the buffers of a connection that
// streams it, or the first part of one that is read whole.
const awaited = 16 << 10

// ReadAll reads the whole body into the memory of buf, or new memory if that is too small. Memory grows with the bytes that arrive, as a
// client may declare any length and send nothing.
func (r *Request) ReadAll(buf []byte) ([]byte, error) {
	buf = buf[:0]
	for n := int(r.body.Len()); n > 0; n = int(r.body.Len()) {
		if len(buf) == cap(buf) {
			size := len(buf) + n
			if r.conn == nil || int(r.conn.Buffered()) < n {
				size = min(size, max(4*cap(buf), awaited))
				if err := r.hold(int64(size)); err != nil {
					return buf, err
				}
			}
			buf = append(make([]byte, 0, size), buf...)
		}
		m, err := r.body.Read(buf[len(buf):min(cap(buf), len(buf)+n)])
		buf = buf[:len(buf)+m]
		if err != nil {
			return buf, err
		}
	}
	return buf, nil
}

// hold takes memory of the budget for bodies until the request holds n bytes of it; it goes back when the request ends.
func (r *Request) hold(n int64) error {
	if r.conn == nil || n <= r.held {
		return nil
	}
	if !r.conn.Await(n) {
		return protocol.ErrServerBusy.Saying("The server waits for too many request bodies. Please retry your request.").WithHeader("Retry-After", "1")
	}
	r.held = n
	return nil
}

// await is hold for a body that is about to be read, unless it is there already.
func (r *Request) await() error {
	if r.conn == nil || r.body.left <= r.conn.Buffered() {
		return nil
	}
	return r.hold(min(r.body.left, awaited))
}
