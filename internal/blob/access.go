package blob

import (
	"strconv"

	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/blob/lease"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/blob/tagquery"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// decodeAccess reads which blob a request is on, and on what terms.
func decodeAccess(r *rest.Request) (a store.Target, err error) {
	a.Account, a.Container, a.Name = r.Account, r.Container, r.Blob
	a.Version, a.Now = r.Version, record.StampOf(r.Now)
	if a.Lease, err = leaseHeader(r, "x-ms-lease-id"); err != nil {
		return a, err
	}
	if a.Cond, err = protocol.ParseConditions(r, &protocol.TargetConditions); err != nil {
		return a, err
	}
	if text := r.Header("x-ms-if-tags"); text != "" {
		if a.Tags, err = tagquery.ParseWhere(text, tagquery.If); err != nil {
			return a, err
		}
	}
	a.CreateOnly = r.Grant.Scheme != auth.SharedKey && !r.Grant.Letters.Has('w') && r.Grant.Letters.Has('c')
	return a, nil
}

// decodeReading is decodeAccess for what works on snapshots and versions too.
func decodeReading(r *rest.Request) (a store.Target, slot store.Selector, err error) {
	if a, err = decodeAccess(r); err == nil {
		slot, err = decodeSlot(r)
	}
	return a, slot, err
}

// decodeContainer reads which container a request is on, and on what terms: it takes no ETags and, unless unmodified is set, no
// If-Unmodified-Since.
func decodeContainer(r *rest.Request, unmodified bool) (a store.Target, err error) {
	if a, err = decodeAccess(r); err != nil {
		return a, err
	}
	if a.Cond.HasETag() || !unmodified && a.Cond.HasUnmodified() {
		return a, protocol.ErrConditionHeadersNotSupported
	}
	return a, nil
}

// readContainer reads the addressed container for an operation that changes nothing.
func (s *Service) readContainer(r *rest.Request) (*record.Container, error) {
	given, err := leaseHeader(r, "x-ms-lease-id")
	if err != nil {
		return nil, err
	}
	return s.blobs.Container(r.Context, &store.Target{Account: r.Account, Container: r.Container, Lease: given, Now: record.StampOf(r.Now)})
}

// decodeNew reads what a request that makes a blob says of it: where and on what terms, and its properties, metadata, tags, tier
// and MD5.
func decodeNew(r *rest.Request, t record.Type) (n store.Creation, err error) {
	if n.Blob, err = decodeBlob(r, t); err != nil {
		return n, err
	}
	n.Scope = decodeScope(r)
	n.Target, err = decodeAccess(r)
	return n, err
}

func decodeScope(r *rest.Request) store.Scope {
	return store.Scope{Named: r.Header("x-ms-encryption-scope"), Signed: r.Grant.EncryptionScope}
}

// decodeSlot reads snapshot= and versionid=.
func decodeSlot(r *rest.Request) (s store.Selector, err error) {
	for _, q := range [...]struct {
		name string
		to   *record.Stamp
	}{{"snapshot", &s.Snapshot}, {"versionid", &s.Version}} {
		text := r.Query(q.name)
		if text == "" {
			continue
		}
		stamp, ok := protocol.ParseSnapshotID(text)
		if !ok || stamp == 0 {
			return s, protocol.InvalidQuery(q.name, text, "")
		}
		*q.to = stamp
	}
	if s.Snapshot != 0 && s.Version != 0 {
		return s, protocol.InvalidQuery("versionid", r.Query("versionid"), "")
	}
	return s, nil
}

// leaseHeader reads a header that holds a lease id; the zero id if there is none.
func leaseHeader(r *rest.Request, name string) (lease.ID, error) {
	text := r.Header(name)
	if text == "" {
		return lease.ID{}, nil
	}
	id, ok := lease.ParseID(text)
	if !ok {
		return lease.ID{}, protocol.InvalidHeader(name, text)
	}
	return id, nil
}

// sizeHeader reads a header that holds a number of bytes, -1 if it is absent.
func sizeHeader(r *rest.Request, name string) (int64, error) {
	text, ok := r.HeaderOK(name)
	if !ok {
		return -1, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, protocol.InvalidHeader(name, text)
	}
	return n, nil
}
