package store

import (
	"errors"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/blob/lease"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/tagquery"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

// Target is which container or blob an operation is on, and on what terms: the lease id and the conditions that were sent, what
// may be overwritten. Names live as long as the call.
type Target struct {
	Account   *account.Account
	Container string
	Name      string // empty for the container itself
	Lease     lease.ID
	Cond      protocol.Conditions
	Tags      *tagquery.Where  // x-ms-if-tags
	Version   protocol.Version // empty for a caller within the program, which knows all there is
	Now       engine.Stamp
	// CreateOnly tells that the caller's SAS lets it create but not overwrite.
	CreateOnly bool

	// overLease tells that If-None-Match: * refuses nobody who names the lease of the blob: so the service answers Put Blob (recorded,
	// leased and breaking). Nothing is known of block lists and copies, and what may not overwrite does not.
	overLease bool
}

// read checks the terms of a read of rec, in the order of the service: it exists, lease, conditions.
func (a *Target) read(rec *record.Blob) error {
	if err := a.known(rec); err != nil {
		return err
	}
	if err := rec.Lease.CheckRead(a.Now, a.Lease, lease.Blob); err != nil {
		return err
	}
	if err := a.Cond.Read(rec.Changed, a.Version); err != nil {
		return err
	}
	return a.checkTags(rec)
}

// known tells whether rec, which may be nil, is there and of a type that the version of the request knows.
func (a *Target) known(rec *record.Blob) error {
	switch {
	case rec == nil:
		return protocol.ErrBlobNotFound
	case rec.Type == record.AppendBlob && a.Version != "" && a.Version < protocol.V20150221:
		return protocol.ErrFeatureVersionMismatch.Saying("The operation for AppendBlob requires at least version 2015-02-21.")
	}
	return nil
}

// write checks the terms of a write to rec, which must exist.
func (a *Target) write(rec *record.Blob) error {
	if err := a.known(rec); err != nil {
		return err
	}
	if err := rec.Lease.CheckWrite(a.Now, a.Lease, lease.Blob); err != nil {
		return err
	}
	if err := a.Cond.Write(rec.Changed, false); err != nil {
		return err
	}
	if err := a.checkTags(rec); err != nil {
		return err
	}
	return rec.NotCopying()
}

// create checks the terms of a write that makes a blob of type t, in place of rec if that is not nil: a blob keeps its type for
// life, and one in the archive tier is not written to.
func (a *Target) create(rec *record.Blob, t record.Type) error {
	if rec == nil {
		switch {
		case a.Lease != lease.ID{} && (a.Version == "" || a.Version >= protocol.V20130815): // before, it made the blob
			return protocol.ErrLeaseNotPresentWithBlobOperation
		case a.Tags != nil:
			return protocol.ErrConditionNotMet
		}
		return a.Cond.Create()
	}
	if err := rec.Lease.CheckWrite(a.Now, a.Lease, lease.Blob); err != nil {
		return err
	}
	over := a.overLease && a.Lease != lease.ID{}
	if err := a.Cond.Write(rec.Changed, true); err != nil && !(over && errors.Is(err, protocol.ErrBlobAlreadyExists)) {
		return err
	}
	if err := a.checkTags(rec); err != nil {
		return err
	}
	if a.CreateOnly {
		return protocol.ErrUnauthorizedBlobOverwrite
	}
	return a.replaceable(rec, t)
}

// replaceable tells whether content of a blob of type t may be written in place of rec, or staged for it.
func (a *Target) replaceable(rec *record.Blob, t record.Type) error {
	if err := rec.NotCopying(); err != nil {
		return err
	}
	if rec.Type != t {
		return protocol.ErrInvalidBlobType
	}
	return rec.Readable(a.Now)
}

func (a *Target) checkTags(rec *record.Blob) error {
	if a.Tags != nil && !a.Tags.Matches(a.Container, rec.Tags) {
		return protocol.ErrConditionNotMet
	}
	return nil
}

// Selector is which blob of a name a request means.
type Selector struct {
	Snapshot, Version engine.Stamp // at most one is set
}

// IsBase tells that neither a snapshot nor a version is meant.
func (s Selector) IsBase() bool { return s == Selector{} }

// find reads the blob that is meant, nil if there is none or it is deleted, and tells where it lies.
func (s Selector) find(r engine.Reader, p *place) (*record.Blob, record.Slot, error) {
	switch {
	case s.Snapshot != 0:
		return findSlot(r, p, record.Slot{Stamp: s.Snapshot, Kind: record.SlotSnapshot})
	case s.Version != 0:
		rec, err := getRecord(r, p, record.Slot{})
		if err != nil || rec != nil && rec.Version == s.Version {
			return rec, record.Slot{}, err
		}
		return findSlot(r, p, record.Slot{Stamp: s.Version, Kind: record.SlotVersion})
	}
	rec, err := getRecord(r, p, record.Slot{})
	return rec, record.Slot{}, err
}

func findSlot(r engine.Reader, p *place, slot record.Slot) (*record.Blob, record.Slot, error) {
	rec, err := getRecord(r, p, slot)
	if rec != nil && rec.Deleted.At != 0 {
		return nil, slot, protocol.ErrBlobNotFound.WithHeader("x-ms-is-soft-deleted", "true")
	}
	return rec, slot, err
}

// stage checks the terms of a block for rec, which may be nil: only the lease and the type matter.
func (a *Target) stage(rec *record.Blob) error {
	if rec == nil {
		return nil
	}
	if err := rec.Lease.CheckWrite(a.Now, a.Lease, lease.Blob); err != nil {
		return err
	}
	if a.CreateOnly {
		return protocol.ErrUnauthorizedBlobOverwrite
	}
	return a.replaceable(rec, record.BlockBlob)
}

// Creation is a blob to be made: where, on what terms, in which encryption scope, and its record but for the content, stamps and
// what it has from the blob that it replaces. The operation fills these in.
type Creation struct {
	Target
	Blob  *record.Blob
	Scope Scope
}

// Scope is the encryption scope that a request names, and the one that its signature prescribes; empty for none.
type Scope struct{ Named, Signed string }
