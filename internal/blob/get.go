package blob

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/minio/crc64nvme"

	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/md5lanes"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

const anonymous = auth.Anonymous

// maxRangeSum is the longest range whose checksum can be asked for, in bytes.
const maxRangeSum = 4 * miB

// span is a run of bytes of a chunk, or of zeros where a page blob was never written.
type span struct {
	ref            engine.Ref
	offset, length int64
	zero           bool
	data           []byte        // the bytes themselves, of small pages
	opened         io.ReadCloser // opened ahead, so that it stays
}

// reading is a blob opened for reading: its record and where the wanted bytes are.
type reading struct {
	rec            *record.Blob
	slot           record.Slot
	offset, length int64
	answer         *rest.Request // the request that the bytes answer, nil if they answer none
	inline         []byte
	spans          []span
	pages          pageReading
}

// getBlob is Get Blob.
func (s *Service) getBlob(r *rest.Request) error {
	terms, err := decodeAccess(r)
	if err != nil {
		return err
	}
	slot, err := decodeSlot(r)
	if err != nil {
		return err
	}
	rng, ranged := protocol.RequestRange(r)
	wantMD5, err := r.Flag("x-ms-range-get-content-md5")
	if err != nil {
		return err
	}
	wantCRC, err := r.Flag("x-ms-range-get-content-crc64")
	if err != nil {
		return err
	}
	switch {
	case wantMD5 && wantCRC:
		return protocol.ErrBothCrc64AndMd5RangeHeaderPresent
	case wantMD5 && !ranged:
		return protocol.InvalidHeader("x-ms-range-get-content-md5", "true")
	case wantCRC && !ranged:
		return protocol.InvalidHeader("x-ms-range-get-content-crc64", "true")
	}
	structure, structured := r.HeaderOK("x-ms-structured-body")
	if structured && structure != protocol.StructuredBody {
		return protocol.InvalidHeader("x-ms-structured-body", structure)
	}
	p, err := s.place(r)
	if err != nil {
		return err
	}
	rd, body, err := s.open(r.Context, r, p, slot, func(rd *reading) error {
		if err := terms.read(rd.rec); err != nil {
			return err
		}
		if err := rd.rec.Readable(terms.now); err != nil {
			return err
		}
		if rd.slot == (record.Slot{}) {
			if err := rd.rec.Incremental(); err != nil {
				return err
			}
		}
		rd.length = rd.rec.Size
		if !ranged {
			return nil
		}
		var ok bool
		if rd.offset, rd.length, ok = rng.Within(rd.rec.Size); !ok {
			return protocol.ErrInvalidRange.WithHeader("Content-Range", fmt.Sprintf("bytes */%d", rd.rec.Size))
		}
		if (wantMD5 || wantCRC) && rd.length > maxRangeSum {
			return protocol.ErrOutOfRangeInput
		}
		return nil
	})
	if err != nil {
		return err
	}
	rec, status := rd.rec, 200
	setBlob(r, rec, rd.slot == record.Slot{})
	if ranged {
		status = 206
		var buf [80]byte
		r.SetHeader("Content-Range", record.View(protocol.AppendContentRange(buf[:0], rd.offset, rd.length, rec.Size)))
		if rec.MD5 != "" {
			r.SetHeader("x-ms-blob-content-md5", protocol.MD5(rec.MD5))
		}
	} else if rec.MD5 != "" {
		r.SetHeader("Content-MD5", protocol.MD5(rec.MD5))
	}
	if wantMD5 || wantCRC {
		if rd.inline, err = readAll(body, rd.inline, rd.length); err != nil {
			return err
		}
		body = nil
		if wantMD5 {
			sum := md5lanes.Sum(rd.inline)
			r.SetHeader("Content-MD5", protocol.MD5(sum[:]))
		} else {
			r.SetHeader("x-ms-content-crc64", protocol.CRC64(crc64nvme.Checksum(rd.inline)))
		}
	}
	if structured {
		r.SetHeader("x-ms-structured-body", protocol.StructuredBody)
		r.SetHeader("x-ms-structured-content-length", fmt.Sprint(rd.length))
		if body == nil {
			body = newBytesBody(rd.inline)
		}
		r.ReplyStream(status, protocol.StructuredLength(rd.length), protocol.NewStructuredEncoder(body, rd.length))
		return nil
	}
	if body == nil {
		r.ReplyBytes(status, "", rd.inline)
		setHTTP(r, &rec.HTTP)
		return nil
	}
	r.ReplyStream(status, rd.length, body)
	return nil
}

// open reads a blob's record and finds the bytes that admit asks for by setting offset and length. body is nil if they are
// inline. If the content was let go between the two, the blob has changed meanwhile and is looked at again. answer is the request
// that the bytes answer, nil if they answer none.
func (s *Service) open(ctx context.Context, answer *rest.Request, p *place, slot selector, admit func(*reading) error) (*reading, io.ReadCloser, error) {
	for attempt := 0; ; attempt++ {
		rd := &reading{}
		look := func(v engine.Reader) (err error) {
			*rd = reading{answer: answer}
			if rd.rec, rd.slot, err = slot.find(v, p); err != nil {
				return err
			}
			if err := admit(rd); err != nil {
				return err
			}
			return rd.locate(v, p)
		}
		err := s.store.View(ctx, p.key, look)
		switch {
		case err != nil:
		case rd.pages.unsteady:
			err = s.pinPages(ctx, p, rd, look)
		case rd.rec.Content.Kind == record.ContentList && len(rd.spans) > 1:
			var moved bool
			if moved, err = s.pinList(ctx, p, rd, look); moved && attempt < 10 {
				continue
			}
		}
		if err != nil {
			return nil, nil, err
		}
		if len(rd.spans) == 0 {
			return rd, nil, nil
		}
		body := &spanReader{ctx: ctx, store: s.store, spans: rd.spans, more: rd.pages.more, done: rd.pages.unpin}
		if rd.rec.Content.Kind == record.ContentChunks {
			err = body.openAhead()
		}
		if err == nil {
			if err = body.next(); err == nil {
				return rd, body, nil
			}
		}
		_ = body.Close() // nothing was read
		if !errors.Is(err, engine.ErrReleased) || attempt == 3 {
			return nil, nil, fmt.Errorf("open blob %q: %w", p.name, err)
		}
	}
}

// pinList keeps a chunk list from the sweeper while it is read, and looks again: if the blob still has it then the sweeper cannot
// have begun. moved tells that it has another content now.
func (s *Service) pinList(ctx context.Context, p *place, rd *reading, look func(engine.Reader) error) (moved bool, err error) {
	id := rd.rec.Content.ID
	s.pins.add(p.key, id, 1)
	unpin := func() {
		s.pins.add(p.key, id, -1)
		s.wake()
	}
	err = s.store.View(ctx, p.key, look)
	if moved = err == nil && (rd.rec.Content.Kind != record.ContentList || rd.rec.Content.ID != id); moved || err != nil {
		unpin()
		return moved, err
	}
	rd.pages.unpin = unpin
	next, end := rd.pages.next, rd.offset+rd.length
	rd.pages.more = func() (spans []span, err error) {
		if next >= end {
			return nil, nil
		}
		err = s.store.View(ctx, p.key, func(v engine.Reader) (err error) {
			spans, next, err = locateList(v, p, id, next, end)
			return err
		})
		return spans, errors.Join(err, ctx.Err())
	}
	return false, nil
}

// locate finds where the wanted bytes are.
func (rd *reading) locate(v engine.Reader, p *place) error {
	if rd.length == 0 {
		return nil
	}
	c := &rd.rec.Content
	end := rd.offset + rd.length
	add := func(at int64, chunk *engine.Chunk) {
		from, to := max(rd.offset, at), min(end, at+chunk.Size)
		if from < to {
			rd.spans = append(rd.spans, span{ref: chunk.Ref, offset: from - at, length: to - from})
		}
	}
	switch c.Kind {
	case record.ContentInline:
		b, err := v.Get(engine.SpaceBlobData, p.slotKey(rd.slot))
		if err != nil {
			return fmt.Errorf("inline content of %q: %w", p.name, corrupt(err))
		}
		if int64(len(b)) != rd.rec.Size {
			return fmt.Errorf("inline content of %q has %d of %d bytes: %w", p.name, len(b), rd.rec.Size, engine.ErrCorrupt)
		}
		if rd.answer != nil {
			rd.inline = rd.answer.Room(int(rd.length))
		} else {
			rd.inline = make([]byte, rd.length)
		}
		copy(rd.inline, b[rd.offset:end])
		return nil
	case record.ContentChunks:
		at := int64(0)
		for i := range c.Chunks {
			add(at, &c.Chunks[i])
			at += c.Chunks[i].Size
		}
	case record.ContentList:
		var err error
		if rd.spans, rd.pages.next, err = locateList(v, p, c.ID, rd.offset, end); err != nil {
			return err
		}
		end = rd.pages.next
	case record.ContentPages:
		return rd.locatePages(v, p)
	case record.ContentEmpty:
		rd.spans = []span{{length: rd.length, zero: true}}
	}
	found := int64(0)
	for i := range rd.spans {
		found += rd.spans[i].length
	}
	if found != end-rd.offset {
		return fmt.Errorf("content of %q has %d of %d bytes: %w", p.name, found, end-rd.offset, engine.ErrCorrupt)
	}
	return nil
}

// listSpans is how many spans of a chunk list are located at a time.
const listSpans = 8 << 10

// locateList finds where the bytes of a chunk list between two bounds are, and tells how far it came: a list may be very long.
func locateList(v engine.Reader, p *place, id engine.Stamp, from, end int64) (spans []span, next int64, err error) {
	next = from
	err = visitList(v, p, id, from, func(at int64, c *record.Piece) bool {
		if at >= end || len(spans) == listSpans {
			return false
		}
		to := min(end, at+c.Size)
		spans = append(spans, span{ref: c.Ref, offset: next - at, length: to - next})
		next = to
		return true
	})
	if err == nil && next < end && len(spans) < listSpans {
		err = fmt.Errorf("content of %q ends at %d before %d: %w", p.name, next, end, engine.ErrCorrupt)
	}
	return spans, next, err
}

// corrupt turns a missing part of something that is there into what it is.
func corrupt(err error) error {
	if errors.Is(err, engine.ErrNotFound) {
		return engine.ErrCorrupt
	}
	return err
}

// readAll returns the wanted bytes, which may be inline already.
func readAll(body io.ReadCloser, inline []byte, length int64) ([]byte, error) {
	if body == nil {
		return inline, nil
	}
	b := make([]byte, length)
	_, err := io.ReadFull(body, b)
	return b, errors.Join(err, body.Close())
}

// spanReader streams spans one behind the other. The first is open when it is handed out.
type spanReader struct {
	ctx   context.Context // of the request: the answer is sent after its handler returned
	store engine.Store
	spans []span
	more  func() ([]span, error) // finds the spans that follow, none at the end; nil if all are known
	done  func()                 // called once, when reading is over; nil for nothing
	open  io.ReadCloser
}

// openAhead opens all spans, which are few: they stay readable whatever becomes of the blob.
func (b *spanReader) openAhead() error {
	for i := range b.spans {
		sp := &b.spans[i]
		var err error
		if sp.opened, err = b.store.Open(b.ctx, sp.ref, sp.offset, sp.length); err != nil {
			sp.opened = nil
			return err
		}
	}
	return nil
}

// next opens the next span.
func (b *spanReader) next() (err error) {
	sp := b.spans[0]
	switch {
	case sp.opened != nil:
		b.open = sp.opened
	case sp.zero:
		b.open = zeros(sp.length)
	case sp.data != nil:
		b.open = newBytesBody(sp.data)
	default:
		b.open, err = b.store.Open(b.ctx, sp.ref, sp.offset, sp.length)
	}
	if err != nil {
		return err
	}
	b.spans = b.spans[1:]
	return nil
}

// advance closes what was read and opens what follows; false at the end.
func (b *spanReader) advance() (bool, error) {
	err := b.open.Close()
	b.open = nil
	if err == nil && len(b.spans) == 0 && b.more != nil {
		b.spans, err = b.more()
	}
	if err != nil || len(b.spans) == 0 {
		return false, err
	}
	return true, b.next()
}

// finish tells once that reading is over.
func (b *spanReader) finish() {
	if b.done != nil {
		b.done()
		b.done = nil
	}
}

// Read implements io.Reader.
func (b *spanReader) Read(p []byte) (int, error) {
	for b.open != nil {
		n, err := b.open.Read(p)
		if err == io.EOF {
			if _, err = b.advance(); err == nil && n == 0 {
				continue
			}
		}
		return n, err
	}
	return 0, io.EOF
}

// WriteTo implements io.WriterTo: the engine writes verified bytes straight to the connection.
func (b *spanReader) WriteTo(w io.Writer) (total int64, err error) {
	for b.open != nil {
		n, err := io.Copy(w, b.open)
		total += n
		if err != nil {
			return total, err
		}
		if _, err := b.advance(); err != nil {
			return total, err
		}
	}
	return total, nil
}

// Close implements io.Closer.
func (b *spanReader) Close() error {
	b.finish()
	var err error
	if b.open != nil {
		err = b.open.Close()
		b.open = nil
	}
	for i := range b.spans {
		if ahead := b.spans[i].opened; ahead != nil {
			err = errors.Join(err, ahead.Close())
		}
	}
	b.spans = nil
	return err
}

// zeroReader yields a run of zeros.
type zeroReader struct{ left int64 }

func zeros(n int64) io.ReadCloser { return &zeroReader{n} }

func (z *zeroReader) Read(p []byte) (int, error) {
	if z.left == 0 {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), z.left))
	clear(p[:n])
	z.left -= int64(n)
	return n, nil
}

func (z *zeroReader) Close() error { return nil }

// bytesBody is inline content as a stream.
type bytesBody struct{ b []byte }

func newBytesBody(b []byte) io.ReadCloser { return &bytesBody{b} }

func (b *bytesBody) Read(p []byte) (int, error) {
	if len(b.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.b)
	b.b = b.b[n:]
	return n, nil
}

func (b *bytesBody) Close() error { return nil }

// getProperties is Get Blob Properties.
func (s *Service) getProperties(r *rest.Request) error {
	rec, slot, err := s.look(r)
	if err != nil {
		return err
	}
	setBlob(r, rec, slot == record.Slot{})
	if rec.MD5 != "" {
		r.SetHeader("Content-MD5", protocol.MD5(rec.MD5))
	}
	r.ReplyHead(200, rec.Size)
	return nil
}

// getMetadata is Get Blob Metadata.
func (s *Service) getMetadata(r *rest.Request) error {
	rec, _, err := s.look(r)
	if err != nil {
		return err
	}
	setChanged(r, rec.Changed)
	setMetadata(r, rec.Metadata)
	r.Reply(200)
	return nil
}

// look reads the record of the addressed blob on the request's terms.
func (s *Service) look(r *rest.Request) (rec *record.Blob, at record.Slot, err error) {
	terms, err := decodeAccess(r)
	if err != nil {
		return nil, at, err
	}
	slot, err := decodeSlot(r)
	if err != nil {
		return nil, at, err
	}
	p, err := s.place(r)
	if err != nil {
		return nil, at, err
	}
	err = s.store.View(r.Context, p.key, func(v engine.Reader) (err error) {
		if rec, at, err = slot.find(v, p); err != nil {
			return err
		}
		return terms.read(rec)
	})
	return rec, at, err
}
