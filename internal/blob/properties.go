package blob

import (
	"strconv"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// setProperties is Set Blob Properties: all five content headers and the MD5 are set, absent ones cleared. A page blob's size and
// sequence number are set by the same operation (see page.go).
func (s *Service) setProperties(r *rest.Request) error {
	props := decodeHTTP(r, false)
	md5, err := decodeAnyMD5(r)
	if err != nil {
		return err
	}
	var after record.Blob
	err = s.modify(r, func(t *Txn, rec *record.Blob) error {
		rec.HTTP, rec.MD5 = props, md5
		rec.Changed = t.Stamp()
		after = *rec
		return nil
	})
	if err != nil {
		return err
	}
	setChanged(r, after.Changed)
	setSequence(r, &after)
	r.Reply(200)
	return nil
}

// setMetadata is Set Blob Metadata.
func (s *Service) setMetadata(r *rest.Request) error {
	if err := refuseUnsupported(r); err != nil {
		return err
	}
	metadata, err := decodeMetadata(r)
	if err != nil {
		return err
	}
	var after record.Blob
	err = s.modify(r, func(t *Txn, rec *record.Blob) error {
		if err := rec.Readable(engine.StampOf(r.Now)); err != nil {
			return err
		}
		if t.account.Versioning {
			if err := t.keepVersion(rec); err != nil {
				return err
			}
			rec.Version = t.Stamp()
		}
		rec.Metadata = metadata
		rec.Changed = t.Stamp()
		after = *rec
		return nil
	})
	if err != nil {
		return err
	}
	setWritten(r, &after)
	r.Reply(200)
	return nil
}

// modify changes the current blob's record, on the request's terms, with the content that it has.
func (s *Service) modify(r *rest.Request, edit func(*Txn, *record.Blob) error) error {
	return s.changeCurrent(r, func(t *Txn, rec *record.Blob, terms *access) error {
		if err := terms.write(rec); err != nil {
			return err
		}
		rec.Lease = rec.Lease.Written(terms.now)
		if err := edit(t, rec); err != nil {
			return err
		}
		t.Modify(rec)
		return nil
	})
}

// changeCurrent runs a transaction on the current blob, which must exist. Which of the request's terms bind it is for fn to say.
func (s *Service) changeCurrent(r *rest.Request, fn func(t *Txn, rec *record.Blob, terms *access) error) error {
	terms, err := decodeAccess(r)
	if err != nil {
		return err
	}
	p, err := s.place(r)
	if err != nil {
		return err
	}
	return s.change(r.Context, p, func(t *Txn) error {
		rec, err := t.Record(record.Slot{})
		if err != nil {
			return err
		}
		if rec == nil {
			return protocol.ErrBlobNotFound
		}
		return fn(t, rec, &terms)
	})
}

// setSequence answers with the sequence number of a page blob.
func setSequence(r *rest.Request, rec *record.Blob) {
	if rec.Type == record.PageBlob {
		r.SetHeader("x-ms-blob-sequence-number", strconv.FormatInt(rec.Sequence, 10))
	}
}
