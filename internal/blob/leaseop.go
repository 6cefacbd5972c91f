package blob

import (
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/blobd/blobd/internal/blob/lease"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// decodeLease reads a lease operation. Versions before 2012-02-12 have leases of 60 seconds only.
func decodeLease(r *rest.Request) (q lease.Request, err error) {
	action, ok := r.HeaderOK("x-ms-lease-action")
	if !ok {
		return q, protocol.MissingHeader("x-ms-lease-action")
	}
	needID, needProposed := false, false
	switch strings.ToLower(action) {
	case "acquire":
		q.Action, q.Duration = lease.Acquire, 60
		text, ok := r.HeaderOK("x-ms-lease-duration")
		if !ok && r.Version >= protocol.V20120212 {
			return q, protocol.MissingHeader("x-ms-lease-duration")
		}
		if ok {
			n, err := strconv.ParseInt(text, 10, 32)
			if err != nil || n != lease.Infinite && (n < 15 || n > 60) {
				return q, protocol.InvalidHeader("x-ms-lease-duration", text)
			}
			q.Duration = int32(n)
		}
	case "renew":
		q.Action, needID = lease.Renew, true
	case "change":
		q.Action, needID, needProposed = lease.Change, true, true
	case "release":
		q.Action, needID = lease.Release, true
	case "break":
		q.Action, q.Period = lease.Break, -1
		if text, ok := r.HeaderOK("x-ms-lease-break-period"); ok {
			n, err := strconv.ParseInt(text, 10, 32)
			if err != nil || n < 0 || n > 60 {
				return q, protocol.InvalidHeader("x-ms-lease-break-period", text)
			}
			q.Period = int32(n)
		}
	default:
		return q, protocol.InvalidHeader("x-ms-lease-action", action)
	}
	if needID {
		if q.ID, err = leaseHeader(r, "x-ms-lease-id"); err == nil && q.ID == (lease.ID{}) {
			err = protocol.MissingHeader("x-ms-lease-id")
		}
		if err != nil {
			return q, err
		}
	}
	if q.Proposed, err = leaseHeader(r, "x-ms-proposed-lease-id"); err != nil {
		return q, err
	}
	if needProposed && q.Proposed == (lease.ID{}) {
		return q, protocol.MissingHeader("x-ms-proposed-lease-id")
	}
	if q.Named = q.Proposed != (lease.ID{}); q.Action == lease.Acquire && !q.Named {
		q.Proposed = lease.ID(uuid.New())
	}
	return q, nil
}

// leaseBlob is Lease Blob.
func (s *Service) leaseBlob(r *rest.Request) error {
	q, err := decodeLease(r)
	if err != nil {
		return err
	}
	a, err := decodeAccess(r)
	if err != nil {
		return err
	}
	res, changed, err := s.blobs.LeaseBlob(r.Context, &a, &q)
	if err != nil {
		return err
	}
	replyLease(r, &q, &res, changed)
	return nil
}

// leaseContainer is Lease Container.
func (s *Service) leaseContainer(r *rest.Request) error {
	q, err := decodeLease(r)
	if err != nil {
		return err
	}
	a, err := decodeContainer(r, true)
	if err != nil {
		return err
	}
	res, changed, err := s.blobs.LeaseContainer(r.Context, &a, &q)
	if err != nil {
		return err
	}
	replyLease(r, &q, &res, changed)
	return nil
}

func replyLease(r *rest.Request, q *lease.Request, res *lease.Result, changed record.Stamp) {
	setChanged(r, changed)
	switch q.Action {
	case lease.Acquire:
		r.SetHeader("x-ms-lease-id", res.Lease.ID.String())
		r.Reply(201)
	case lease.Break:
		r.SetHeader("x-ms-lease-time", strconv.Itoa(int(res.Remaining)))
		r.Reply(202)
	case lease.Release:
		r.Reply(200)
	default:
		r.SetHeader("x-ms-lease-id", res.Lease.ID.String())
		r.Reply(200)
	}
}
