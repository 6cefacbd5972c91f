package blob

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"

	"github.com/blobd/blobd/internal/blob/lease"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// maxSyncCopy is the largest source of Copy Blob From URL, in bytes.
const maxSyncCopy = 256 * miB

// newCopyID makes a copy id: a GUID of version 4.
func newCopyID() (id [16]byte) {
	_, _ = rand.Read(id[:]) // never fails
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id
}

// copyTags reads x-ms-tags and x-ms-copy-source-tag-option.
func copyTags(r *rest.Request) (tags []protocol.Pair, fromSource bool, err error) {
	if tags, err = decodeTags(r); err != nil {
		return nil, false, err
	}
	switch option := r.Header("x-ms-copy-source-tag-option"); {
	case option == "", strings.EqualFold(option, "REPLACE"):
	case strings.EqualFold(option, "COPY"):
		if tags != nil {
			return nil, false, protocol.ErrBothUserTagsAndSourceTagsCopyPresent
		}
		fromSource = true
	default:
		return nil, false, protocol.InvalidHeader("x-ms-copy-source-tag-option", option)
	}
	return tags, fromSource, nil
}

// copying is a copy that was decoded: what the destination gets besides the content.
type copying struct {
	src        *sourceURL
	terms      access
	fetch      fetchTerms
	metadata   []protocol.Pair
	tags       []protocol.Pair
	sourceTags bool
	tier       string
	scope      string
	seal       bool
}

func (s *Service) decodeCopy(r *rest.Request, limit int64) (c copying, err error) {
	if err := refuseUnsupported(r); err != nil {
		return c, err
	}
	if c.src, err = s.decodeSource(r); err != nil {
		return c, err
	}
	if c.terms, err = decodeAccess(r); err != nil {
		return c, err
	}
	if c.fetch, err = decodeFetch(r, limit); err != nil {
		return c, err
	}
	c.fetch.blocks = true
	if c.metadata, err = decodeMetadata(r); err != nil {
		return c, err
	}
	if c.tags, c.sourceTags, err = copyTags(r); err != nil {
		return c, err
	}
	c.fetch.copyTags = c.sourceTags
	if c.tier = clone(r.Header("x-ms-access-tier")); c.tier != "" {
		if _, err := record.ParseTierName(c.tier, r.Version); err != nil {
			return c, err
		}
	}
	c.fetch.pages = true
	c.fetch.archive = c.tier != "" && !strings.EqualFold(c.tier, "Archive")
	c.seal, err = r.Flag("x-ms-seal-blob")
	return c, err
}

// record makes the destination's record from the source's.
func (c *copying) record(f *fetched, v protocol.Version) (*record.Blob, error) {
	src := f.rec
	rec := &record.Blob{Type: src.Type, HTTP: src.HTTP, MD5: src.MD5, Metadata: src.Metadata, Tags: c.tags, EncryptionScope: c.scope, Size: f.size, CRC64: f.crc64, HasCRC64: src.Type != record.PageBlob && (f.laid == nil || src.HasCRC64),
		Sequence: src.Sequence, Blocks: src.Blocks, Sealed: src.Type == record.AppendBlob && (c.seal || src.Sealed)}
	if c.metadata != nil {
		rec.Metadata = c.metadata
	}
	if c.sourceTags {
		rec.Tags = f.tags
	}
	if c.tier != "" {
		tier, err := record.ParseTier(c.tier, src.Type, v)
		if err != nil {
			return nil, err
		}
		rec.Tier = record.Tiering{Tier: tier, Changed: c.terms.now}
	}
	return rec, nil
}

// settle makes rec, with what was fetched, the current blob. checks are those of the operation, besides the terms.
func (s *Service) settle(ctx context.Context, p *place, terms *access, rec *record.Blob, f *fetched, check func(old *record.Blob) error) error {
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

// copyBlob is Copy Blob. A source on this server is copied at once, by sharing; another is read in the background.
func (s *Service) copyBlob(r *rest.Request) error {
	c, err := s.decodeCopy(r, 1<<62)
	if err != nil {
		return err
	}
	c.fetch.owner = true
	p, scope, err := s.placeNew(r)
	if err != nil {
		return err
	}
	c.scope = scope
	check := func(old *record.Blob) error {
		if old.Lease.At(c.terms.now) == lease.Leased && old.Lease.Duration != lease.Infinite {
			return protocol.ErrInfiniteLeaseDurationRequired
		}
		return nil
	}
	var rec *record.Blob
	if !c.src.own {
		rec, err = s.startCopy(r, p, &c, check)
	} else {
		err = retrying(func() error {
			f, err := s.fetch(r, c.src, &c.fetch)
			if err != nil {
				return err
			}
			defer f.done()
			if rec, err = c.record(f, r.Version); err != nil {
				return err
			}
			rec.Copy = &record.Copy{ID: newCopyID(), Status: record.CopySuccess, Source: c.src.shown(), Progress: f.size, Total: f.size}
			return s.settle(r.Context, p, &c.terms, rec, f, check)
		})
	}
	if err != nil {
		return err
	}
	setCopied(r, rec)
	r.Reply(202)
	return nil
}

// setCopied answers a copy.
func setCopied(r *rest.Request, rec *record.Blob) {
	setChanged(r, rec.Changed)
	if rec.Version != 0 {
		r.SetHeader("x-ms-version-id", protocol.SnapshotID(rec.Version))
	}
	if rec.Copy != nil {
		r.SetHeader("x-ms-copy-id", lease.ID(rec.Copy.ID).String())
		r.SetHeader("x-ms-copy-status", rec.Copy.Status.String())
	}
}

// shown is the source as x-ms-copy-source tells it to every reader: of the query only what selects a blob, as the rest may open
// something, here or elsewhere.
func (src *sourceURL) shown() string {
	text, _, _ := strings.Cut(src.text, "?")
	text, _, _ = strings.Cut(text, "#")
	text = protocol.Redact(text)
	sep := "?"
	for _, name := range [...]string{"snapshot", "versionid"} {
		v, _ := src.query.Get(name)
		if _, ok := protocol.ParseSnapshotID(v); ok {
			text += sep + name + "=" + v
			sep = "&"
		}
	}
	return text
}

// copyFromURL is Copy Blob From URL: the content is there when the answer is.
func (s *Service) copyFromURL(r *rest.Request) error {
	c, err := s.decodeCopy(r, maxSyncCopy)
	if err != nil {
		return err
	}
	want, err := decodeSums(r, "x-ms-source-content-md5", "x-ms-source-content-crc64")
	if err != nil {
		return err
	}
	c.fetch.wantMD5 = want.hasMD5
	p, scope, err := s.placeNew(r)
	if err != nil {
		return err
	}
	c.scope = scope
	return retrying(func() error {
		f, err := s.fetch(r, c.src, &c.fetch)
		if err != nil {
			return err
		}
		defer f.done()
		if f.rec.Type != record.BlockBlob {
			return protocol.ErrCopySourceNoBlockBlob
		}
		if err := want.check(&intake{md5: f.md5, crc64: f.crc64}); err != nil {
			return err
		}
		rec, err := c.record(f, r.Version)
		if err != nil {
			return err
		}
		rec.Copy = &record.Copy{ID: newCopyID(), Status: record.CopySuccess, Source: c.src.shown(), Progress: f.size, Total: f.size}
		if err := s.settle(r.Context, p, &c.terms, rec, f, nil); err != nil {
			return err
		}
		setCopied(r, rec)
		setFetchedSums(r, f, &want)
		r.Reply(202)
		return nil
	})
}

// setFetchedSums answers with the sums of what was fetched, the MD5 only if the request named it.
func setFetchedSums(r *rest.Request, f *fetched, want *sums) {
	if want.hasMD5 {
		r.SetHeader("Content-MD5", protocol.MD5(f.md5[:]))
	}
	if r.Version >= protocol.V20190202 {
		r.SetHeader("x-ms-content-crc64", protocol.CRC64(f.crc64))
	}
}

// putBlobFromURL is Put Blob From URL: a block blob with the content of another, and its properties unless the request has some.
func (s *Service) putBlobFromURL(r *rest.Request) error {
	given, err := decodeBlob(r, record.BlockBlob)
	if err != nil {
		return err
	}
	c, err := s.decodeCopy(r, maxPutBlob)
	if err != nil {
		return err
	}
	c.fetch.blocks, c.fetch.pages = false, false
	want, err := decodeSums(r, "x-ms-source-content-md5", "x-ms-source-content-crc64")
	if err != nil {
		return err
	}
	c.fetch.wantMD5 = want.hasMD5
	p, scope, err := s.placeNew(r)
	if err != nil {
		return err
	}
	c.scope = scope
	properties := !strings.EqualFold(r.Header("x-ms-copy-source-blob-properties"), "false")
	return retrying(func() error {
		f, err := s.fetch(r, c.src, &c.fetch)
		if err != nil {
			return err
		}
		defer f.done()
		if err := want.check(&intake{md5: f.md5, crc64: f.crc64}); err != nil {
			return err
		}
		f.rec.Type, f.rec.Sequence, f.rec.Blocks, f.rec.Sealed = record.BlockBlob, 0, 0, false
		rec, err := c.record(f, r.Version)
		if err != nil {
			return err
		}
		if properties {
			rec.HTTP = overlay(decodeHTTP(r, false), rec.HTTP)
		} else {
			rec.HTTP = given.HTTP
		}
		if given.MD5 != "" {
			rec.MD5 = given.MD5
		}
		if err := s.settle(r.Context, p, &c.terms, rec, f, nil); err != nil {
			return err
		}
		setWritten(r, rec)
		setFetchedSums(r, f, &want)
		r.Reply(201)
		return nil
	})
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

// putBlockFromURL is Put Block From URL.
func (s *Service) putBlockFromURL(r *rest.Request) error {
	id, err := decodeBlockID(r)
	if err != nil {
		return err
	}
	if err := refuseUnsupported(r); err != nil {
		return err
	}
	terms, err := decodeAccess(r)
	if err != nil {
		return err
	}
	return s.fromURL(r, putBlockLimit(r.Version), func(p *place, f *fetched, want *sums) error {
		if err := s.chunked(r.Context, f); err != nil {
			return err
		}
		b := &block{ID: id, Size: f.size}
		for i := range f.pieces {
			b.Chunks = append(b.Chunks, f.pieces[i].Chunk)
		}
		if err := s.stageBlock(r, p, &terms, b); err != nil {
			return err
		}
		setSums(r, want, &intake{md5: f.md5, crc64: f.crc64})
		r.SetHeader("x-ms-request-server-encrypted", "true")
		return nil
	})
}

// chunked puts inline bytes into a chunk, as blocks have no other form.
func (s *Service) chunked(ctx context.Context, f *fetched) error {
	if f.size == 0 {
		return protocol.ErrInvalidRange
	}
	if f.inline == nil {
		return nil
	}
	c, err := s.store.Put(ctx, newBytesBody(f.inline), f.size)
	if err != nil {
		return err
	}
	f.inline = nil
	f.made = append(f.made, c.Ref)
	f.pieces = []record.Piece{{Chunk: c}}
	return nil
}
