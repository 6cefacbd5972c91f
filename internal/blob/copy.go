package blob

import (
	"math"
	"strings"

	"github.com/blobd/blobd/internal/blob/lease"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

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

// decodeCopy reads a copy of a source of at most limit bytes.
func (s *Service) decodeCopy(r *rest.Request, limit int64) (c store.CopyRequest, err error) {
	if err := refuseUnsupported(r); err != nil {
		return c, err
	}
	if c.Source, err = s.decodeSource(r, limit); err != nil {
		return c, err
	}
	if c.Target, err = decodeAccess(r); err != nil {
		return c, err
	}
	c.Scope = decodeScope(r)
	if c.Metadata, err = decodeMetadata(r); err != nil {
		return c, err
	}
	if c.Tags, c.SourceTags, err = copyTags(r); err != nil {
		return c, err
	}
	c.Source.CopyTags = c.SourceTags
	if text := r.Header("x-ms-access-tier"); text != "" {
		if c.Tier, err = record.ParseTierName(text, r.Version); err != nil {
			return c, err
		}
	}
	c.Source.Archive = c.Tier != record.TierUnset && c.Tier != record.TierArchive
	c.Seal, err = r.Flag("x-ms-seal-blob")
	return c, err
}

// copyBlob is Copy Blob.
func (s *Service) copyBlob(r *rest.Request) error {
	c, err := s.decodeCopy(r, math.MaxInt64)
	if err != nil {
		return err
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
	if rec.Version != 0 {
		r.SetHeader("x-ms-version-id", protocol.SnapshotID(rec.Version))
	}
	if rec.Copy != nil {
		r.SetHeader("x-ms-copy-id", lease.ID(rec.Copy.ID).String())
		r.SetHeader("x-ms-copy-status", rec.Copy.Status.String())
	}
}

// copyFromURL is Copy Blob From URL.
func (s *Service) copyFromURL(r *rest.Request) error {
	c, err := s.decodeCopy(r, store.MaxSyncCopy)
	if err != nil {
		return err
	}
	if c.Source.Want, err = decodeSums(r, "x-ms-source-content-md5", "x-ms-source-content-crc64"); err != nil {
		return err
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
	given, err := decodeBlob(r, record.BlockBlob)
	if err != nil {
		return err
	}
	c, err := s.decodeCopy(r, maxPutBlob)
	if err != nil {
		return err
	}
	if c.Source.Want, err = decodeSums(r, "x-ms-source-content-md5", "x-ms-source-content-crc64"); err != nil {
		return err
	}
	c.HTTP, c.MD5 = given.HTTP, given.MD5
	if !strings.EqualFold(r.Header("x-ms-copy-source-blob-properties"), "false") {
		c.HTTP, c.Fill = decodeHTTP(r, false), true
	}
	made, err := s.blobs.PutFromURL(r.Context, &c)
	if err != nil {
		return err
	}
	setWritten(r, made.Blob)
	setCopiedSums(r, &made)
	r.Reply(201)
	return nil
}

// copyIncremental is Incremental Copy Blob.
func (s *Service) copyIncremental(r *rest.Request) error {
	if err := refuseUnsupported(r); err != nil {
		return err
	}
	src, err := s.decodeSource(r, math.MaxInt64)
	if err != nil {
		return err
	}
	if text, _ := src.URL.Query.Get("snapshot"); text == "" {
		return protocol.ErrIncrementalCopySourceMustBeSnapshot
	}
	if src.Own == nil {
		return protocol.ErrInvalidSourceBlobUrl // of another server
	}
	src.SourceTerms = store.SourceTerms{Limit: src.Limit} // it knows no conditions on the source
	a, err := decodeAccess(r)
	if err != nil {
		return err
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
	id, ok := lease.ParseID(text)
	if !ok {
		return protocol.InvalidQuery("copyid", text, "")
	}
	a, err := decodeAccess(r)
	if err != nil {
		return err
	}
	if err := s.blobs.AbortCopy(r.Context, &a, id); err != nil {
		return err
	}
	r.Reply(204)
	return nil
}
