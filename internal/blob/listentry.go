package blob

import (
	"encoding/base64"
	"strconv"

	"github.com/blobd/blobd/internal/blob/lease"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/blob/tagquery"
	"github.com/blobd/blobd/internal/protocol"
)

// Blob implements Listing: it appends the <Blob> element. The order of children is that of recorded answers, and
// each is there since the version that the reference of List Blobs names (sinceversion_test.go).
func (p *page) Blob(name string, e *store.Entry) {
	if e.Blob.Type == record.AppendBlob && p.version < protocol.V20150221 {
		p.err = protocol.ErrFeatureVersionMismatch.Saying("The type of a blob in the container is unrecognized by this version.")
		return
	}
	if p.address != "" {
		p.oldBlob(name, e)
		return
	}
	rec := &e.Blob
	b := append(p.b, "<Blob>"...)
	b = protocol.AppendName(b, "Name", name, p.version)
	if e.Slot.Kind == record.SlotSnapshot {
		b = protocol.AppendSnapshotID(append(b, "<Snapshot>"...), e.Slot.Stamp)
		b = append(b, "</Snapshot>"...)
	}
	if p.version >= protocol.V20191212 && rec.Version != 0 && (p.include&store.IncludeVersions != 0 || e.Slot.Kind == record.SlotCurrent) && e.Slot.Kind != record.SlotSnapshot {
		b = protocol.AppendSnapshotID(append(b, "<VersionId>"...), rec.Version)
		b = append(b, "</VersionId>"...)
		if e.Slot.Kind == record.SlotCurrent && rec.Deleted.At == 0 {
			b = append(b, "<IsCurrentVersion>true</IsCurrentVersion>"...)
		}
	}
	if rec.Deleted.At != 0 {
		b = append(b, "<Deleted>true</Deleted>"...)
	}
	if e.VersionsOnly {
		b = append(b, "<HasVersionsOnly>true</HasVersionsOnly>"...)
	}
	b = append(b, "<Properties>"...)
	if !e.Uncommitted {
		if p.version >= protocol.V20171109 {
			b = append(b, "<Creation-Time>"...)
			b = protocol.AppendDate(b, rec.Created)
			b = append(b, "</Creation-Time>"...)
		}
		b = append(b, "<Last-Modified>"...)
		b = protocol.AppendDate(b, rec.Changed)
		b = append(b, "</Last-Modified><Etag>"...)
		b = protocol.AppendETag(b, rec.Changed)
		b = append(b, "</Etag>"...)
	}
	b = append(b, "<Content-Length>"...)
	b = strconv.AppendInt(b, rec.Size, 10)
	b = append(b, "</Content-Length>"...)
	if !e.Uncommitted {
		b = appendHTTP(b, rec, p.version)
	}
	switch rec.Type {
	case record.PageBlob:
		b = append(b, "<x-ms-blob-sequence-number>"...)
		b = strconv.AppendInt(b, rec.Sequence, 10)
		b = append(b, "</x-ms-blob-sequence-number><BlobType>PageBlob</BlobType>"...)
	case record.AppendBlob:
		b = append(b, "<BlobType>AppendBlob</BlobType>"...)
	default:
		b = append(b, "<BlobType>BlockBlob</BlobType>"...)
	}
	if p.version >= protocol.V20170417 {
		b = appendTier(b, rec, p.now, p.version)
	}
	switch {
	case e.Slot.Kind == record.SlotCurrent && rec.Deleted.At != 0: // which has no lease, and says so
		b = append(b, "<LeaseStatus />"...)
	case e.Slot.Kind == record.SlotCurrent:
		b = appendLease(b, &rec.Lease, p.now)
	}
	if rec.Copy != nil && p.include&store.IncludeCopy != 0 {
		b = appendCopy(b, rec.Copy, p.version)
	}
	switch {
	case p.version < protocol.V20151211:
	case e.Uncommitted: // of which nothing but this is told
		b = append(b, "<ServerEncrypted>false</ServerEncrypted>"...)
	default:
		b = append(b, "<ServerEncrypted>true</ServerEncrypted>"...)
	}
	if rec.EncryptionScope != "" && p.version >= protocol.V20190202 {
		b = protocol.AppendElement(b, "EncryptionScope", rec.EncryptionScope)
	}
	if rec.Deleted.At != 0 {
		b = append(b, "<DeletedTime>"...)
		b = protocol.AppendDate(b, rec.Deleted.At)
		b = append(b, "</DeletedTime><RemainingRetentionDays>"...)
		b = strconv.AppendInt(b, rec.Deleted.DaysLeft(p.now), 10)
		b = append(b, "</RemainingRetentionDays>"...)
	}
	if n := len(rec.Tags); n > 0 && p.version >= protocol.V20191212 {
		b = append(b, "<TagCount>"...)
		b = strconv.AppendInt(b, int64(n), 10)
		b = append(b, "</TagCount>"...)
	}
	if rec.Sealed && p.version >= protocol.V20191212 {
		b = append(b, "<Sealed>true</Sealed>"...)
	}
	b = append(b, "</Properties>"...)
	if p.include&store.IncludeMetadata != 0 {
		b = appendMetadata(b, rec.Metadata)
	}
	if p.include&store.IncludeTags != 0 && len(rec.Tags) > 0 {
		b = append(b, "<Tags>"...)
		b = tagquery.AppendXML(b, rec.Tags)
		b = append(b, "</Tags>"...)
	}
	if p.version >= protocol.V20191212 {
		b = append(b, "<OrMetadata />"...)
	}
	p.b = append(b, "</Blob>"...)
}

// appendHTTP appends the content headers, each even if it is empty.
func appendHTTP(b []byte, rec *record.Blob, version protocol.Version) []byte {
	h := &rec.HTTP
	b = protocol.AppendElement(b, "Content-Type", h.ContentType)
	b = protocol.AppendElement(b, "Content-Encoding", h.ContentEncoding)
	b = protocol.AppendElement(b, "Content-Language", h.ContentLanguage)
	if version >= protocol.V20190202 {
		b = append(b, "<Content-CRC64 />"...)
	}
	if rec.MD5 == "" {
		b = append(b, "<Content-MD5 />"...)
	} else {
		var buf [16]byte
		b = base64.StdEncoding.AppendEncode(append(b, "<Content-MD5>"...), append(buf[:0], rec.MD5...))
		b = append(b, "</Content-MD5>"...)
	}
	b = protocol.AppendElement(b, "Cache-Control", h.CacheControl)
	return protocol.AppendElement(b, "Content-Disposition", h.ContentDisposition)
}

func appendTier(b []byte, rec *record.Blob, at record.Stamp, version protocol.Version) []byte {
	now := rec.Tier.At(at)
	t := &now
	tier, inferred := t.Effective(rec.Type)
	if tier == record.TierUnset {
		return b
	}
	b = append(b, "<AccessTier>"...)
	b = append(b, tier.String()...)
	b = append(b, "</AccessTier>"...)
	if inferred {
		b = append(b, "<AccessTierInferred>true</AccessTierInferred>"...)
	}
	if t.Pending != record.TierUnset {
		b = protocol.AppendElement(b, "ArchiveStatus", t.ArchiveStatus())
	}
	if t.Changed != 0 && rec.Type == record.BlockBlob {
		b = protocol.AppendDate(append(b, "<AccessTierChangeTime>"...), t.Changed)
		b = append(b, "</AccessTierChangeTime>"...)
	}
	if t.Pending != record.TierUnset && version >= protocol.V20191212 {
		b = protocol.AppendElement(b, "RehydratePriority", t.Priority())
	}
	return b
}

func appendLease(b []byte, l *lease.Lease, now record.Stamp) []byte {
	if l.State == lease.Available {
		return append(b, "<LeaseStatus>unlocked</LeaseStatus><LeaseState>available</LeaseState>"...)
	}
	state := l.At(now)
	b = protocol.AppendElement(b, "LeaseStatus", state.Status())
	b = protocol.AppendElement(b, "LeaseState", state.String())
	if state == lease.Leased {
		b = protocol.AppendElement(b, "LeaseDuration", l.DurationName())
	}
	return b
}

func appendCopy(b []byte, c *record.Copy, version protocol.Version) []byte {
	b = protocol.AppendElement(b, "CopyId", lease.ID(c.ID).String())
	b = protocol.AppendElement(b, "CopySource", c.Source)
	b = protocol.AppendElement(b, "CopyStatus", c.Status.String())
	b = protocol.AppendElement(b, "CopyProgress", c.ProgressText())
	if c.Completed != 0 {
		b = protocol.AppendElement(b, "CopyCompletionTime", protocol.Date(c.Completed))
	}
	if c.Description != "" {
		b = protocol.AppendElement(b, "CopyStatusDescription", c.Description)
	}
	if c.Incremental && version >= protocol.V20160531 {
		b = append(b, "<IncrementalCopy>true</IncrementalCopy>"...)
		if c.Snapshot != 0 {
			b = protocol.AppendSnapshotID(append(b, "<CopyDestinationSnapshot>"...), c.Snapshot)
			b = append(b, "</CopyDestinationSnapshot>"...)
		}
	}
	return b
}

func appendMetadata(b []byte, pairs []protocol.Pair) []byte {
	if len(pairs) == 0 {
		return append(b, "<Metadata />"...)
	}
	b = append(b, "<Metadata>"...)
	for i := range pairs {
		b = protocol.AppendElement(b, pairs[i].Name, pairs[i].Value)
	}
	return append(b, "</Metadata>"...)
}
