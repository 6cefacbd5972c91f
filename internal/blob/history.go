package blob

import (
	"strings"

	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// snapshotBlob is Snapshot Blob.
func (s *Service) snapshotBlob(r *rest.Request) error {
	if err := refuseUnsupported(r); err != nil {
		return err
	}
	metadata, err := decodeMetadata(r)
	if err != nil {
		return err
	}
	a, err := decodeAccess(r)
	if err != nil {
		return err
	}
	snap, id, err := s.blobs.Snapshot(r.Context, &a, metadata)
	if err != nil {
		return err
	}
	setWritten(r, &snap)
	r.SetHeader("x-ms-request-server-encrypted", "false") // as recorded of the service
	r.SetHeader("x-ms-snapshot", protocol.SnapshotID(id))
	r.Reply(201)
	return nil
}

func decodeDelete(r *rest.Request) (q store.DeleteRequest, err error) {
	if q.Slot, err = decodeSlot(r); err != nil {
		return q, err
	}
	if q.Target, err = decodeAccess(r); err != nil {
		return q, err
	}
	switch strings.ToLower(r.Header("x-ms-delete-snapshots")) {
	case "":
	case "include":
		q.Snapshots = store.SnapshotsInclude
	case "only":
		q.Snapshots = store.SnapshotsOnly
	default:
		return q, protocol.InvalidHeader("x-ms-delete-snapshots", r.Header("x-ms-delete-snapshots"))
	}
	if q.Snapshots != store.SnapshotsRefuse && !q.Slot.IsBase() {
		name, what := "versionid", "Version id"
		if q.Slot.Snapshot != 0 {
			name, what = "snapshot", "Snapshot"
		}
		return q, protocol.InvalidQuery(name, r.Query(name), "This operation is only allowed on the root blob. "+what+" should not be provided.")
	}
	switch kind := r.Query("deletetype"); strings.ToLower(kind) {
	case "":
	case "permanent":
		if q.Permanent = true; q.Slot.IsBase() {
			return q, protocol.InvalidQuery("deletetype", kind, "")
		}
	default:
		return q, protocol.InvalidQuery("deletetype", kind, "")
	}
	letter := byte('d')
	switch {
	case q.Permanent:
		letter = 'y'
	case q.Slot.Version != 0:
		letter = 'x'
	}
	if !r.Grant.Letters.Has(letter) {
		return q, protocol.ErrAuthorizationPermissionMismatch
	}
	return q, nil
}

// deleteBlob is Delete Blob: of a blob, a snapshot or a version.
func (s *Service) deleteBlob(r *rest.Request) error {
	q, err := decodeDelete(r)
	if err != nil {
		return err
	}
	kept, err := s.blobs.Delete(r.Context, &q)
	if err != nil {
		return err
	}
	r.SetHeader("x-ms-delete-type-permanent", boolText(!kept))
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
