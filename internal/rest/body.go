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
	n := r.body.Len()
	if n > limit {
		return nil, protocol.ErrRequestBodyTooLarge.With("MaxLimit", strconv.FormatInt(limit, 10))
	}
	p := make([]byte, n)
	if _, err := io.ReadFull(&r.body, p); err != nil {
		return nil, err
	}
	return p, nil
}
