package usage

import (
	"math"
	"sync/atomic"
	"time"
)

// Limits are what an account or a subscription may use; 0 is any number.
type Limits struct {
	Capacity int64 `json:"capacity,omitempty"` // bytes held
	Requests int64 `json:"requests,omitempty"` // a second
	Egress   int64 `json:"egress,omitempty"`   // bytes of answers a second
}

// Excess is the limit that a request would pass.
type Excess byte

// The excesses.
const (
	Within Excess = iota
	OverRequests
	OverEgress
)

// paces are the limits of what passes in a second; nil for any number.
type paces struct{ requests, egress *pace }

// A pace lets so much pass in a second (the generic cell rate algorithm): what passes is paid for with time, and may be up to a second ahead.
type pace struct {
	rate int64
	paid atomic.Int64 // until when what has passed is paid for, on the clock of since
}

// ahead is how much may pass at once after a rest, in time.
const ahead = int64(time.Second)

// begin is where the clock of the paces begins, which no change of the system's clock moves.
var begin = time.Now()

func since(now time.Time) int64 { return int64(now.Sub(begin)) }

// price is what n cost, in time: at most a day, so that a mistake in a limit mends itself.
func (p *pace) price(n int64) int64 {
	return int64(math.Min(float64(n)*1e9/float64(p.rate), float64(24*time.Hour)))
}

// take lets one pass, or tells how long that takes.
func (p *pace) take(now int64) (wait int64) {
	for {
		paid := p.paid.Load()
		next := max(paid, now) + p.price(1)
		if wait = next - now - ahead; wait > 0 {
			return wait
		}
		if p.paid.CompareAndSwap(paid, next) {
			return 0
		}
	}
}

// owed is how long nothing more passes.
func (p *pace) owed(now int64) time.Duration { return time.Duration(max(0, p.paid.Load()-now-ahead+1)) }

// charge lets n pass that have passed already.
func (p *pace) charge(n, now int64) {
	for {
		paid := p.paid.Load()
		if p.paid.CompareAndSwap(paid, max(paid, now)+p.price(n)) {
			return
		}
	}
}

// keep returns the pace of a rate: the old one if that is its, with what has passed.
func (p *pace) keep(rate int64) *pace {
	switch {
	case rate <= 0:
		return nil
	case p != nil && p.rate == rate:
		return p
	}
	return &pace{rate: rate}
}
