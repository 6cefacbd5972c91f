package blob

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"go.uber.org/zap"

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
func copyTags(r *rest.Request) (tags []Pair, fromSource bool, err error) {
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
	metadata   []Pair
	tags       []Pair
	sourceTags bool
	tier       string
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
	if c.tier = clone(r.Header("x-ms-access-tier")); c.tier != "" {
		if _, err := parseTierName(c.tier, r.Version); err != nil {
			return c, err
		}
	}
	c.fetch.pages = true
	c.fetch.archive = c.tier != "" && !strings.EqualFold(c.tier, "Archive")
	c.seal = r.Header("x-ms-seal-blob") == "true"
	return c, nil
}

// record makes the destination's record from the source's.
func (c *copying) record(f *fetched, v protocol.Version) (*Record, error) {
	src := f.rec
	rec := &Record{Type: src.Type, HTTP: src.HTTP, MD5: src.MD5, Metadata: src.Metadata, Tags: c.tags, Size: f.size, CRC64: f.crc64, HasCRC64: f.pages == nil,
		Sequence: src.Sequence, Blocks: src.Blocks, Sealed: src.Type == AppendBlob && (c.seal || src.Sealed)}
	if c.metadata != nil {
		rec.Metadata = c.metadata
	}
	if c.sourceTags {
		rec.Tags = f.tags
	}
	if c.tier != "" {
		tier, err := parseTier(c.tier, src.Type, v)
		if err != nil {
			return nil, err
		}
		rec.Tier = Tiering{Tier: tier, Changed: c.terms.now}
	}
	return rec, nil
}

// settle makes rec, with what was fetched, the current blob. checks are those of the operation, besides the terms.
func (s *Service) settle(ctx context.Context, p *place, terms *access, rec *Record, f *fetched, check func(old *Record) error) error {
	if f.pages != nil {
		if err := s.precopy(ctx, p, terms, check); err != nil {
			return err
		}
		if err := s.copyPages(ctx, p, f.pages); err != nil {
			return err
		}
	}
	err := s.changeTagged(ctx, p, rec.Tags, func(t *Txn) error {
		old, err := t.Record(Slot{})
		if err != nil {
			return err
		}
		if err := terms.create(old); err != nil {
			return err
		}
		if check != nil && old != nil {
			if err := check(old); err != nil {
				return err
			}
		}
		if f.pages == nil {
			rec.Content = t.adopt(f)
		} else if rec.Content, err = t.adoptPages(f.pages); err != nil {
			return err
		}
		t.begin(rec, old, terms.now)
		if rec.Copy != nil {
			rec.Copy.Completed = t.Stamp()
		}
		return t.Replace(old, rec, f.inline)
	})
	return longest(err)
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
	p, err := s.place(r)
	if err != nil {
		return err
	}
	check := func(old *Record) error {
		if old.Lease.At(c.terms.now) == LeaseLeased && old.Lease.Duration != InfiniteLease {
			return protocol.ErrInfiniteLeaseDurationRequired
		}
		return nil
	}
	var rec *Record
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
			rec.Copy = &CopyState{ID: newCopyID(), Status: CopySuccess, Source: c.src.shown(), Progress: f.size, Total: f.size}
			return s.settle(r.Context, p, &c.terms, rec, f, func(old *Record) error {
				if old.Type != rec.Type {
					return protocol.ErrInvalidBlobType
				}
				return check(old)
			})
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
func setCopied(r *rest.Request, rec *Record) {
	setChanged(r, rec.Changed)
	if rec.Version != 0 {
		r.SetHeader("x-ms-version-id", protocol.SnapshotID(rec.Version))
	}
	if rec.Copy != nil {
		r.SetHeader("x-ms-copy-id", LeaseID(rec.Copy.ID).String())
		r.SetHeader("x-ms-copy-status", rec.Copy.Status.String())
	}
}

// shown is the source as x-ms-copy-source tells it: without its signature.
func (src *sourceURL) shown() string {
	if _, signed := src.query.Get("sig"); !signed {
		return src.text
	}
	text, _, _ := strings.Cut(src.text, "?")
	sep := "?"
	for _, name := range [...]string{"snapshot", "versionid"} {
		if v, ok := src.query.Get(name); ok {
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
	p, err := s.place(r)
	if err != nil {
		return err
	}
	return retrying(func() error {
		f, err := s.fetch(r, c.src, &c.fetch)
		if err != nil {
			return err
		}
		defer f.done()
		if f.rec.Type != BlockBlob {
			return protocol.ErrInvalidSourceBlobType
		}
		if err := want.check(&intake{md5: f.md5, crc64: f.crc64}); err != nil {
			return err
		}
		rec, err := c.record(f, r.Version)
		if err != nil {
			return err
		}
		rec.Copy = &CopyState{ID: newCopyID(), Status: CopySuccess, Source: c.src.shown(), Progress: f.size, Total: f.size}
		if err := s.settle(r.Context, p, &c.terms, rec, f, nil); err != nil {
			return err
		}
		setCopied(r, rec)
		setFetchedSums(r, f, &want)
		r.Reply(202)
		return nil
	})
}

// setFetchedSums answers with the sums of what was fetched. MD5 is told where it is known: to read a shared source only for its
// MD5 would make a copy as dear as a download.
func setFetchedSums(r *rest.Request, f *fetched, want *sums) {
	switch {
	case want.hasMD5:
		r.SetHeader("Content-MD5", protocol.MD5(f.md5[:]))
	case f.rec.MD5 != "" && f.size == f.rec.Size:
		r.SetHeader("Content-MD5", protocol.MD5(f.rec.MD5))
	}
	if r.Version >= protocol.V20190202 {
		r.SetHeader("x-ms-content-crc64", protocol.CRC64(f.crc64))
	}
}

// putBlobFromURL is Put Blob From URL: a block blob with the content of another, and its properties unless the request has some.
func (s *Service) putBlobFromURL(r *rest.Request) error {
	given, err := decodeBlob(r, BlockBlob)
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
	p, err := s.place(r)
	if err != nil {
		return err
	}
	properties := r.Header("x-ms-copy-source-blob-properties") != "false"
	return retrying(func() error {
		f, err := s.fetch(r, c.src, &c.fetch)
		if err != nil {
			return err
		}
		defer f.done()
		if err := want.check(&intake{md5: f.md5, crc64: f.crc64}); err != nil {
			return err
		}
		f.rec.Type, f.rec.Sequence, f.rec.Blocks, f.rec.Sealed = BlockBlob, 0, 0, false
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
func overlay(given, source HTTPProperties) HTTPProperties {
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
	f.pieces = []piece{{Chunk: c}}
	return nil
}

// startCopy begins a copy from elsewhere. The destination is there at once, empty and closed to writes, and its work item brings
// the copy back to life after a restart.
func (s *Service) startCopy(r *rest.Request, p *place, c *copying, check func(*Record) error) (*Record, error) {
	authorization := r.Header("x-ms-copy-source-authorization")
	resp, err := s.getRemote(r.Context, c.src, authorization, &c.fetch)
	if err != nil {
		return nil, err
	}
	total := resp.ContentLength
	f := &fetched{store: s.store, rec: remoteRecord(resp)}
	_ = resp.Body.Close() // only the head was wanted
	if f.rec.Type == PageBlob {
		return nil, protocol.ErrBlobOperationNotSupported
	}
	rec, err := c.record(f, r.Version)
	if err != nil {
		return nil, err
	}
	rec.Blocks = 0
	rec.Copy = &CopyState{ID: newCopyID(), Status: CopyPending, Source: c.src.shown(), Total: total}
	var began engine.Stamp
	err = s.changeTagged(r.Context, p, rec.Tags, func(t *Txn) error {
		old, err := t.Record(Slot{})
		if err != nil {
			return err
		}
		if err := c.terms.create(old); err != nil {
			return err
		}
		if old != nil {
			if old.Type != rec.Type {
				return protocol.ErrInvalidBlobType
			}
			if err := check(old); err != nil {
				return err
			}
		}
		t.begin(rec, old, c.terms.now)
		began = t.Stamp()
		// The URL with its signature is needed again; it is kept in the work item only, which goes with the copy.
		value := append([]byte{0}, p.account.Name...)
		value = append(append(value, 0), c.src.text...)
		t.Set(engine.SpaceBlobQueue, appendWorkKey(nil, t.key, workCopy, began), value)
		return t.Replace(old, rec, nil)
	})
	if err != nil {
		return nil, err
	}
	s.runCopy(p, c.src, rec.Copy.ID, began, clone(authorization))
	return rec, nil
}

// copies are the background copies of this process, by id.
func (s *Service) runCopy(p *place, src *sourceURL, id [16]byte, began engine.Stamp, authorization string) {
	s.copyMu.Lock()
	defer s.copyMu.Unlock()
	if s.copies == nil || s.copies[id] != nil {
		return // closing, or running already
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.copies[id] = cancel
	s.copyDone.Add(1)
	go func() {
		defer s.copyDone.Done()
		defer cancel()
		if err := s.pull(ctx, p, src, id, began, authorization); err != nil && ctx.Err() == nil && !errors.Is(err, engine.ErrClosed) {
			s.log.Warn("copy", zap.String("blob", p.name), zap.Error(err))
		}
		s.copyMu.Lock()
		delete(s.copies, id)
		s.copyMu.Unlock()
	}()
}

// copyStep is how often the progress of a copy is written down, in bytes.
const copyStep = 64 * miB

// pull reads a source from elsewhere into the destination that waits for it.
func (s *Service) pull(ctx context.Context, p *place, src *sourceURL, id [16]byte, began engine.Stamp, authorization string) error {
	written := int64(0)
	f, err := s.fetchRemote(ctx, src, authorization, &fetchTerms{limit: 1 << 62}, func(done, total int64) error {
		if done-written < copyStep || done == total {
			return nil
		}
		written = done
		return s.changeCopy(ctx, p, id, func(t *Txn, rec *Record) error {
			rec.Copy.Progress, rec.Copy.Total = done, total
			t.Modify(rec)
			return nil
		})
	})
	if f != nil {
		defer f.done()
	}
	if ctx.Err() != nil || errors.Is(err, errNotCopying) {
		return ctx.Err()
	}
	return s.changeCopy(ctx, p, id, func(t *Txn, rec *Record) error {
		t.Delete(engine.SpaceBlobQueue, appendWorkKey(nil, p.key, workCopy, began))
		rec.Changed = t.Stamp()
		rec.Copy.Completed = rec.Changed
		if err != nil {
			rec.Copy.Status, rec.Copy.Description = CopyFailed, "500 InternalError \"Copy failed.\""
			var e *protocol.Error
			if errors.As(err, &e) {
				rec.Copy.Description = fmt.Sprintf("%d %s \"Copy failed.\"", e.Status, e.Code)
			}
			t.Modify(rec)
			return nil
		}
		rec.Copy.Status, rec.Copy.Progress, rec.Copy.Total = CopySuccess, f.size, f.size
		rec.Size, rec.CRC64, rec.HasCRC64 = f.size, f.crc64, true
		if rec.Content = t.adopt(f); f.inline != nil {
			t.Set(engine.SpaceBlobData, t.key, f.inline)
			rec.Content = Content{Kind: ContentInline}
		}
		t.delta += f.size
		t.Modify(rec)
		return nil
	})
}

// errNotCopying: the destination waits for this copy no longer.
var errNotCopying = errors.New("the copy was aborted or its destination is gone")

// changeCopy changes a destination that still waits for a copy.
func (s *Service) changeCopy(ctx context.Context, p *place, id [16]byte, fn func(*Txn, *Record) error) error {
	return s.change(ctx, p, func(t *Txn) error {
		rec, err := t.Record(Slot{})
		if err != nil {
			return err
		}
		if rec == nil || rec.Copy == nil || rec.Copy.ID != id || rec.Copy.Status != CopyPending {
			return errNotCopying
		}
		return fn(t, rec)
	})
}

// sweepCopy takes up a copy that was under way when the server stopped, or clears away the item of one that is over.
func (s *Service) sweepCopy(ctx context.Context, p *place, w *work) error {
	name, text, _ := cutZero(w.value[1:])
	p.account = s.accounts.Lookup(string(name))
	var rec *Record
	err := s.change(ctx, p, func(t *Txn) (err error) {
		if rec, err = t.Record(Slot{}); err != nil {
			return err
		}
		if p.account == nil || rec == nil || rec.Copy == nil || rec.Copy.Status != CopyPending {
			t.Delete(engine.SpaceBlobQueue, w.key)
			rec = nil
		}
		return nil
	})
	if err != nil || rec == nil {
		return err
	}
	s.runCopy(p, &sourceURL{text: string(text)}, rec.Copy.ID, w.stamp, "")
	return nil
}

// abortCopy is Abort Copy Blob.
func (s *Service) abortCopy(r *rest.Request) error {
	if v := r.Header("x-ms-copy-action"); !strings.EqualFold(v, "abort") {
		if v == "" {
			return protocol.MissingHeader("x-ms-copy-action")
		}
		return protocol.InvalidHeader("x-ms-copy-action", v)
	}
	text, ok := r.QueryOK("copyid")
	if !ok {
		return protocol.MissingQuery("copyid")
	}
	id, ok := ParseLeaseID(text)
	if !ok {
		return protocol.InvalidQuery("copyid", text, "")
	}
	terms, err := decodeAccess(r)
	if err != nil {
		return err
	}
	p, err := s.place(r)
	if err != nil {
		return err
	}
	err = s.change(r.Context, p, func(t *Txn) error {
		rec, err := t.Record(Slot{})
		if err != nil {
			return err
		}
		if rec == nil {
			return protocol.ErrBlobNotFound
		}
		if err := rec.Lease.CheckWrite(terms.now, terms.lease, BlobLease); err != nil {
			return err
		}
		switch {
		case rec.Copy == nil || rec.Copy.Status != CopyPending:
			return protocol.ErrNoPendingCopyOperation
		case rec.Copy.ID != id:
			return protocol.ErrCopyIdMismatch
		}
		rec.Changed = t.Stamp()
		rec.Copy.Status, rec.Copy.Completed = CopyAborted, rec.Changed
		t.Modify(rec)
		return nil
	})
	if err != nil {
		return err
	}
	s.copyMu.Lock()
	if cancel := s.copies[id]; cancel != nil {
		cancel()
	}
	s.copyMu.Unlock()
	r.Reply(204)
	return nil
}

// stopCopies ends the background copies; they begin again with the next start.
func (s *Service) stopCopies() {
	s.copyMu.Lock()
	for _, cancel := range s.copies {
		cancel()
	}
	s.copies = nil
	s.copyMu.Unlock()
	s.copyDone.Wait()
	s.remote.CloseIdleConnections()
}
