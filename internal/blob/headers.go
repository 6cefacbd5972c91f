package blob

import (
	"strconv"

	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/blob/lease"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// setChanged answers with ETag and Last-Modified.
func setChanged(r *rest.Request, changed record.Stamp) {
	tag := protocol.ETag(changed)
	if r.Version < protocol.V20110818 {
		tag = tag[1 : len(tag)-1]
	}
	r.SetHeader("ETag", tag)
	r.SetHeader("Last-Modified", protocol.Date(changed))
}

// setWritten answers a write that makes a blob or its next version.
func setWritten(r *rest.Request, rec *record.Blob) {
	setChanged(r, rec.Changed)
	setEncrypted(r, true)
	setVersionID(r, rec)
	setScope(r, rec)
}

// setEncrypted tells of a write whether what it brought is encrypted.
func setEncrypted(r *rest.Request, on bool) {
	if r.Version >= protocol.V20151211 {
		r.SetHeader("x-ms-request-server-encrypted", boolText(on))
	}
}

func setVersionID(r *rest.Request, rec *record.Blob) {
	if rec.Version != 0 && r.Version >= protocol.V20191212 {
		r.SetHeader("x-ms-version-id", protocol.SnapshotID(rec.Version))
	}
}

func setScope(r *rest.Request, rec *record.Blob) {
	if rec.EncryptionScope != "" && r.Version >= protocol.V20190202 {
		r.SetHeader("x-ms-encryption-scope", rec.EncryptionScope)
	}
}

// setBlob answers with everything that GET and HEAD tell of a blob but length, range and MD5. current tells that it is the
// current blob of its name. A header is there since the version that the reference of the operations names (sinceversion_test.go).
func setBlob(r *rest.Request, rec *record.Blob, current bool) {
	now := record.StampOf(r.Now)
	setChanged(r, rec.Changed)
	setMetadata(r, rec.Metadata)
	if r.Version >= protocol.V20110818 {
		r.SetHeader("Accept-Ranges", "bytes")
	}
	setHTTP(r, &rec.HTTP)
	r.SetHeader("x-ms-blob-type", rec.Type.String())
	if r.Version >= protocol.V20171109 {
		r.SetHeader("x-ms-creation-time", protocol.Date(rec.Created))
	}
	if r.Version >= protocol.V20151211 {
		r.SetHeader("x-ms-server-encrypted", "true")
	}
	if current {
		setLease(r, &rec.Lease, now)
	}
	switch rec.Type {
	case record.PageBlob:
		r.SetHeader("x-ms-blob-sequence-number", strconv.FormatInt(rec.Sequence, 10))
	case record.AppendBlob:
		r.SetHeader("x-ms-blob-committed-block-count", strconv.FormatUint(uint64(rec.Blocks), 10))
		if rec.Sealed && r.Version >= protocol.V20191212 {
			r.SetHeader("x-ms-blob-sealed", "true")
		}
	}
	setScope(r, rec)
	if len(rec.Tags) > 0 && r.Version >= protocol.V20191212 {
		r.SetHeader("x-ms-tag-count", strconv.Itoa(len(rec.Tags)))
	}
	if rec.Copy != nil && r.Version >= protocol.V20120212 {
		setCopy(r, rec.Copy)
	}
	setVersionID(r, rec)
	if rec.Version != 0 && current && r.Version >= protocol.V20191212 {
		r.SetHeader("x-ms-is-current-version", "true")
	}
	if r.Method == "HEAD" && r.Version >= protocol.V20170417 || r.Version >= protocol.V20261006 {
		setTier(r, rec)
	}
}

// setHTTP answers with the content headers, which a SAS may replace.
func setHTTP(r *rest.Request, h *record.HTTPProperties) {
	o := r.Grant.Override
	if o == nil {
		o = &auth.Override{}
	}
	for _, f := range [...]struct{ name, stored, override string }{
		{"Content-Type", h.ContentType, o.ContentType},
		{"Content-Encoding", h.ContentEncoding, o.ContentEncoding},
		{"Content-Language", h.ContentLanguage, o.ContentLanguage},
		{"Content-Disposition", h.ContentDisposition, o.ContentDisposition},
		{"Cache-Control", h.CacheControl, o.CacheControl},
	} {
		if f.override != "" {
			f.stored = f.override
		}
		if f.stored != "" && (f.name != "Content-Disposition" || r.Version >= protocol.V20130815) {
			r.SetHeader(f.name, f.stored)
		}
	}
}

func setMetadata(r *rest.Request, pairs []protocol.Pair) {
	for i := range pairs {
		r.AddHeader("x-ms-meta-"+pairs[i].Name, pairs[i].Value)
	}
}

// setLease answers with the state of a lease.
func setLease(r *rest.Request, l *lease.Lease, now record.Stamp) {
	state := l.At(now)
	r.SetHeader("x-ms-lease-status", state.Status())
	if r.Version < protocol.V20120212 {
		return
	}
	r.SetHeader("x-ms-lease-state", state.String())
	if state == lease.Leased {
		r.SetHeader("x-ms-lease-duration", l.DurationName())
	}
}

func setCopy(r *rest.Request, c *record.Copy) {
	r.SetHeader("x-ms-copy-id", lease.ID(c.ID).String())
	r.SetHeader("x-ms-copy-source", c.Source)
	r.SetHeader("x-ms-copy-status", c.Status.String())
	r.SetHeader("x-ms-copy-progress", c.ProgressText())
	if c.Completed != 0 {
		r.SetHeader("x-ms-copy-completion-time", protocol.Date(c.Completed))
	}
	if c.Description != "" {
		r.SetHeader("x-ms-copy-status-description", c.Description)
	}
	if c.Incremental && r.Version >= protocol.V20160531 {
		r.SetHeader("x-ms-incremental-copy", "true")
		if c.Snapshot != 0 {
			r.SetHeader("x-ms-copy-destination-snapshot", protocol.SnapshotID(c.Snapshot))
		}
	}
}
