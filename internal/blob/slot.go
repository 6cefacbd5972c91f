package blob

import (
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// selector is which blob of a name a request means.
type selector struct {
	snapshot, version engine.Stamp // at most one is set
}

// decodeSlot reads snapshot= and versionid=.
func decodeSlot(r *rest.Request) (s selector, err error) {
	for _, q := range [...]struct {
		name string
		to   *engine.Stamp
	}{{"snapshot", &s.snapshot}, {"versionid", &s.version}} {
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
	if s.snapshot != 0 && s.version != 0 {
		return s, protocol.InvalidQuery("versionid", r.Query("versionid"), "")
	}
	return s, nil
}

// isBase tells that neither a snapshot nor a version is meant.
func (s selector) isBase() bool { return s == selector{} }

// find reads the blob that is meant, nil if there is none or it is deleted, and tells where it lies.
func (s selector) find(r engine.Reader, p *place) (*record.Blob, record.Slot, error) {
	switch {
	case s.snapshot != 0:
		return findSlot(r, p, record.Slot{Stamp: s.snapshot, Kind: record.SlotSnapshot})
	case s.version != 0:
		rec, err := getRecord(r, p, record.Slot{})
		if err != nil || rec != nil && rec.Version == s.version {
			return rec, record.Slot{}, err
		}
		return findSlot(r, p, record.Slot{Stamp: s.version, Kind: record.SlotVersion})
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
