package store

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

// span is a run of bytes of a chunk, or of zeros where a page blob was never written.
type span struct {
	ref            engine.Ref
	offset, length int64
	zero           bool
	data           []byte        // the bytes themselves, of small pages
	opened         io.ReadCloser // opened ahead, so that it stays

	whole bool   // the span is all of the chunk
	crc64 uint64 // of the chunk, if the span is all of it
}

// spanOf is the bytes of a chunk between two bounds.
func spanOf(c *engine.Chunk, from, to int64) span {
	return span{ref: c.Ref, offset: from, length: to - from, whole: to-from == c.Size, crc64: c.CRC64}
}

// read opens a span of a chunk. One that is read whole is held to the sum that the blob's record has of it.
func (sp *span) read(ctx context.Context, store engine.Store) (io.ReadCloser, error) {
	if sp.whole {
		return store.OpenWhole(ctx, engine.Chunk{Ref: sp.ref, Size: sp.length, CRC64: sp.crc64})
	}
	return store.Open(ctx, sp.ref, sp.offset, sp.length)
}

// Reading is a blob opened for reading: its record and where the wanted bytes are.
type Reading struct {
	Blob           *record.Blob
	slot           record.Slot
	Offset, Length int64
	rooms          Rooms // nil: memory of its own
	Inline         []byte
	spans          []span
	pages          pageReading
	// Body streams the wanted bytes, nil if they are inline. The caller closes it.
	Body io.ReadCloser
}

// Rooms gives memory for content, which lives as long as the answer that it is for.
type Rooms interface {
	Room(n int) []byte        // for inline content
	HoldStream(n int64) error // counts the buffers of other content, before they are filled
}

// readAhead is about what one open chunk has in memory, in bytes.
const readAhead = 256 << 10

// buffers is about how much memory reading takes, in bytes.
func (rd *Reading) buffers() int64 {
	open := 1
	if rd.Blob.Content.Kind == record.ContentChunks {
		open = len(rd.spans) // all of them, ahead
	}
	return min(rd.Length, int64(open)*readAhead)
}

// ReadRequest is what is to be read of a blob.
type ReadRequest struct {
	Target
	Slot   Selector
	Range  protocol.Range
	Ranged bool
	// Most bounds a range that is read at once, in bytes; 0 for no bound.
	Most  int64
	Rooms Rooms
}

// Open opens a blob for reading, on the request's terms.
func (s *Service) Open(ctx context.Context, q *ReadRequest) (*Reading, error) {
	p, err := s.place(ctx, &q.Target)
	if err != nil {
		return nil, err
	}
	return s.open(ctx, q.Rooms, p, q.Slot, q.admit)
}

// admit holds a blob to the terms of a read and tells which bytes are wanted.
func (q *ReadRequest) admit(rd *Reading) error {
	if err := q.read(rd.Blob); err != nil {
		return err
	}
	if err := rd.Blob.Readable(q.Now); err != nil {
		return err
	}
	if rd.IsCurrent() {
		if err := rd.Blob.Incremental(); err != nil {
			return err
		}
	}
	rd.Length = rd.Blob.Size
	if !q.Ranged {
		return nil
	}
	var ok bool
	if rd.Offset, rd.Length, ok = q.Range.Within(rd.Blob.Size); !ok {
		return protocol.ErrInvalidRange.WithHeader("Content-Range", fmt.Sprintf("bytes */%d", rd.Blob.Size))
	}
	if q.Most > 0 && rd.Length > q.Most {
		return protocol.ErrOutOfRangeInput
	}
	return nil
}

// IsCurrent tells that the blob is the current one of its name.
func (rd *Reading) IsCurrent() bool { return rd.slot == record.Slot{} }

// All returns the wanted bytes at once.
func (rd *Reading) All() ([]byte, error) {
	if rd.Body != nil {
		b := make([]byte, rd.Length)
		_, err := io.ReadFull(rd.Body, b)
		if err = errors.Join(err, rd.Body.Close()); err != nil {
			return nil, err
		}
		rd.Inline, rd.Body = b, nil
	}
	return rd.Inline, nil
}

// Stream returns the wanted bytes as a stream.
func (rd *Reading) Stream() io.ReadCloser {
	if rd.Body == nil {
		return newBytesBody(rd.Inline)
	}
	return rd.Body
}

// Look reads the record of a blob on the request's terms, and tells whether it is the current one of its name.
func (s *Service) Look(ctx context.Context, a *Target, slot Selector) (rec *record.Blob, current bool, err error) {
	p, err := s.place(ctx, a)
	if err != nil {
		return nil, false, err
	}
	err = s.store.View(ctx, p.key, func(v engine.Reader) error {
		var at record.Slot
		var err error
		if rec, at, err = slot.find(v, p); err != nil {
			return err
		}
		current = at == record.Slot{}
		return a.read(rec)
	})
	return rec, current, err
}

// open reads a blob's record and finds the bytes that admit asks for by setting offset and length. If the content was let go between the
// two, the blob has changed meanwhile and is read again.
func (s *Service) open(ctx context.Context, rooms Rooms, p *place, slot Selector, admit func(*Reading) error) (*Reading, error) {
	for attempt := 0; ; attempt++ {
		rd := &Reading{}
		look := func(v engine.Reader) (err error) {
			*rd = Reading{rooms: rooms}
			if rd.Blob, rd.slot, err = slot.find(v, p); err != nil {
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
		case rd.Blob.Content.Kind == record.ContentList && len(rd.spans) > 1:
			var moved bool
			if moved, err = s.pinList(ctx, p, rd, look); moved && attempt < 10 {
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		if len(rd.spans) == 0 {
			return rd, nil
		}
		body := &spanReader{ctx: ctx, store: s.store, spans: rd.spans, more: rd.pages.more, done: rd.pages.unpin}
		if rooms != nil {
			if err := rooms.HoldStream(rd.buffers()); err != nil {
				_ = body.Close() // nothing is open
				return nil, err
			}
		}
		if rd.Blob.Content.Kind == record.ContentChunks {
			err = body.openAhead()
		}
		if err == nil {
			if err = body.next(); err == nil {
				rd.Body = body
				return rd, nil
			}
		}
		_ = body.Close() // nothing was read
		if !errors.Is(err, engine.ErrReleased) || attempt == 3 {
			return nil, fmt.Errorf("open blob %q: %w", p.name, err)
		}
	}
}

// pinList keeps a chunk list from the sweeper while it is read, and looks again: if the blob still has it then the sweeper cannot
// have begun. moved tells that it has another content now.
func (s *Service) pinList(ctx context.Context, p *place, rd *Reading, look func(engine.Reader) error) (moved bool, err error) {
	id := rd.Blob.Content.ID
	s.pins.add(p.key, id, 1)
	unpin := func() {
		s.pins.add(p.key, id, -1)
		s.sweeper.Wake()
	}
	err = s.store.View(ctx, p.key, look)
	if moved = err == nil && (rd.Blob.Content.Kind != record.ContentList || rd.Blob.Content.ID != id); moved || err != nil {
		unpin()
		return moved, err
	}
	rd.pages.unpin = unpin
	next, end := rd.pages.next, rd.Offset+rd.Length
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
func (rd *Reading) locate(v engine.Reader, p *place) error {
	if rd.Length == 0 {
		return nil
	}
	c := &rd.Blob.Content
	end := rd.Offset + rd.Length
	add := func(at int64, chunk *engine.Chunk) {
		from, to := max(rd.Offset, at), min(end, at+chunk.Size)
		if from < to {
			rd.spans = append(rd.spans, spanOf(chunk, from-at, to-at))
		}
	}
	switch c.Kind {
	case record.ContentInline:
		b, err := v.Get(engine.SpaceBlobData, p.slotKey(rd.slot))
		if err != nil {
			return fmt.Errorf("inline content of %q: %w", p.name, corrupt(err))
		}
		if int64(len(b)) != rd.Blob.Size {
			return fmt.Errorf("inline content of %q has %d of %d bytes: %w", p.name, len(b), rd.Blob.Size, engine.ErrCorrupt)
		}
		if rd.rooms != nil {
			rd.Inline = rd.rooms.Room(int(rd.Length))
		} else {
			rd.Inline = make([]byte, rd.Length)
		}
		copy(rd.Inline, b[rd.Offset:end])
		return nil
	case record.ContentChunks:
		at := int64(0)
		for i := range c.Chunks {
			add(at, &c.Chunks[i])
			at += c.Chunks[i].Size
		}
	case record.ContentList:
		var err error
		if rd.spans, rd.pages.next, err = locateList(v, p, c.ID, rd.Offset, end); err != nil {
			return err
		}
		end = rd.pages.next
	case record.ContentPages:
		return rd.locatePages(v, p)
	case record.ContentEmpty:
		rd.spans = []span{{length: rd.Length, zero: true}}
	}
	found := int64(0)
	for i := range rd.spans {
		found += rd.spans[i].length
	}
	if found != end-rd.Offset {
		return fmt.Errorf("content of %q has %d of %d bytes: %w", p.name, found, end-rd.Offset, engine.ErrCorrupt)
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
		spans = append(spans, spanOf(&c.Chunk, next-at, to-at))
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
		if sp.opened, err = sp.read(b.ctx, b.store); err != nil {
			sp.opened = nil
			return err
		}
	}
	return nil
}

// next opens the next span.
func (b *spanReader) next() (err error) {
	sp := &b.spans[0]
	switch {
	case sp.opened != nil:
		b.open = sp.opened
	case sp.zero:
		b.open = zeros(sp.length)
	case sp.data != nil:
		b.open = newBytesBody(sp.data)
	default:
		b.open, err = sp.read(b.ctx, b.store)
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

// pageReading is what a reading of pages needs besides its spans.
type pageReading struct {
	// unsteady tells that writes might change what is read while it is read: it is more than one chunk, or more than was located.
	unsteady bool
	next     int64                  // up to where spans go
	more     func() ([]span, error) // locates on
	unpin    func()
}

// Bounds of what is located at a time.
const (
	PageSpans  = 1024
	pageInMind = 256 << 10 // inline bytes
)

// locatePages finds the wanted bytes of a page blob, or as many as are good to keep in mind.
func (rd *Reading) locatePages(v engine.Reader, p *place) (err error) {
	if rd.spans, rd.pages.next, err = locateSpans(v, p, rd.Blob.Content.ID, rd.Offset, rd.Offset+rd.Length); err != nil {
		return err
	}
	chunks := 0
	for i := range rd.spans {
		if !rd.spans[i].zero && rd.spans[i].data == nil {
			chunks++
		}
	}
	rd.pages.unsteady = rd.pages.next < rd.Offset+rd.Length || chunks > 1 || chunks == 1 && (rd.spans[0].zero || rd.spans[0].data != nil)
	return nil
}

// locateSpans finds where the bytes between two bounds are, and tells how far it came.
func locateSpans(v engine.Reader, p *place, id engine.Stamp, from, to int64) (spans []span, next int64, err error) {
	layers, err := pageLayers(v, p.key, id)
	if err != nil {
		return nil, 0, err
	}
	if len(layers) == 0 {
		return nil, 0, fmt.Errorf("page map of %q: %w", p.name, record.ErrPages)
	}
	next = from
	inline := 0
	fill := func(to int64) {
		if next < to {
			spans = append(spans, span{zero: true, length: to - next})
			next = to
		}
	}
	whole := true
	err = walkPages(v, p.key, layers, from, to, nil, func(u *record.PageRange) bool {
		if whole = len(spans) < PageSpans && inline < pageInMind; !whole {
			return false
		}
		fill(u.From)
		s := span{length: u.To - u.From}
		if u.Kind == record.PageInline {
			s.data = append([]byte(nil), u.Bytes...)
			inline += len(s.data)
		} else {
			s.ref, s.offset = u.Ref, u.Offset
		}
		spans = append(spans, s)
		next = u.To
		return true
	})
	if whole {
		fill(to)
	}
	return spans, next, err
}

// pinPages looks again, in a transaction so that no write is under way, and pins the map for as long as it is read.
func (s *Service) pinPages(ctx context.Context, p *place, rd *Reading, look func(engine.Reader) error) error {
	release := func() {}
	err := s.store.Update(ctx, p.key, func(tx engine.Tx) error {
		release() // of an earlier run
		release = func() {}
		if err := look(tx); err != nil || !rd.pages.unsteady {
			return err
		}
		id := rd.Blob.Content.ID
		s.pins.add(p.key, id, 1)
		release = func() {
			s.pins.add(p.key, id, -1)
			s.sweeper.Wake()
		}
		return nil
	})
	if err != nil {
		release()
		return err
	}
	rd.pages.unpin = release
	id, next, end := rd.Blob.Content.ID, rd.pages.next, rd.Offset+rd.Length
	rd.pages.more = func() (spans []span, err error) {
		if next >= end {
			return nil, nil
		}
		err = s.store.View(ctx, p.key, func(v engine.Reader) (err error) {
			spans, next, err = locateSpans(v, p, id, next, end)
			return err
		})
		return spans, errors.Join(err, ctx.Err())
	}
	return nil
}
