package store

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/source"
	"github.com/blobd/blobd/internal/blob/tagquery"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/md5lanes"
	"github.com/blobd/blobd/internal/protocol"
)

// fetched is a source, or a range of one, ready to become content: its properties, and inline bytes or chunks. Chunks of this
// server's own blobs are shared, not copied; made are those that are new and protected until done.
type fetched struct {
	store  engine.Store
	rec    *record.Blob // properties of the source
	size   int64
	inline []byte
	pieces []record.Piece
	made   []engine.Ref
	Sums   // MD5 if it was asked for
	tags   []protocol.Pair
	// laid is the page map or the long chunk list of a source that is to be copied as such; it is pinned until done.
	laid *laidSource
}

func (f *fetched) done() {
	f.store.Forget(f.made...)
	if f.laid != nil {
		f.laid.done()
	}
}

// SourceTerms are what is asked of a source, and in which form.
type SourceTerms struct {
	Cond protocol.Conditions
	Tags *tagquery.Where
	// CopyTags tells that the source's tags go with the content.
	CopyTags bool
	Range    protocol.Range
	Ranged   bool
	Limit    int64 // bytes
	Want     Sums  // of what is fetched
	blocks   bool  // keep the list of blocks
	pages    bool  // copy a page map, or a long chunk list, as such
	Archive  bool  // an archived source will do
	listed   bool  // content is to be a chunk list, as append blobs have it
	owner    bool  // the caller's rights at the destination's account open a source in it too
}

// unmet is the refusal of a source whose conditions do not hold. The synchronous forms answer 304 where a read of the source would,
// as recorded by clients of the service; Copy Blob knows 412 only.
func (t *SourceTerms) unmet(notModified bool) error {
	if notModified && !t.owner {
		return protocol.ErrCopySourceNotModified
	}
	return protocol.ErrSourceConditionNotMet
}

// ask is what is asked of a source elsewhere.
func (t *SourceTerms) ask() *source.Ask {
	return &source.Ask{Cond: t.Cond, Range: t.Range, Ranged: t.Ranged, Limit: t.Limit, NotModified: t.unmet(true)}
}

// Source is where a copy, or a write from a URL, reads.
type Source struct {
	URL *source.URL
	// Own is the blob if it is one of this server, which is then read inside; nil for one elsewhere.
	Own           *OwnSource
	Authorization string // for a source elsewhere
	// Connected gives the context in which a source elsewhere is read, and what ends it: it ends with the caller's connection.
	Connected func() (context.Context, func())
	Now       engine.Stamp
	RangeText string // x-ms-source-range as sent
	SourceTerms
}

// OwnSource is a blob of this server that is a source.
type OwnSource struct {
	Container, Name string
	// Admit decides whether the caller may read it, and with tags its tags, and returns its account. With owner the caller's rights
	// at the destination's account open a source in it too.
	Admit func(ctx context.Context, tags, owner bool) (*account.Account, error)
}

// check holds a source to the terms and finds the bytes that are wanted.
func (t *SourceTerms) check(rec *record.Blob, now engine.Stamp) (offset, length int64, err error) {
	if rec == nil {
		return 0, 0, protocol.ErrBlobNotFound
	}
	if err := t.Cond.Read(rec.Changed, protocol.Newest); err != nil {
		return 0, 0, t.unmet(err == protocol.ErrNotModified)
	}
	if t.Tags != nil && !t.Tags.Matches("", rec.Tags) {
		return 0, 0, t.unmet(false)
	}
	if !t.Archive {
		if err := rec.Readable(now); err != nil {
			return 0, 0, err
		}
	}
	length = rec.Size
	if t.Ranged {
		var ok bool
		if offset, length, ok = t.Range.Within(rec.Size); !ok {
			return 0, 0, protocol.ErrInvalidRange
		}
	}
	if length > t.Limit {
		return 0, 0, protocol.ErrRequestBodyTooLarge
	}
	return offset, length, nil
}

// fetch gets hold of a source and holds it to the sums.
func (s *Service) fetch(ctx context.Context, src *Source) (f *fetched, err error) {
	if src.Own == nil {
		ctx, done := src.Connected()
		defer done()
		f, err = s.fetchRemote(ctx, &source.Remote{URL: src.URL.Text, Authorization: src.Authorization}, &src.SourceTerms, nil)
	} else {
		f, err = s.fetchOwn(ctx, src)
		err = source.Verified(err)
	}
	if err == nil {
		if err = src.Want.check(&f.Sums); err != nil {
			f.done()
		}
	}
	return f, err
}

func (s *Service) fetchOwn(ctx context.Context, src *Source) (*fetched, error) {
	acct, err := src.Own.Admit(ctx, src.Tags != nil || src.CopyTags, src.owner)
	if err != nil {
		return nil, err
	}
	slot, err := slotOf(src.URL)
	if err != nil {
		return nil, err
	}
	c, err := s.container(ctx, acct.Name, src.Own.Container)
	if err != nil {
		return nil, err
	}
	p := newPlace(acct, c.Generation, src.Own.Name)
	for attempt := 0; ; attempt++ {
		f, err := s.fetchPlace(ctx, p, slot, &src.SourceTerms, src.Now)
		if !errors.Is(err, engine.ErrReleased) || attempt == 3 {
			return f, err
		}
	}
}

// fetchPlace shares what it can of a blob of this server and copies the rest.
func (s *Service) fetchPlace(ctx context.Context, p *place, sel Selector, t *SourceTerms, now engine.Stamp) (*fetched, error) {
	f := &fetched{store: s.store}
	rd := &Reading{}
	pages := false
	var whole []record.Piece // of the whole chunks in rd.spans, one for each; a zero Ref for a part
	err := s.store.View(ctx, p.key, func(v engine.Reader) (err error) {
		if rd.Blob, rd.slot, err = sel.find(v, p); err != nil {
			return err
		}
		if rd.Offset, rd.Length, err = t.check(rd.Blob, now); err != nil {
			return err
		}
		if pages = rd.Blob.Content.Kind == record.ContentPages; pages {
			return nil
		}
		if rd.Blob.Content.Kind == record.ContentList || rd.Blob.Content.Kind == record.ContentChunks {
			whole, err = rd.locatePieces(v, p, s.atOnce)
			return err
		}
		return rd.locate(v, p)
	})
	switch {
	case errors.Is(err, errLong) && t.pages && !t.Want.HasMD5:
		return s.fetchLaid(ctx, p, sel, t, now, record.ContentList)
	case errors.Is(err, errLong):
		return s.fetchBytes(ctx, p, sel, t, now)
	case err != nil:
		return nil, err
	case pages:
		return s.fetchPages(ctx, p, sel, t, now)
	}
	f.rec, f.size, f.inline, f.tags = rd.Blob, rd.Length, rd.Inline, rd.Blob.Tags
	if f.inline != nil {
		f.Sums = sumBytes(f.inline, t.Want.HasMD5)
		return f, nil
	}
	var digest *md5lanes.Digest
	if t.Want.HasMD5 {
		digest = md5lanes.New(f.size)
		defer digest.Close()
	}
	for i, sp := range rd.spans {
		c := record.Piece{}
		if whole != nil {
			c = whole[i]
		}
		if c.Ref == (engine.Ref{}) || digest != nil {
			made, err := s.copySpan(ctx, sp, c.Ref == (engine.Ref{}), digest)
			if err != nil {
				f.done()
				return nil, err
			}
			for _, m := range made {
				f.made = append(f.made, m.Ref)
				f.add(record.Piece{Chunk: m, First: c.First, Block: c.Block})
				c.First = false
			}
		}
		if c.Ref != (engine.Ref{}) {
			f.add(c)
		}
	}
	if digest != nil {
		f.MD5, f.HasMD5 = digest.Sum(), true
	}
	if !t.blocks {
		for i := range f.pieces {
			f.pieces[i].First, f.pieces[i].Block = false, ""
		}
	}
	return f, nil
}

func (f *fetched) add(p record.Piece) {
	f.pieces = append(f.pieces, p)
	f.CRC64 = protocol.CombineCRC64(f.CRC64, p.CRC64, p.Size)
}

// locatePieces finds the wanted bytes as spans, and for each span that is a whole chunk the piece. errLong if there are more than
// most.
func (rd *Reading) locatePieces(v engine.Reader, p *place, most int) (whole []record.Piece, err error) {
	if rd.Length == 0 {
		return nil, nil
	}
	end := rd.Offset + rd.Length
	add := func(at int64, c record.Piece) {
		from, to := max(rd.Offset, at), min(end, at+c.Size)
		if from >= to {
			return
		}
		rd.spans = append(rd.spans, spanOf(&c.Chunk, from-at, to-at))
		if to-from < c.Size {
			c.Ref = engine.Ref{}
		}
		c.Block = strings.Clone(c.Block)
		whole = append(whole, c)
	}
	found := int64(0)
	if rd.Blob.Content.Kind == record.ContentChunks {
		for _, c := range rd.Blob.Content.Chunks {
			add(found, record.Piece{Chunk: c})
			found += c.Size
		}
		return whole, nil
	}
	err = visitList(v, p, rd.Blob.Content.ID, rd.Offset, func(at int64, c *record.Piece) bool {
		if at >= end || len(whole) > most {
			return false
		}
		add(at, *c)
		return true
	})
	if err == nil && len(whole) > most {
		err = errLong
	}
	return whole, err
}

// copySpan reads a span, to sum it and, with keep, to store it again.
func (s *Service) copySpan(ctx context.Context, sp span, keep bool, digest *md5lanes.Digest) (made []engine.Chunk, err error) {
	from := &spanReader{ctx: ctx, store: s.store, spans: []span{sp}}
	if err := from.next(); err != nil {
		return nil, err
	}
	defer from.Close()
	var r io.Reader = from
	if digest != nil {
		r = io.TeeReader(from, digest)
	}
	if !keep {
		_, err := io.Copy(io.Discard, struct{ io.Reader }{r})
		return nil, err
	}
	for left := sp.length; left > 0; {
		c, err := s.store.Put(ctx, r, min(left, engine.MaxChunk))
		if err != nil {
			for i := range made {
				s.store.Forget(made[i].Ref)
			}
			return nil, err
		}
		made = append(made, c)
		left -= c.Size
	}
	return made, nil
}

// adopt makes content of what was fetched. The record's size is set by the caller.
func (t *txn) adopt(f *fetched) record.Content {
	listed := len(f.pieces) > record.MaxDirect
	for i := range f.pieces {
		t.Retain(f.pieces[i].Ref)
		listed = listed || f.pieces[i].First
	}
	if len(f.pieces) == 0 {
		return record.Content{}
	}
	if !listed {
		c := record.Content{Kind: record.ContentChunks}
		for i := range f.pieces {
			c.Chunks = append(c.Chunks, f.pieces[i].Chunk)
		}
		return c
	}
	w := listWriter{t: t, id: t.Stamp()}
	for i := range f.pieces {
		w.add(&f.pieces[i])
	}
	w.flush()
	return record.Content{Kind: record.ContentList, ID: w.id}
}

// read streams what was fetched.
func (f *fetched) read(ctx context.Context) io.Reader {
	if f.inline != nil {
		return newBytesBody(f.inline)
	}
	spans := make([]span, len(f.pieces))
	for i := range f.pieces {
		spans[i] = spanOf(&f.pieces[i].Chunk, 0, f.pieces[i].Size)
	}
	return &lazyReader{spanReader{ctx: ctx, store: f.store, spans: spans}}
}

// lazyReader opens its first span when it is read.
type lazyReader struct{ spanReader }

func (l *lazyReader) Read(p []byte) (int, error) {
	if l.open == nil && len(l.spans) > 0 {
		if err := l.next(); err != nil {
			return 0, err
		}
	}
	return l.spanReader.Read(p)
}

// slotOf reads snapshot and versionid of a source.
func slotOf(src *source.URL) (s Selector, err error) {
	for _, q := range [...]struct {
		name string
		to   *engine.Stamp
	}{{"snapshot", &s.Snapshot}, {"versionid", &s.Version}} {
		text, _ := src.Query.Get(q.name)
		if text == "" {
			continue
		}
		stamp, ok := protocol.ParseSnapshotID(text)
		if !ok || stamp == 0 {
			return s, protocol.InvalidQuery(q.name, text, "")
		}
		*q.to = stamp
	}
	return s, nil
}
