package rest

import (
	"strconv"
	"time"

	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/usage"
)

// pass lets an authorized request in, unless its account or the subscription is beyond what may come or go in a second: strangers, who
// are refused before, take nothing from that.
func (r *Request) pass() error {
	over, subscription, wait := r.Account.Meter.Enter(r.Now)
	if over == usage.Within {
		r.passed = true
		return nil
	}
	what, whose := "Operations per second is", "account" // as clients know it
	if over == usage.OverEgress {
		what = "Egress is"
	}
	if subscription {
		whose = "subscription"
	}
	seconds := max(1, (wait+time.Second-1)/time.Second)
	return protocol.ErrServerBusy.Saying(what+" over the "+whose+" limit.").WithHeader("Retry-After", strconv.FormatInt(int64(seconds), 10))
}
