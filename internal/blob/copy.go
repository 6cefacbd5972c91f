package blob

import (
	"math"
	"strings"

	"github.com/blobd/blobd/internal/blob/lease"
	"github.com/blobd/blobd/internal/blob/record"
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
func (s *Service) decodeCopy(r *rest.Request, limit int64) (c copyRequest, err error) {
	if err := refuseUnsupported(r); err != nil {
		return c, err
	}
	if c.src, err = s.decodeSource(r, limit); err != nil {
		return c, err
	}
	if c.access, err = decodeAccess(r); err != nil {
		return c, err
	}
	c.scope = decodeScope(r)
	if c.metadata, err = decodeMetadata(r); err != nil {
		return c, err
	}
	if c.tags, c.sourceTags, err = copyTags(r); err != nil {
		return c, err
	}
	c.src.copyTags = c.sourceTags
	if text := r.Header("x-ms-access-tier"); text != "" {
		if c.tier, err = record.ParseTierName(text, r.Version); err != nil {
			return c, err
		}
	}
	c.src.archive = c.tier != record.TierUnset && c.tier != record.TierArchive
	c.seal, err = r.Flag("x-ms-seal-blob")
	return c, err
}

// copyBlob is Copy Blob.
func (s *Service) copyBlob(r *rest.Request) error {
	c, err := s.decodeCopy(r, math.MaxInt64)
	if err != nil {
		return err
	}
	rec, err := s.core.Copy(r.Context, &c)
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
	c, err := s.decodeCopy(r, maxSyncCopy)
	if err != nil {
		return err
	}
	if c.src.want, err = decodeSums(r, "x-ms-source-content-md5", "x-ms-source-content-crc64"); err != nil {
		return err
	}
	made, err := s.core.CopyFromURL(r.Context, &c)
	if err != nil {
		return err
	}
	setCopied(r, made.rec)
	setCopiedSums(r, &made)
	r.Reply(202)
	return nil
}

// setCopiedSums answers with the sums of what was copied, the MD5 only if the request named it.
func setCopiedSums(r *rest.Request, made *copied) {
	if made.hasMD5 {
		r.SetHeader("Content-MD5", protocol.MD5(made.md5[:]))
	}
	if r.Version >= protocol.V20190202 {
		r.SetHeader("x-ms-content-crc64", protocol.CRC64(made.crc64))
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
	if c.src.want, err = decodeSums(r, "x-ms-source-content-md5", "x-ms-source-content-crc64"); err != nil {
		return err
	}
	c.http, c.md5 = given.HTTP, given.MD5
	if !strings.EqualFold(r.Header("x-ms-copy-source-blob-properties"), "false") {
		c.http, c.fill = decodeHTTP(r, false), true
	}
	made, err := s.core.PutFromURL(r.Context, &c)
	if err != nil {
		return err
	}
	setWritten(r, made.rec)
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
	if text, _ := src.url.query.Get("snapshot"); text == "" {
		return protocol.ErrIncrementalCopySourceMustBeSnapshot
	}
	if src.own == nil {
		return protocol.ErrInvalidSourceBlobUrl // of another server
	}
	src.fetchTerms = fetchTerms{limit: src.limit} // it knows no conditions on the source
	a, err := decodeAccess(r)
	if err != nil {
		return err
	}
	rec, err := s.core.CopyIncremental(r.Context, &a, src)
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
	if err := s.core.AbortCopy(r.Context, &a, id); err != nil {
		return err
	}
	r.Reply(204)
	return nil
}
