package store

import (
	"context"
	"crypto/rand"
	"errors"

	"github.com/blobd/blobd/internal/blob/lease"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

// MaxSyncCopy is the largest source of Copy Blob From URL, in bytes.
const MaxSyncCopy = 256 << 20

// newCopyID makes a copy id: a GUID of version 4.
func newCopyID() (id [16]byte) {
	_, _ = rand.Read(id[:]) // never fails
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id
}

// CopyRequest is a copy of a whole blob: to where and on what terms, from where, and what the destination gets besides the content.
type CopyRequest struct {
	Target
	Scope    Scope
	Source   *Source
	Metadata []protocol.Pair // nil: the source's
	Tags     []protocol.Pair
	// SourceTags tells that the source's tags go along.
	SourceTags bool
	// Tier is TierUnset for the account's default. A copy out of the archive is in the archive, and rehydrated there with this priority.
	Tier record.Tier
	High bool
	Seal bool // an append blob is sealed, whether its source is or not

	// Of a put from a URL: the content headers, which with fill the source's make up for, and the MD5 to be stored, empty for the
	// source's.
	HTTP record.HTTPProperties
	Fill bool
	MD5  string
}

// Copied is what a copy has made, with the sums of what was fetched: the MD5 if it was asked for.
type Copied struct {
	Blob *record.Blob
	Sums
}

// record makes the destination's record from the source's.
func (c *CopyRequest) record(f *fetched) (*record.Blob, error) {
	src := f.rec
	rec := &record.Blob{Type: src.Type, HTTP: src.HTTP, MD5: src.MD5, Metadata: src.Metadata, Tags: c.Tags, Size: f.size, CRC64: f.CRC64, HasCRC64: src.Type != record.PageBlob && (f.laid == nil || src.HasCRC64),
		Sequence: src.Sequence, Blocks: src.Blocks, Sealed: src.Type == record.AppendBlob && (c.Seal || src.Sealed)}
	if c.Metadata != nil {
		rec.Metadata = c.Metadata
	}
	if c.SourceTags {
		rec.Tags = f.tags
	}
	if c.Tier != record.TierUnset {
		from := record.Tiering{}
		if src.Tier.At(c.Now).Tier == record.TierArchive {
			from.Tier = record.TierArchive
		}
		var err error
		if rec.Tier, err = from.Change(c.Now, c.Tier, c.High, src.Type, f.size); err != nil {
			return nil, err
		}
	}
	return rec, nil
}

// commitCopy makes rec, with what was fetched, the current blob. checks are those of the operation, besides the terms.
func (s *Service) commitCopy(ctx context.Context, p *place, terms *Target, rec *record.Blob, f *fetched, check func(old *record.Blob) error) error {
	if f.laid != nil {
		if err := s.precopy(ctx, p, terms, rec.Type, check); err != nil {
			return err
		}
		if err := s.copyLaid(ctx, p, f.laid); err != nil {
			return err
		}
	}
	return s.changeTagged(ctx, p, rec.Tags, func(t *txn) error {
		old, err := replaced(t.Tx, p, terms, rec.Type)
		if err != nil {
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
		t.begin(rec, old, terms.Now)
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
func (s *Service) Copy(ctx context.Context, c *CopyRequest) (rec *record.Blob, err error) {
	check := func(old *record.Blob) error {
		if old.Lease.At(c.Now) == lease.Leased && old.Lease.Duration != lease.Infinite {
			return protocol.ErrInfiniteLeaseDurationRequired
		}
		return nil
	}
	p, scope, err := s.placeCopy(ctx, c)
	if err != nil {
		return nil, err
	}
	c.Source.owner = true
	if c.Source.Own == nil {
		return s.startCopy(ctx, p, scope, c, check)
	}
	made, err := s.copyNow(ctx, p, scope, c, 0, check)
	return made.Blob, err
}

// CopyWithin copies a blob of the same account; the content is there when it returns (Copy Blob before 2012-02-12). Leases had an
// end then, so the destination's may have one.
func (s *Service) CopyWithin(ctx context.Context, c *CopyRequest) (*record.Blob, error) {
	p, scope, err := s.placeCopy(ctx, c)
	if err != nil {
		return nil, err
	}
	c.Source.owner = true
	made, err := s.copyNow(ctx, p, scope, c, 0, nil)
	if said := (*protocol.Error)(nil); errors.As(errors.Unwrap(err), &said) {
		err = said // of the source, as of any blob: there were no words for a copy's yet
	}
	return made.Blob, err
}

// placeCopy is place for a copy, with the encryption scope of what it makes.
func (s *Service) placeCopy(ctx context.Context, c *CopyRequest) (p *place, scope string, err error) {
	con, err := s.addressed(ctx, &c.Target)
	if err != nil {
		return nil, "", err
	}
	if scope, err = c.Scope.in(con); err != nil {
		return nil, "", err
	}
	return newPlace(c.Account, con.Generation, c.Name), scope, nil
}

// copyNow makes a copy of what can be had at once. The source is of the type in only, if that is set.
func (s *Service) copyNow(ctx context.Context, p *place, scope string, c *CopyRequest, only record.Type, check func(old *record.Blob) error) (made Copied, err error) {
	c.Source.blocks, c.Source.pages = true, true
	err = s.fetching(ctx, c.Source, func(f *fetched) error {
		if only != 0 && f.rec.Type != only {
			return protocol.ErrCopySourceNoBlockBlob
		}
		rec, err := c.record(f)
		if err != nil {
			return err
		}
		rec.EncryptionScope = scope
		rec.Copy = &record.Copy{ID: newCopyID(), Status: record.CopySuccess, Source: c.Source.URL.Shown(), Progress: f.size, Total: f.size}
		made = Copied{rec, f.Sums}
		return s.commitCopy(ctx, p, &c.Target, rec, f, check)
	})
	return made, err
}

// fetching has what was fetched of a source used.
func (s *Service) fetching(ctx context.Context, src *Source, use func(*fetched) error) error {
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
func (s *Service) CopyFromURL(ctx context.Context, c *CopyRequest) (Copied, error) {
	p, scope, err := s.placeCopy(ctx, c)
	if err != nil {
		return Copied{}, err
	}
	return s.copyNow(ctx, p, scope, c, record.BlockBlob, nil)
}

// PutFromURL makes a block blob with the content of another (Put Blob From URL).
func (s *Service) PutFromURL(ctx context.Context, c *CopyRequest) (made Copied, err error) {
	p, scope, err := s.placeCopy(ctx, c)
	if err != nil {
		return made, err
	}
	err = s.fetching(ctx, c.Source, func(f *fetched) error {
		f.rec.Type, f.rec.Sequence, f.rec.Blocks, f.rec.Sealed = record.BlockBlob, 0, 0, false
		rec, err := c.record(f)
		if err != nil {
			return err
		}
		rec.EncryptionScope = scope
		if c.Fill {
			rec.HTTP = overlay(c.HTTP, rec.HTTP)
		} else {
			rec.HTTP = c.HTTP
		}
		if c.MD5 != "" {
			rec.MD5 = c.MD5
		}
		made = Copied{rec, f.Sums}
		return s.commitCopy(ctx, p, &c.Target, rec, f, nil)
	})
	return made, err
}

// StageFromURL keeps what a source has as a block until it is committed (Put Block From URL). It returns the sums.
func (s *Service) StageFromURL(ctx context.Context, a *Target, id string, src *Source) (got Sums, err error) {
	p, err := s.place(ctx, a)
	if err != nil {
		return got, err
	}
	err = s.fetching(ctx, src, func(f *fetched) error {
		in, err := s.chunked(ctx, f)
		if err != nil {
			return err
		}
		got = f.Sums
		return s.stageBlock(ctx, p, a, &block{ID: id, Size: in.size, Chunks: in.chunks})
	})
	return got, err
}

// AppendFromURL puts what a source has at the end of an append blob, as one block (Append Block From URL). It returns the blob as it
// is then, and how many bytes were added.
func (s *Service) AppendFromURL(ctx context.Context, a *AppendRequest, src *Source) (rec *record.Blob, n int64, got Sums, err error) {
	p, err := s.place(ctx, &a.Target)
	if err != nil {
		return nil, 0, got, err
	}
	err = s.fetching(ctx, src, func(f *fetched) error {
		in, err := s.chunked(ctx, f)
		if err != nil {
			return err
		}
		n, got = in.size, f.Sums
		rec, err = s.appendContent(ctx, p, a, in)
		return err
	})
	return rec, n, got, err
}

// PagesFromURL puts what a source has over a page blob's pages between two offsets (Put Page From URL). It returns the blob as it is
// then.
func (s *Service) PagesFromURL(ctx context.Context, a *PageRequest, from, to int64, src *Source) (rec *record.Blob, got Sums, err error) {
	p, err := s.place(ctx, &a.Target)
	if err != nil {
		return nil, got, err
	}
	err = s.fetching(ctx, src, func(f *fetched) error {
		if f.size != to-from {
			return protocol.InvalidHeader("x-ms-source-range", src.RangeText)
		}
		in, err := s.receive(ctx, f.read(ctx), f.size, record.MaxInlinePages, false)
		if err != nil {
			return err
		}
		defer in.done()
		got = f.Sums
		rec, err = s.layPages(ctx, p, a, in.pages(from))
		return err
	})
	return rec, got, err
}

// chunked puts inline bytes into a chunk, as blocks have no other form, and returns what was fetched as an intake.
func (s *Service) chunked(ctx context.Context, f *fetched) (*intake, error) {
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
	in := &intake{size: f.size, Sums: f.Sums}
	for i := range f.pieces {
		in.chunks = append(in.chunks, f.pieces[i].Chunk)
	}
	return in, nil
}
