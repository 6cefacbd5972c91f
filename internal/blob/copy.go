package blob

import (
	"math"

	"github.com/blobd/blobd/internal/blob/lease"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// copyTags reads x-ms-tags and x-ms-copy-source-tag-option.
func (d *decoder) copyTags() (tags []protocol.Pair, fromSource bool) {
	tags, fromSource = d.tags(), d.word("x-ms-copy-source-tag-option", []string{"", "REPLACE", "COPY"}) == 2
	if fromSource && tags != nil {
		d.fail(protocol.ErrBothUserTagsAndSourceTagsCopyPresent)
	}
	return tags, fromSource
}

// copyRequest reads a copy of a source of at most limit bytes.
func (s *Service) copyRequest(d *decoder, limit int64) store.CopyRequest {
	d.supported()
	c := store.CopyRequest{Source: s.source(d, limit), Target: d.target(), Scope: d.scope(), Metadata: d.metadata()}
	c.Tags, c.SourceTags = d.copyTags()
	if text := d.r.Header("x-ms-access-tier"); text != "" {
		c.Tier = d.tier(text)
	}
	c.High = d.priority()
	c.Seal = d.flag("x-ms-seal-blob")
	d.flag("x-ms-requires-sync") // by which the operation was chosen, if it is one
	c.Source.CopyTags, c.Source.Archive = c.SourceTags, c.Tier != record.TierUnset && c.Tier != record.TierArchive
	return c
}

// copyBlob is Copy Blob. Before 2012-02-12 it copies within an account, and has done so when it answers.
func (s *Service) copyBlob(r *rest.Request) error {
	d := decoder{r: r}
	c := s.copyRequest(&d, math.MaxInt64)
	if d.err != nil {
		return d.err
	}
	if r.Version < protocol.V20120212 {
		rec, err := s.blobs.CopyWithin(r.Context, &c)
		if err != nil {
			return err
		}
		setChanged(r, rec.Changed)
		r.Reply(201)
		return nil
	}
	rec, err := s.blobs.Copy(r.Context, &c)
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
	setVersionID(r, rec)
	if rec.Copy != nil {
		r.SetHeader("x-ms-copy-id", lease.ID(rec.Copy.ID).String())
		r.SetHeader("x-ms-copy-status", rec.Copy.Status.String())
	}
}

// copyFromURL is Copy Blob From URL.
func (s *Service) copyFromURL(r *rest.Request) error {
	d := decoder{r: r}
	c := s.copyRequest(&d, store.MaxSyncCopy)
	c.Source.Want = d.sourceSums()
	if d.err != nil {
		return d.err
	}
	made, err := s.blobs.CopyFromURL(r.Context, &c)
	if err != nil {
		return err
	}
	setCopied(r, made.Blob)
	setCopiedSums(r, &made)
	r.Reply(202)
	return nil
}

// setCopiedSums answers with the sums of what was copied, the MD5 only if the request named it.
func setCopiedSums(r *rest.Request, made *store.Copied) {
	if made.HasMD5 {
		r.SetHeader("Content-MD5", protocol.MD5(made.MD5[:]))
	}
	if r.Version >= protocol.V20190202 {
		r.SetHeader("x-ms-content-crc64", protocol.CRC64(made.CRC64))
	}
}

// putBlobFromURL is Put Blob From URL: a block blob with the content of another, and its properties unless the request has some.
func (s *Service) putBlobFromURL(r *rest.Request) error {
	d := decoder{r: r}
	given, c := d.blob(record.BlockBlob), s.copyRequest(&d, maxPutBlob)
	c.Source.Want = d.sourceSums()
	fill := d.flagOr("x-ms-copy-source-blob-properties", true)
	if d.err != nil {
		return d.err
	}
	c.HTTP, c.MD5 = given.HTTP, given.MD5
	named := c.Source.Want.HasMD5
	if c.MD5 != "" { // the sum to be stored is held to the content, as Put Blob does
		sum := [16]byte([]byte(c.MD5))
		if named && sum != c.Source.Want.MD5 {
			return protocol.MD5Mismatch(sum, c.Source.Want.MD5)
		}
		c.Source.Want.MD5, c.Source.Want.HasMD5 = sum, true
	}
	if fill {
		c.HTTP, c.Fill = decodeHTTP(r, false), true
	}
	made, err := s.blobs.PutFromURL(r.Context, &c)
	if err != nil {
		return err
	}
	setWritten(r, made.Blob)
	made.HasMD5 = named
	setCopiedSums(r, &made)
	r.Reply(201)
	return nil
}

// copyIncremental is Incremental Copy Blob.
func (s *Service) copyIncremental(r *rest.Request) error {
	d := decoder{r: r}
	d.supported()
	src := s.source(&d, math.MaxInt64)
	if d.err != nil {
		return d.err
	}
	if text, _ := src.URL.Query.Get("snapshot"); text == "" {
		return protocol.ErrIncrementalCopySourceMustBeSnapshot
	}
	if src.Own == nil {
		return protocol.ErrInvalidSourceBlobUrl // of another server
	}
	src.SourceTerms = store.SourceTerms{Limit: src.Limit} // it knows no conditions on the source
	a := d.target()
	if d.err != nil {
		return d.err
	}
	rec, err := s.blobs.CopyIncremental(r.Context, &a, src)
	if err != nil {
		return err
	}
	setCopied(r, rec)
	r.Reply(202)
	return nil
}

// abortCopy is Abort Copy Blob.
func (s *Service) abortCopy(r *rest.Request) error {
	d := decoder{r: r}
	if d.needWord("x-ms-copy-action", []string{"", "abort"}); d.err != nil {
		return d.err
	}
	text, ok := r.QueryOK("copyid")
	if !ok {
		return protocol.MissingQuery("copyid")
	}
	id, ok := lease.ParseID(text)
	if !ok {
		return protocol.InvalidQuery("copyid", text, "")
	}
	a := d.target()
	if d.err != nil {
		return d.err
	}
	if err := s.blobs.AbortCopy(r.Context, &a, id); err != nil {
		return err
	}
	r.Reply(204)
	return nil
}
