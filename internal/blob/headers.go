package blob

import (
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/blob/lease"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/tagquery"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// decodeHTTP reads the x-ms-blob-* content headers. With plain, the headers of the request itself stand in for absent ones, as
// Put Blob has it. Strings are cloned.
func decodeHTTP(r *rest.Request, plain bool) record.HTTPProperties {
	get := func(own, standard string) string {
		v, ok := r.HeaderOK(own)
		if !ok && plain {
			v = r.Header(standard)
		}
		return strings.Clone(v)
	}
	return record.HTTPProperties{
		ContentType:        get("x-ms-blob-content-type", "content-type"),
		ContentEncoding:    get("x-ms-blob-content-encoding", "content-encoding"),
		ContentLanguage:    get("x-ms-blob-content-language", "content-language"),
		ContentDisposition: strings.Clone(r.Header("x-ms-blob-content-disposition")),
		CacheControl:       get("x-ms-blob-cache-control", "cache-control"),
	}
}

// decodeMetadata reads the x-ms-meta- headers.
func decodeMetadata(r *rest.Request) ([]protocol.Pair, error) {
	const prefix = "x-ms-meta-"
	var m protocol.Metadata
	var err error
	r.Headers(prefix, func(name, _, value string) {
		if err == nil {
			err = m.Add(name[len(prefix):], value)
		}
	})
	if err != nil || len(m.Pairs) == 0 {
		return nil, err
	}
	return m.Pairs, nil
}

// decodeTags reads x-ms-tags.
func decodeTags(r *rest.Request) ([]protocol.Pair, error) {
	text := r.Header("x-ms-tags")
	if text == "" {
		return nil, nil
	}
	return tagquery.ParseHeader(text)
}

// decodeBlob reads what a request that makes a blob says of it: properties, metadata, tags, tier, MD5 to be stored.
func decodeBlob(r *rest.Request, t record.Type) (rec *record.Blob, err error) {
	if err := refuseUnsupported(r); err != nil {
		return nil, err
	}
	rec = &record.Blob{Type: t, HTTP: decodeHTTP(r, r.Query("comp") == "")}
	if rec.HTTP.ContentType == "" {
		rec.HTTP.ContentType = record.DefaultContentType
	}
	if rec.Metadata, err = decodeMetadata(r); err != nil {
		return nil, err
	}
	if rec.Tags, err = decodeTags(r); err != nil {
		return nil, err
	}
	if rec.MD5, err = decodeStoredMD5(r); err != nil {
		return nil, err
	}
	if text := r.Header("x-ms-access-tier"); text != "" {
		tier, err := record.ParseTier(text, t, r.Version)
		if err != nil {
			return nil, err
		}
		rec.Tier = record.Tiering{Tier: tier, Changed: record.StampOf(r.Now)}
	}
	return rec, nil
}

// decodeStoredMD5 reads x-ms-blob-content-md5.
func decodeStoredMD5(r *rest.Request) (string, error) {
	text := r.Header("x-ms-blob-content-md5")
	if text == "" {
		return "", nil
	}
	sum, err := protocol.ParseMD5("x-ms-blob-content-md5", text)
	if err != nil {
		return "", err
	}
	return string(sum[:]), nil
}

// maxAnyMD5 bounds what decodeAnyMD5 takes, in bytes, as it is a part of the record.
const maxAnyMD5 = 1024

// decodeAnyMD5 reads x-ms-blob-content-md5 where nothing is compared with it: Set Blob Properties stores one of any length.
func decodeAnyMD5(r *rest.Request) (string, error) {
	const name = "x-ms-blob-content-md5"
	sum, err := base64.StdEncoding.DecodeString(r.Header(name))
	if err != nil || len(sum) > maxAnyMD5 {
		return "", protocol.InvalidHeader(name, r.Header(name))
	}
	return string(sum), nil
}

// refuseUnsupported refuses features that blobd does not have yet, rather than overlook what they ask for: customer-provided
// keys and immutability.
func refuseUnsupported(r *rest.Request) (err error) {
	for _, name := range [...]string{"x-ms-encryption-key", "x-ms-encryption-key-sha256", "x-ms-immutability-policy-until-date", "x-ms-immutability-policy-mode", "x-ms-legal-hold"} {
		if v, ok := r.HeaderOK(name); ok && !(name == "x-ms-legal-hold" && protocol.Word(v) == "false") {
			return protocol.ErrUnsupportedHeader.With("HeaderName", name)
		}
	}
	return nil
}

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
	r.SetHeader("x-ms-request-server-encrypted", "true")
	if rec.Version != 0 {
		r.SetHeader("x-ms-version-id", protocol.SnapshotID(rec.Version))
	}
	if rec.EncryptionScope != "" {
		r.SetHeader("x-ms-encryption-scope", rec.EncryptionScope)
	}
}

// setBlob answers with everything that GET and HEAD tell of a blob but length, range and MD5. current tells that it is the
// current blob of its name.
func setBlob(r *rest.Request, rec *record.Blob, current bool) {
	now := record.StampOf(r.Now)
	setChanged(r, rec.Changed)
	setMetadata(r, rec.Metadata)
	if r.Version >= protocol.V20110818 {
		r.SetHeader("Accept-Ranges", "bytes")
	}
	setHTTP(r, &rec.HTTP)
	r.SetHeader("x-ms-blob-type", rec.Type.String())
	r.SetHeader("x-ms-creation-time", protocol.Date(rec.Created))
	r.SetHeader("x-ms-server-encrypted", "true")
	if current {
		setLease(r, &rec.Lease, now)
	}
	switch rec.Type {
	case record.PageBlob:
		r.SetHeader("x-ms-blob-sequence-number", strconv.FormatInt(rec.Sequence, 10))
	case record.AppendBlob:
		r.SetHeader("x-ms-blob-committed-block-count", strconv.FormatUint(uint64(rec.Blocks), 10))
		if rec.Sealed {
			r.SetHeader("x-ms-blob-sealed", "true")
		}
	}
	if rec.EncryptionScope != "" {
		r.SetHeader("x-ms-encryption-scope", rec.EncryptionScope)
	}
	if len(rec.Tags) > 0 {
		r.SetHeader("x-ms-tag-count", strconv.Itoa(len(rec.Tags)))
	}
	if rec.Copy != nil {
		setCopy(r, rec.Copy)
	}
	if rec.Version != 0 {
		r.SetHeader("x-ms-version-id", protocol.SnapshotID(rec.Version))
		if current {
			r.SetHeader("x-ms-is-current-version", "true")
		}
	}
	if r.Method == "HEAD" || r.Version >= protocol.V20261006 {
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
		if f.stored != "" {
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
	if c.Incremental {
		r.SetHeader("x-ms-incremental-copy", "true")
		if c.Snapshot != 0 {
			r.SetHeader("x-ms-copy-destination-snapshot", protocol.SnapshotID(c.Snapshot))
		}
	}
}
