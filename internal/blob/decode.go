package blob

import (
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/blob/lease"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/blob/tagquery"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// decoder reads what a request says, one thing after the other. The first that is wrong is its error, and what the client is told; what
// is read after that is worth nothing.
type decoder struct {
	r   *rest.Request
	err error
}

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// target reads which blob the request is on, and on what terms.
func (d *decoder) target() store.Target {
	r := d.r
	return store.Target{Account: r.Account, Container: r.Container, Name: r.Blob, Version: r.Version, Now: record.StampOf(r.Now),
		Lease: d.leaseID("x-ms-lease-id"), Cond: d.conditions(&protocol.TargetConditions), Tags: d.ifTags("x-ms-if-tags"),
		CreateOnly: r.Grant.Scheme != auth.SharedKey && !r.Grant.Letters.Has('w') && r.Grant.Letters.Has('c')}
}

func (d *decoder) conditions(names *protocol.ConditionNames) protocol.Conditions {
	c, err := protocol.ParseConditions(d.r, names)
	d.fail(err)
	return c
}

// ifTags reads a header with a condition on tags; nil if there is none.
func (d *decoder) ifTags(name string) (where *tagquery.Where) {
	if text := d.r.Header(name); text != "" {
		var err error
		where, err = tagquery.ParseWhere(text, tagquery.If)
		d.fail(err)
	}
	return where
}

// container reads which container the request is on, and on what terms: it takes no ETags and, unless unmodified is set, no
// If-Unmodified-Since.
func (d *decoder) container(unmodified bool) store.Target {
	a := d.target()
	if a.Cond.HasETag() || !unmodified && a.Cond.HasUnmodified() {
		d.fail(protocol.ErrConditionHeadersNotSupported)
	}
	return a
}

// readContainer reads the addressed container for an operation that changes nothing.
func (s *Service) readContainer(r *rest.Request) (*record.Container, error) {
	d := decoder{r: r}
	given := d.leaseID("x-ms-lease-id")
	if d.err != nil {
		return nil, d.err
	}
	return s.blobs.Container(r.Context, &store.Target{Account: r.Account, Container: r.Container, Lease: given, Now: record.StampOf(r.Now)})
}

// creation reads what a request that makes a blob says of it: where and on what terms, and its properties, metadata, tags, tier and
// MD5. A source that none of the operations on sources took, as their version is newer, must not make an empty blob of it.
func (d *decoder) creation(t record.Type) store.Creation {
	if _, ok := d.r.HeaderOK("x-ms-copy-source"); ok {
		d.fail(protocol.ErrUnsupportedHeader.With("HeaderName", "x-ms-copy-source"))
	}
	return store.Creation{Blob: d.blob(t), Scope: d.scope(), Target: d.target()}
}

func (d *decoder) scope() store.Scope {
	return store.Scope{Named: d.r.Header("x-ms-encryption-scope"), Signed: d.r.Grant.EncryptionScope}
}

// blob reads what a request that makes a blob says of it: properties, metadata, tags, tier, MD5 to be stored.
func (d *decoder) blob(t record.Type) *record.Blob {
	d.supported()
	rec := &record.Blob{Type: t, HTTP: decodeHTTP(d.r, d.r.Query("comp") == ""), Metadata: d.metadata(), Tags: d.tags(), MD5: d.storedMD5()}
	if rec.HTTP.ContentType == "" {
		rec.HTTP.ContentType = record.DefaultContentType
	}
	if text := d.r.Header("x-ms-access-tier"); text != "" {
		tier, err := record.ParseTier(text, t, d.r.Version)
		d.fail(err)
		rec.Tier = record.Tiering{Tier: tier, Changed: record.StampOf(d.r.Now)}
	}
	return rec
}

// slot reads snapshot= and versionid=.
func (d *decoder) slot() (s store.Selector) {
	s = store.Selector{Snapshot: d.stamp("snapshot"), Version: d.stamp("versionid")}
	if s.Version != 0 {
		d.queryOf("versionid", protocol.V20191212)
	}
	if s.Snapshot != 0 && s.Version != 0 {
		d.fail(protocol.InvalidQuery("versionid", d.r.Query("versionid"), ""))
	}
	return s
}

// queryOf refuses a parameter of the query in a version before the one that brought it: to overlook which blob is meant, or that it is
// compared with another, would answer something else.
func (d *decoder) queryOf(name string, since protocol.Version) {
	if d.r.Version < since {
		d.fail(protocol.ErrUnsupportedQueryParameter.With("QueryParameterName", name).With("QueryParameterValue", d.r.Query(name)))
	}
}

// stamp reads a parameter that names a snapshot or a version; 0 if it is absent.
func (d *decoder) stamp(name string) record.Stamp {
	text := d.r.Query(name)
	if text == "" {
		return 0
	}
	return d.parseStamp(name, text)
}

func (d *decoder) parseStamp(name, text string) record.Stamp {
	stamp, ok := protocol.ParseSnapshotID(text)
	if !ok || stamp == 0 {
		d.fail(protocol.InvalidQuery(name, text, ""))
	}
	return stamp
}

// leaseID reads a header that holds a lease id; the zero id if there is none.
func (d *decoder) leaseID(name string) (id lease.ID) {
	if text := d.r.Header(name); text != "" {
		var ok bool
		if id, ok = lease.ParseID(text); !ok {
			d.fail(protocol.InvalidHeader(name, text))
		}
	}
	return id
}

// size reads a header that holds a number of bytes, -1 if it is absent.
func (d *decoder) size(name string) int64 {
	text, ok := d.r.HeaderOK(name)
	if !ok {
		return -1
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		d.fail(protocol.InvalidHeader(name, text))
	}
	return n
}

// date reads a header that holds a date, the zero time if it is absent.
func (d *decoder) date(name string) time.Time {
	text := d.r.Header(name)
	if text == "" {
		return time.Time{}
	}
	t, ok := protocol.ParseDate(text)
	if !ok {
		d.fail(protocol.InvalidHeader(name, text))
	}
	return t
}

// flag reads a header that is a Boolean; absent is false.
func (d *decoder) flag(name string) bool { return d.flagOr(name, false) }

func (d *decoder) flagOr(name string, absent bool) bool {
	on, err := d.r.Flag(name, absent)
	d.fail(err)
	return on
}

// word reads a header that is one of some words, in any case: which of them, 0 if it is absent or empty. words[0] is not looked at.
func (d *decoder) word(name string, words []string) int {
	text := d.r.Header(name)
	if text == "" {
		return 0
	}
	for i := 1; i < len(words); i++ {
		if strings.EqualFold(words[i], text) {
			return i
		}
	}
	d.fail(protocol.InvalidHeader(name, text))
	return 0
}

// needWord is word for a header that must be there.
func (d *decoder) needWord(name string, words []string) int {
	if d.r.Header(name) == "" {
		d.fail(protocol.MissingHeader(name))
	}
	return d.word(name, words)
}

// document reads the whole body, of at most limit bytes.
func (d *decoder) document(limit int64) []byte {
	if d.err != nil {
		return nil
	}
	doc, err := d.r.ReadBody(limit)
	d.fail(err)
	return doc
}

// emptyBody refuses a body on an operation that makes an empty blob.
func (d *decoder) emptyBody() {
	if n := d.r.Body().Len(); n != 0 {
		d.fail(protocol.InvalidHeader("Content-Length", strconv.FormatInt(n, 10)))
	}
}

// metadata reads the x-ms-meta- headers.
func (d *decoder) metadata() []protocol.Pair {
	const prefix = "x-ms-meta-"
	var m protocol.Metadata
	var err error
	d.r.Headers(prefix, func(name, _, value string) {
		if err == nil {
			err = m.Add(name[len(prefix):], value)
		}
	})
	d.fail(err)
	return m.Pairs
}

// tags reads x-ms-tags.
func (d *decoder) tags() (tags []protocol.Pair) {
	if text := d.r.Header("x-ms-tags"); text != "" {
		var err error
		tags, err = tagquery.ParseHeader(text)
		d.fail(err)
	}
	return tags
}

// storedMD5 reads x-ms-blob-content-md5.
func (d *decoder) storedMD5() string {
	const name = "x-ms-blob-content-md5"
	text := d.r.Header(name)
	if text == "" {
		return ""
	}
	sum, err := protocol.ParseMD5(name, text)
	d.fail(err)
	return string(sum[:])
}

// maxAnyMD5 bounds what anyMD5 takes, in bytes, as it is a part of the record.
const maxAnyMD5 = 1024

// anyMD5 reads x-ms-blob-content-md5 where nothing is compared with it: Set Blob Properties stores one of any length.
func (d *decoder) anyMD5() string {
	const name = "x-ms-blob-content-md5"
	sum, err := base64.StdEncoding.DecodeString(d.r.Header(name))
	if err != nil || len(sum) > maxAnyMD5 {
		d.fail(protocol.InvalidHeader(name, d.r.Header(name)))
	}
	return string(sum)
}

// sums reads the checksum headers; only one of them may be there.
func (d *decoder) sums(md5Header, crcHeader string) (s store.Sums) {
	var err error
	if text := d.r.Header(md5Header); text != "" {
		s.MD5, err = protocol.ParseMD5(md5Header, text)
		d.fail(err)
		s.HasMD5 = true
	}
	if text := d.r.Header(crcHeader); text != "" {
		s.CRC64, err = protocol.ParseCRC64(crcHeader, text)
		d.fail(err)
		s.HasCRC = true
	}
	if s.HasMD5 && s.HasCRC {
		d.fail(protocol.ErrBothCrc64AndMd5HeaderPresent)
	}
	return s
}

// bodySums reads the sums of the body.
func (d *decoder) bodySums() store.Sums { return d.sums("content-md5", "x-ms-content-crc64") }

// supported refuses features that blobd does not have yet, rather than overlook what they ask for: customer-provided keys and
// immutability.
func (d *decoder) supported() {
	for _, name := range [...]string{"x-ms-encryption-key", "x-ms-encryption-key-sha256", "x-ms-immutability-policy-until-date", "x-ms-immutability-policy-mode"} {
		if _, ok := d.r.HeaderOK(name); ok {
			d.fail(protocol.ErrUnsupportedHeader.With("HeaderName", name))
		}
	}
	if d.flag("x-ms-legal-hold") {
		d.fail(protocol.ErrUnsupportedHeader.With("HeaderName", "x-ms-legal-hold"))
	}
}

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
