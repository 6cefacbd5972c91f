package rest

import (
	"strconv"

	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/protocol"
)

// Service is one storage service behind the wire. Serve answers the request; usually it determines the level and calls
// Dispatch. It is called concurrently.
type Service interface {
	Serve(r *Request)
}

// Dispatch is the one way of a request through a service: row of the operation table, authorization, body rule, handler,
// error answer. Nothing of the body is read, and no 100 Continue sent, before the handler asks for it.
func Dispatch[S any](rt *Router[S], level Level, s S, authorizer auth.Authorizer, r *Request) {
	if err := dispatch(rt, level, s, authorizer, r); err != nil {
		w, _ := any(s).(ErrorWriter)
		r.Fail(err, w)
	}
}

func dispatch[S any](rt *Router[S], level Level, s S, authorizer auth.Authorizer, r *Request) error {
	op, err := rt.Find(r, level)
	if err != nil {
		return err
	}
	r.Operation = op.Name
	if !level.of(&r.Address) {
		return protocol.ErrInvalidUri
	}
	if r.Grant, err = authorizer.Authorize(r.Context, r.Account, r.AuthRequest(), &op.Needs); err != nil {
		return err
	}
	if err := rt.meet(r); err != nil {
		return err
	}
	if err := r.pass(); err != nil {
		return err
	}
	if level == Blob && !op.Slots {
		if err := r.refuseSlot(); err != nil {
			return err
		}
	}
	if err := r.checkBody(&op.Body); err != nil {
		return err
	}
	if op.Body.Max != nil {
		if err := r.await(); err != nil {
			return err
		}
	}
	return op.Handle(s, r)
}

// meet compares what the caller was granted with what the request demands beside its operation. An account's key may everything.
func (rt *Router[S]) meet(r *Request) error {
	if r.Grant.Scheme == auth.SharedKey {
		return nil
	}
	for i := range rt.demands {
		if d := &rt.demands[i]; d.made(r) {
			if err := r.Grant.Permits(d.Needs, r.Container+r.Table); err != nil {
				return err
			}
		}
	}
	return nil
}

// refuseSlot refuses a query that names a snapshot or version.
func (r *Request) refuseSlot() error {
	for _, name := range [...]string{"snapshot", "versionid"} {
		if text, ok := r.QueryOK(name); ok {
			return protocol.InvalidQuery(name, text, "")
		}
	}
	return nil
}

// Fail answers with an error, worded by w or, if that is nil, in XML. If the request broke off within its body, or the client has
// gone while it was worked on, there is nobody to answer: the connection is closed. So it is if what was done cannot be told.
func (r *Request) Fail(err error, w ErrorWriter) {
	if r.body.err != nil {
		r.cause = r.body.err
		r.dropBody()
		r.Reply(499)
		r.conn.Abort()
		return
	}
	r.fail(err, w)
}

// checkBody holds the declared length against the rule.
func (r *Request) checkBody(rule *BodyRule) error {
	head := r.head()
	if head.Chunked || (rule.Length || r.Method == "PUT" && r.part == nil) && head.Length < 0 {
		return protocol.ErrMissingContentLengthHeader
	}
	limit := int64(ignoredBody)
	if rule.Max != nil {
		limit = rule.Max(r.Version)
	}
	if head.Length > limit {
		return protocol.ErrRequestBodyTooLarge.With("MaxLimit", strconv.FormatInt(limit, 10))
	}
	return nil
}

// ignoredBody is how much of a body an operation without one puts up with, in bytes.
const ignoredBody = 64 << 10
