package rest

import (
	"fmt"
	"io"

	"github.com/blobd/blobd/internal/protocol"
)

// Body is the request body. It ends with io.EOF after exactly the declared length and with an error before; it never holds
// more than the connection's buffer.
type Body struct {
	stream io.Reader
	left   int64
}

// Read implements io.Reader.
func (b *Body) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.stream.Read(p)
	b.left -= int64(n)
	if err == io.EOF && b.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err == io.EOF {
		err = nil
	}
	return n, err
}

// Len is the number of bytes not yet read.
func (b *Body) Len() int64 { return b.left }

// Body returns the request body.
func (r *Request) Body() *Body { return &r.body }

// ReadBody reads the whole body into one slice, RequestBodyTooLarge if it is longer than limit bytes.
func (r *Request) ReadBody(limit int64) ([]byte, error) {
	n := r.body.Len()
	if n > limit {
		return nil, protocol.ErrRequestBodyTooLarge.With("MaxLimit", fmt.Sprint(limit))
	}
	p := make([]byte, n)
	if _, err := io.ReadFull(&r.body, p); err != nil {
		return nil, err
	}
	return p, nil
}
