package blob

import (
	"context"
	"crypto/rand"
	"errors"

	"github.com/blobd/blobd/internal/blob/lease"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

// maxSyncCopy is the largest source of Copy Blob From URL, in bytes.
const maxSyncCopy = 256 * miB

// newCopyID makes a copy id: a GUID of version 4.
func newCopyID() (id [16]byte) {
	_, _ = rand.Read(id[:]) // never fails
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id
}

// copyRequest is a copy of a whole blob: to where and on what terms, from where, and what the destination gets besides the content.
type copyRequest struct {
	access
	scope    scope
	src      *copySource
	metadata []protocol.Pair // nil: the source's
	tags     []protocol.Pair
	// sourceTags tells that the source's tags go along.
	sourceTags bool
	tier       record.Tier // TierUnset: the account's default
	seal       bool        // an append blob is sealed, whether its source is or not

	// Of a put from a URL: the content headers, which with fill the source's make up for, and the MD5 to be stored, empty for the
	// source's.
	http record.HTTPProperties
	fill bool
	md5  string
}

// copied is what a copy has made, with the sums of what was fetched: the MD5 if it was asked for.
type copied struct {
	rec *record.Blob
	sums
}

// record makes the destination's record from the source's.
func (c *copyRequest) record(f *fetched) (*record.Blob, error) {
	src := f.rec
	rec := &record.Blob{Type: src.Type, HTTP: src.HTTP, MD5: src.MD5, Metadata: src.Metadata, Tags: c.tags, Size: f.size, CRC64: f.crc64, HasCRC64: src.Type != record.PageBlob && (f.laid == nil || src.HasCRC64),
		Sequence: src.Sequence, Blocks: src.Blocks, Sealed: src.Type == record.AppendBlob && (c.seal || src.Sealed)}
	if c.metadata != nil {
		rec.Metadata = c.metadata
	}
	if c.sourceTags {
		rec.Tags = f.tags
	}
	if c.tier != record.TierUnset {
		if err := c.tier.Check(src.Type); err != nil {
			return nil, err
		}
		rec.Tier = record.Tiering{Tier: c.tier, Changed: c.now}
	}
	return rec, nil
}

// settle makes rec, with what was fetched, the current blob. checks are those of the operation, besides the terms.
func (s *core) settle(ctx context.Context, p *place, terms *access, rec *record.Blob, f *fetched, check func(old *record.Blob) error) error {
	if f.laid != nil {
		if err := s.precopy(ctx, p, terms, rec.Type, check); err != nil {
			return err
		}
		if err := s.copyLaid(ctx, p, f.laid); err != nil {
			return err
		}
	}
	return s.changeTagged(ctx, p, rec.Tags, func(t *Txn) error {
		old, err := t.Record(record.Slot{})
		if err != nil {
			return err
		}
		if err := terms.create(old, rec.Type); err != nil {
			return err
		}
		if check != nil && old != nil {
			if err := check(old); err != nil {
				return err
			}
		}
		if f.laid == nil {
			rec.Content = t.adopt(f)
		} else if rec.Content, err = t.adoptLaid(&f.laid.laying); err != nil {
			return err
		}
		t.begin(rec, old, terms.now)
		if rec.Copy != nil {
			rec.Copy.Completed = t.Stamp()
		}
		return t.Replace(old, rec, f.inline)
	})
}

// retrying runs a copy again when a chunk that it shares was let go of by its source meanwhile.
func retrying(copy func() error) error {
	for attempt := 0; ; attempt++ {
		if err := copy(); !errors.Is(err, engine.ErrReleased) || attempt == 3 {
			return err
		}
	}
}

// overlay fills what is not given from what the source has.
func overlay(given, source record.HTTPProperties) record.HTTPProperties {
	for _, f := range [...]struct {
		to   *string
		from string
	}{{&given.ContentType, source.ContentType}, {&given.ContentEncoding, source.ContentEncoding}, {&given.ContentLanguage, source.ContentLanguage},
		{&given.ContentDisposition, source.ContentDisposition}, {&given.CacheControl, source.CacheControl}} {
		if *f.to == "" {
			*f.to = f.from
		}
	}
	return given
}

// Copy copies a blob (Copy Blob). A source on this server is copied at once, by sharing; another is read in the background.
func (s *core) Copy(ctx context.Context, c *copyRequest) (rec *record.Blob, err error) {
	check := func(old *record.Blob) error {
		if old.Lease.At(c.now) == lease.Leased && old.Lease.Duration != lease.Infinite {
			return protocol.ErrInfiniteLeaseDurationRequired
		}
		return nil
	}
	p, scope, err := s.placeCopy(ctx, c)
	if err != nil {
		return nil, err
	}
	c.src.owner = true
	if c.src.own == nil {
		return s.startCopy(ctx, p, scope, c, check)
	}
	made, err := s.copyNow(ctx, p, scope, c, 0, check)
	return made.rec, err
}

// placeCopy is place for a copy, with the encryption scope of what it makes.
func (s *core) placeCopy(ctx context.Context, c *copyRequest) (p *place, scope string, err error) {
	con, err := s.addressed(ctx, &c.access)
	if err != nil {
		return nil, "", err
	}
	if scope, err = c.scope.in(con); err != nil {
		return nil, "", err
	}
	return newPlace(c.account, con.Generation, c.blob), scope, nil
}

// copyNow makes a copy of what can be had at once. The source is of the type in only, if that is set.
func (s *core) copyNow(ctx context.Context, p *place, scope string, c *copyRequest, only record.Type, check func(old *record.Blob) error) (made copied, err error) {
	c.src.blocks, c.src.pages = true, true
	err = s.fetching(ctx, c.src, func(f *fetched) error {
		if only != 0 && f.rec.Type != only {
			return protocol.ErrCopySourceNoBlockBlob
		}
		rec, err := c.record(f)
		if err != nil {
			return err
		}
		rec.EncryptionScope = scope
		rec.Copy = &record.Copy{ID: newCopyID(), Status: record.CopySuccess, Source: c.src.url.shown(), Progress: f.size, Total: f.size}
		made = copied{rec, f.sums}
		return s.settle(ctx, p, &c.access, rec, f, check)
	})
	return made, err
}

// fetching has what was fetched of a source used.
func (s *core) fetching(ctx context.Context, src *copySource, use func(*fetched) error) error {
	return retrying(func() error {
		f, err := s.fetch(ctx, src)
		if err != nil {
			return err
		}
		defer f.done()
		return use(f)
	})
}

// CopyFromURL copies a block blob; the content is there when it returns (Copy Blob From URL).
func (s *core) CopyFromURL(ctx context.Context, c *copyRequest) (copied, error) {
	p, scope, err := s.placeCopy(ctx, c)
	if err != nil {
		return copied{}, err
	}
	return s.copyNow(ctx, p, scope, c, record.BlockBlob, nil)
}

// PutFromURL makes a block blob with the content of another (Put Blob From URL).
func (s *core) PutFromURL(ctx context.Context, c *copyRequest) (made copied, err error) {
	p, scope, err := s.placeCopy(ctx, c)
	if err != nil {
		return made, err
	}
	err = s.fetching(ctx, c.src, func(f *fetched) error {
		f.rec.Type, f.rec.Sequence, f.rec.Blocks, f.rec.Sealed = record.BlockBlob, 0, 0, false
		rec, err := c.record(f)
		if err != nil {
			return err
		}
		rec.EncryptionScope = scope
		if c.fill {
			rec.HTTP = overlay(c.http, rec.HTTP)
		} else {
			rec.HTTP = c.http
		}
		if c.md5 != "" {
			rec.MD5 = c.md5
		}
		made = copied{rec, f.sums}
		return s.settle(ctx, p, &c.access, rec, f, nil)
	})
	return made, err
}

// StageFromURL keeps what a source has as a block until it is committed (Put Block From URL). It returns the sums.
func (s *core) StageFromURL(ctx context.Context, a *access, id string, src *copySource) (got sums, err error) {
	p, err := s.place(ctx, a)
	if err != nil {
		return got, err
	}
	err = s.fetching(ctx, src, func(f *fetched) error {
		in, err := s.chunked(ctx, f)
		if err != nil {
			return err
		}
		got = f.sums
		return s.stageBlock(ctx, p, a, &block{ID: id, Size: in.size, Chunks: in.chunks})
	})
	return got, err
}

// AppendFromURL puts what a source has at the end of an append blob, as one block (Append Block From URL). It returns the blob as it
// is then, and how many bytes were added.
func (s *core) AppendFromURL(ctx context.Context, a *appendTerms, src *copySource) (rec *record.Blob, n int64, got sums, err error) {
	p, err := s.place(ctx, &a.access)
	if err != nil {
		return nil, 0, got, err
	}
	err = s.fetching(ctx, src, func(f *fetched) error {
		in, err := s.chunked(ctx, f)
		if err != nil {
			return err
		}
		n, got = in.size, f.sums
		rec, err = s.appendContent(ctx, p, a, in)
		return err
	})
	return rec, n, got, err
}

// PagesFromURL puts what a source has over a page blob's pages between two offsets (Put Page From URL). It returns the blob as it is
// then.
func (s *core) PagesFromURL(ctx context.Context, a *pageTerms, from, to int64, src *copySource) (rec *record.Blob, got sums, err error) {
	p, err := s.place(ctx, &a.access)
	if err != nil {
		return nil, got, err
	}
	err = s.fetching(ctx, src, func(f *fetched) error {
		if f.size != to-from {
			return protocol.InvalidHeader("x-ms-source-range", src.rangeText)
		}
		in, err := s.receive(ctx, f.read(ctx), f.size, record.MaxInlinePages, false)
		if err != nil {
			return err
		}
		defer in.done()
		got = f.sums
		rec, err = s.layPages(ctx, p, a, in.pages(from))
		return err
	})
	return rec, got, err
}

// chunked puts inline bytes into a chunk, as blocks have no other form, and returns what was fetched as an intake.
func (s *core) chunked(ctx context.Context, f *fetched) (*intake, error) {
	if f.size == 0 {
		return nil, protocol.ErrInvalidRange
	}
	if f.inline != nil {
		c, err := s.store.Put(ctx, newBytesBody(f.inline), f.size)
		if err != nil {
			return nil, err
		}
		f.inline = nil
		f.made = append(f.made, c.Ref)
		f.pieces = []record.Piece{{Chunk: c}}
	}
	in := &intake{size: f.size, sums: f.sums}
	for i := range f.pieces {
		in.chunks = append(in.chunks, f.pieces[i].Chunk)
	}
	return in, nil
}
