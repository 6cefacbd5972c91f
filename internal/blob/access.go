package blob

import (
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/blob/lease"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/tagquery"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// access is on what terms a request uses a blob or container: its lease id, its conditions, what it may overwrite.
type access struct {
	lease   lease.ID
	cond    protocol.Conditions
	tags    *tagquery.Where // x-ms-if-tags
	version protocol.Version
	now     engine.Stamp
	// createOnly tells that the caller's SAS lets it create but not overwrite.
	createOnly bool
	container  string
}

// decodeAccess reads the terms from a request for a blob.
func decodeAccess(r *rest.Request) (a access, err error) {
	a.version, a.now, a.container = r.Version, engine.StampOf(r.Now), r.Container
	if a.lease, err = leaseHeader(r, "x-ms-lease-id"); err != nil {
		return a, err
	}
	if a.cond, err = protocol.ParseConditions(r, &protocol.TargetConditions); err != nil {
		return a, err
	}
	if text := r.Header("x-ms-if-tags"); text != "" {
		if a.tags, err = tagquery.ParseWhere(text, tagquery.If); err != nil {
			return a, err
		}
	}
	a.createOnly = r.Grant.Scheme != auth.SharedKey && !r.Grant.Letters.Has('w') && r.Grant.Letters.Has('c')
	return a, nil
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

// read checks the terms of a read of rec, in the order of blob.md section 5: it exists, lease, conditions.
func (a *access) read(rec *record.Blob) error {
	if rec == nil {
		return protocol.ErrBlobNotFound
	}
	if err := rec.Lease.CheckRead(a.now, a.lease, lease.Blob); err != nil {
		return err
	}
	if err := a.cond.Read(rec.Changed, a.version); err != nil {
		return err
	}
	return a.checkTags(rec)
}

// write checks the terms of a write to rec, which must exist.
func (a *access) write(rec *record.Blob) error {
	if rec == nil {
		return protocol.ErrBlobNotFound
	}
	if err := rec.Lease.CheckWrite(a.now, a.lease, lease.Blob); err != nil {
		return err
	}
	if err := a.cond.Write(rec.Changed, false); err != nil {
		return err
	}
	if err := a.checkTags(rec); err != nil {
		return err
	}
	return rec.NotCopying()
}

// create checks the terms of a write that makes a blob of type t, in place of rec if that is not nil: a blob keeps its type for
// life, and one in the archive tier is not written to (blob.md sections 9 and 13).
func (a *access) create(rec *record.Blob, t record.Type) error {
	if rec == nil {
		switch {
		case a.lease != lease.ID{}:
			return protocol.ErrLeaseNotPresentWithBlobOperation
		case a.tags != nil:
			return protocol.ErrConditionNotMet
		}
		return a.cond.Create()
	}
	if err := rec.Lease.CheckWrite(a.now, a.lease, lease.Blob); err != nil {
		return err
	}
	if err := a.cond.Write(rec.Changed, true); err != nil {
		return err
	}
	if err := a.checkTags(rec); err != nil {
		return err
	}
	if a.createOnly {
		return protocol.ErrUnauthorizedBlobOverwrite
	}
	return a.replaceable(rec, t)
}

// replaceable tells whether content of a blob of type t may be written in place of rec, or staged for it.
func (a *access) replaceable(rec *record.Blob, t record.Type) error {
	if err := rec.NotCopying(); err != nil {
		return err
	}
	if rec.Type != t {
		return protocol.ErrInvalidBlobType
	}
	return rec.Readable(a.now)
}

func (a *access) checkTags(rec *record.Blob) error {
	if a.tags != nil && !a.tags.Matches(a.container, rec.Tags) {
		return protocol.ErrConditionNotMet
	}
	return nil
}

// containerAccess reads the terms of a request for a container, which takes no ETags and, unless unmodified is set, no
// If-Unmodified-Since.
func containerAccess(r *rest.Request, unmodified bool) (a access, err error) {
	if a, err = decodeAccess(r); err != nil {
		return a, err
	}
	if a.cond.HasETag() || !unmodified && a.cond.HasUnmodified() {
		return a, protocol.ErrConditionHeadersNotSupported
	}
	return a, nil
}
