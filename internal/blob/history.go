package blob

import (
	"strings"

	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// snapshotBlob is Snapshot Blob.
func (s *Service) snapshotBlob(r *rest.Request) error {
	d := decoder{r: r}
	d.supported()
	metadata, a := d.metadata(), d.target()
	if d.err != nil {
		return d.err
	}
	snap, id, err := s.blobs.Snapshot(r.Context, &a, metadata)
	if err != nil {
		return err
	}
	setWritten(r, &snap)
	setEncrypted(r, false) // as recorded of the service
	r.SetHeader("x-ms-snapshot", protocol.SnapshotID(id))
	r.Reply(201)
	return nil
}

func (d *decoder) delete() store.DeleteRequest {
	q := store.DeleteRequest{Slot: d.slot(), Target: d.target()}
	q.Snapshots = [...]store.SnapshotsToo{store.SnapshotsRefuse, store.SnapshotsInclude, store.SnapshotsOnly}[d.word("x-ms-delete-snapshots", []string{"", "include", "only"})]
	q.TierModified, q.TierUnmodified = d.date("x-ms-access-tier-if-modified-since"), d.date("x-ms-access-tier-if-unmodified-since")
	if !q.TierModified.IsZero() && !q.TierUnmodified.IsZero() {
		d.fail(protocol.ErrMultipleConditionHeadersNotSupported)
	}
	if q.Snapshots != store.SnapshotsRefuse && !q.Slot.IsBase() {
		name, what := "versionid", "Version id"
		if q.Slot.Snapshot != 0 {
			name, what = "snapshot", "Snapshot"
		}
		d.fail(protocol.InvalidQuery(name, d.r.Query(name), "This operation is only allowed on the root blob. "+what+" should not be provided."))
	}
	kind := d.r.Query("deletetype")
	q.Permanent = strings.EqualFold(kind, "permanent")
	if kind != "" && !q.Permanent || q.Permanent && q.Slot.IsBase() {
		d.fail(protocol.InvalidQuery("deletetype", kind, ""))
	}
	letter := byte('d')
	switch {
	case q.Permanent:
		letter = 'y'
	case q.Slot.Version != 0:
		letter = 'x'
	}
	if !d.r.Grant.Letters.Has(letter) {
		d.fail(protocol.ErrAuthorizationPermissionMismatch)
	}
	return q
}

// deleteBlob is Delete Blob: of a blob, a snapshot or a version.
func (s *Service) deleteBlob(r *rest.Request) error {
	d := decoder{r: r}
	q := d.delete()
	if d.err != nil {
		return d.err
	}
	kept, err := s.blobs.Delete(r.Context, &q)
	if err != nil {
		return err
	}
	if r.Version >= protocol.V20170729 {
		r.SetHeader("x-ms-delete-type-permanent", boolText(!kept))
	}
	r.Reply(202)
	return nil
}

// undeleteBlob is Undelete Blob. It takes no conditions.
func (s *Service) undeleteBlob(r *rest.Request) error {
	if err := s.blobs.Undelete(r.Context, &store.Target{Account: r.Account, Container: r.Container, Name: r.Blob}); err != nil {
		return err
	}
	r.Reply(200)
	return nil
}
