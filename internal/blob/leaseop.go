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

// lease reads a lease operation. Versions before 2012-02-12 have leases of 60 seconds only.
func (d *decoder) lease() (q lease.Request) {
	action, ok := d.r.HeaderOK("x-ms-lease-action")
	if !ok {
		d.fail(protocol.MissingHeader("x-ms-lease-action"))
	}
	needID := true
	switch strings.ToLower(action) {
	case "acquire":
		q.Action, needID = lease.Acquire, false
		if _, ok := d.r.HeaderOK("x-ms-lease-duration"); !ok && d.r.Version >= protocol.V20120212 {
			d.fail(protocol.MissingHeader("x-ms-lease-duration"))
		}
		if q.Duration = d.seconds("x-ms-lease-duration", 60); q.Duration != lease.Infinite && q.Duration < 15 {
			d.fail(protocol.InvalidHeader("x-ms-lease-duration", d.r.Header("x-ms-lease-duration")))
		}
	case "renew":
		q.Action = lease.Renew
	case "change":
		q.Action = lease.Change
	case "release":
		q.Action = lease.Release
	case "break":
		q.Action, needID = lease.Break, false
		_, given := d.r.HeaderOK("x-ms-lease-break-period")
		if q.Period = d.seconds("x-ms-lease-break-period", -1); given && q.Period < 0 {
			d.fail(protocol.InvalidHeader("x-ms-lease-break-period", d.r.Header("x-ms-lease-break-period")))
		}
	default:
		d.fail(protocol.InvalidHeader("x-ms-lease-action", action))
	}
	if needID {
		if q.ID = d.leaseID("x-ms-lease-id"); q.ID == (lease.ID{}) {
			d.fail(protocol.MissingHeader("x-ms-lease-id"))
		}
	}
	q.Proposed = d.leaseID("x-ms-proposed-lease-id")
	q.Named = q.Proposed != (lease.ID{})
	switch {
	case q.Action == lease.Change && !q.Named:
		d.fail(protocol.MissingHeader("x-ms-proposed-lease-id"))
	case q.Action == lease.Acquire && !q.Named:
		q.Proposed = lease.ID(uuid.New())
	}
	return q
}

// seconds reads a header that holds a number of at most 60.
func (d *decoder) seconds(name string, absent int32) int32 {
	text, ok := d.r.HeaderOK(name)
	if !ok {
		return absent
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n > 60 {
		d.fail(protocol.InvalidHeader(name, text))
	}
	return int32(n)
}

// leaseBlob is Lease Blob.
func (s *Service) leaseBlob(r *rest.Request) error {
	d := decoder{r: r}
	q, a := d.lease(), d.target()
	if d.err != nil {
		return d.err
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
	d := decoder{r: r}
	q, a := d.lease(), d.container(true)
	if d.err != nil {
		return d.err
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
