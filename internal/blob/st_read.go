package blob

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
}

// reading is a blob opened for reading: its record and where the wanted bytes are.
type reading struct {
	rec            *record.Blob
	slot           record.Slot
	offset, length int64
	rooms          Rooms // nil: memory of its own
	inline         []byte
	spans          []span
	pages          pageReading
	// body streams the wanted bytes, nil if they are inline. The caller closes it.
	body io.ReadCloser
}

// Rooms gives memory for inline content, which lives as long as the answer that it is for.
type Rooms interface{ Room(n int) []byte }

// readRequest is what is to be read of a blob.
type readRequest struct {
	access
	slot   selector
	rng    protocol.Range
	ranged bool
	// most bounds a range that is read at once, in bytes; 0 for no bound.
	most  int64
	rooms Rooms
}

// Open opens a blob for reading, on the request's terms.
func (s *core) Open(ctx context.Context, q *readRequest) (*reading, error) {
	p, err := s.place(ctx, &q.access)
	if err != nil {
		return nil, err
	}
	return s.open(ctx, q.rooms, p, q.slot, q.admit)
}

// admit holds a blob to the terms of a read and tells which bytes are wanted.
func (q *readRequest) admit(rd *reading) error {
	if err := q.read(rd.rec); err != nil {
		return err
	}
	if err := rd.rec.Readable(q.now); err != nil {
		return err
	}
	if rd.isCurrent() {
		if err := rd.rec.Incremental(); err != nil {
			return err
		}
	}
	rd.length = rd.rec.Size
	if !q.ranged {
		return nil
	}
	var ok bool
	if rd.offset, rd.length, ok = q.rng.Within(rd.rec.Size); !ok {
		return protocol.ErrInvalidRange.WithHeader("Content-Range", fmt.Sprintf("bytes */%d", rd.rec.Size))
	}
	if q.most > 0 && rd.length > q.most {
		return protocol.ErrOutOfRangeInput
	}
	return nil
}

// isCurrent tells that the blob is the current one of its name.
func (rd *reading) isCurrent() bool { return rd.slot == record.Slot{} }

// all returns the wanted bytes at once.
func (rd *reading) all() ([]byte, error) {
	if rd.body != nil {
		b := make([]byte, rd.length)
		_, err := io.ReadFull(rd.body, b)
		if err = errors.Join(err, rd.body.Close()); err != nil {
			return nil, err
		}
		rd.inline, rd.body = b, nil
	}
	return rd.inline, nil
}

// stream returns the wanted bytes as a stream.
func (rd *reading) stream() io.ReadCloser {
	if rd.body == nil {
		return newBytesBody(rd.inline)
	}
	return rd.body
}

// Look reads the record of a blob on the request's terms, and tells whether it is the current one of its name.
func (s *core) Look(ctx context.Context, a *access, slot selector) (rec *record.Blob, current bool, err error) {
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

// open reads a blob's record and finds the bytes that admit asks for by setting offset and length. If the content was let go between the two, the blob has changed meanwhile and is looked at again.
func (s *core) open(ctx context.Context, rooms Rooms, p *place, slot selector, admit func(*reading) error) (*reading, error) {
	for attempt := 0; ; attempt++ {
		rd := &reading{}
		look := func(v engine.Reader) (err error) {
			*rd = reading{rooms: rooms}
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
			return nil, err
		}
		if len(rd.spans) == 0 {
			return rd, nil
		}
		body := &spanReader{ctx: ctx, store: s.store, spans: rd.spans, more: rd.pages.more, done: rd.pages.unpin}
		if rd.rec.Content.Kind == record.ContentChunks {
			err = body.openAhead()
		}
		if err == nil {
			if err = body.next(); err == nil {
				rd.body = body
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
func (s *core) pinList(ctx context.Context, p *place, rd *reading, look func(engine.Reader) error) (moved bool, err error) {
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
		if rd.rooms != nil {
			rd.inline = rd.rooms.Room(int(rd.length))
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
	pageSpans  = 1024
	pageInMind = 256 << 10 // inline bytes
)

// locatePages finds the wanted bytes of a page blob, or as many as are good to keep in mind.
func (rd *reading) locatePages(v engine.Reader, p *place) (err error) {
	if rd.spans, rd.pages.next, err = locateSpans(v, p, rd.rec.Content.ID, rd.offset, rd.offset+rd.length); err != nil {
		return err
	}
	chunks := 0
	for i := range rd.spans {
		if !rd.spans[i].zero && rd.spans[i].data == nil {
			chunks++
		}
	}
	rd.pages.unsteady = rd.pages.next < rd.offset+rd.length || chunks > 1 || chunks == 1 && (rd.spans[0].zero || rd.spans[0].data != nil)
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
	err = walkPages(v, p.key, layers, from, to, func(u *record.PageRange) bool {
		if whole = len(spans) < pageSpans && inline < pageInMind; !whole {
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
func (s *core) pinPages(ctx context.Context, p *place, rd *reading, look func(engine.Reader) error) error {
	release := func() {}
	err := s.store.Update(ctx, p.key, func(tx engine.Tx) error {
		release() // of an earlier run
		release = func() {}
		if err := look(tx); err != nil || !rd.pages.unsteady {
			return err
		}
		id := rd.rec.Content.ID
		s.pins.add(p.key, id, 1)
		release = func() {
			s.pins.add(p.key, id, -1)
			s.wake()
		}
		return nil
	})
	if err != nil {
		release()
		return err
	}
	rd.pages.unpin = release
	id, next, end := rd.rec.Content.ID, rd.pages.next, rd.offset+rd.length
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
