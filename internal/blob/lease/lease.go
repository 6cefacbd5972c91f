// Package lease is the state machine of the leases on containers and blobs: what a lease is at a moment, what an operation makes of it,
// and which reads and writes it lets through. It is pure: the caller brings the time and keeps the result.
package lease

import (
	"encoding/hex"
	"time"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

// ID is a lease's GUID; the zero ID stands for none.
type ID [16]byte

// ParseID reads a GUID in the forms that Azure takes: 32 hex digits, 8-4-4-4-12, and the latter in braces or parentheses.
// Case does not matter. The all-zero GUID is refused, since it names no lease.
func ParseID(s string) (ID, bool) {
	var id ID
	if len(s) == 38 && (s[0] == '{' && s[37] == '}' || s[0] == '(' && s[37] == ')') {
		s = s[1:37]
	}
	var digits [32]byte
	switch len(s) {
	case 32:
		copy(digits[:], s)
	case 36:
		if s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
			return id, false
		}
		n := copy(digits[:], s[:8])
		n += copy(digits[n:], s[9:13])
		n += copy(digits[n:], s[14:18])
		n += copy(digits[n:], s[19:23])
		copy(digits[n:], s[24:])
	default:
		return id, false
	}
	if _, err := hex.Decode(id[:], digits[:]); err != nil {
		return ID{}, false
	}
	return id, id != ID{}
}

// String returns the form that Azure answers with: 8-4-4-4-12 in lower case.
func (id ID) String() string {
	var b [36]byte
	hex.Encode(b[0:8], id[0:4])
	hex.Encode(b[9:13], id[4:6])
	hex.Encode(b[14:18], id[6:8])
	hex.Encode(b[19:23], id[8:10])
	hex.Encode(b[24:36], id[10:16])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// State is what a lease is at a moment. Stored: never renumber.
type State byte

// The states (x-ms-lease-state). A released lease is available.
const (
	Available State = 0
	Leased    State = 1
	Breaking  State = 2
	Broken    State = 3 // never stored: a break whose period is over
	Expired   State = 4 // never stored: a fixed lease whose time is over
)

func (s State) String() string {
	return [...]string{"available", "leased", "breaking", "broken", "expired"}[s]
}

// Status is x-ms-lease-status.
func (s State) Status() string {
	if s == Leased || s == Breaking {
		return "locked"
	}
	return "unlocked"
}

// Infinite is the duration of a lease that never expires, in seconds as on the wire.
const Infinite = -1

// Lease is what is stored of the lease on a container or blob. The zero Lease is available. Its state depends on the time (At),
// so expiry and the end of a break need no writing.
type Lease struct {
	State    State // as stored: LeaseAvailable, LeaseLeased, or LeaseBreaking also after the break's end
	ID       ID
	Duration int32 // seconds as acquired, or InfiniteLease
	// Until is when a fixed lease expires or a breaking one is broken; 0 for an infinite lease.
	Until engine.Stamp
}

// At returns the lease's state at a moment.
func (l *Lease) At(now engine.Stamp) State {
	switch {
	case l.State == Breaking && now >= l.Until:
		return Broken
	case l.State == Leased && l.Duration != Infinite && now >= l.Until:
		return Expired
	}
	return l.State
}

// Action is the x-ms-lease-action of a request.
type Action byte

// The actions.
const (
	Acquire Action = iota
	Renew
	Change
	Release
	Break
)

// Request is a lease operation with its parameters, already checked for form.
type Request struct {
	Action   Action
	ID       ID // renew, change, release
	Proposed ID // acquire: the id to take (the caller invents one if the client did not propose any); change: the new id
	// Named tells that the client proposed the id of an acquire. An invented id never equals a present one.
	Named    bool
	Duration int32 // acquire: 15 to 60 seconds or InfiniteLease
	// Period is the break period in seconds, 0 to 60, negative if none was given.
	Period int32
}

// Result is the outcome of a lease operation.
type Result struct {
	Lease Lease
	// Remaining is x-ms-lease-time of a break: whole seconds until the lease is broken.
	Remaining int32
}

// Apply returns the lease after a request, or the error that the state calls for (REST page "Lease
// Blob", outcomes of lease operations by state). The rules for containers are the same.
func (l *Lease) Apply(now engine.Stamp, r *Request) (Result, error) {
	state := l.At(now)
	switch r.Action {
	case Acquire:
		return l.acquire(now, state, r)
	case Renew:
		return l.renew(now, state, r)
	case Change:
		return l.change(state, r)
	case Release:
		if state == Available || l.ID != r.ID {
			return Result{}, protocol.ErrLeaseIdMismatchWithLeaseOperation
		}
		return Result{}, nil
	default:
		return l.breakUp(now, state, r)
	}
}

func (l *Lease) acquire(now engine.Stamp, state State, r *Request) (Result, error) {
	same := r.Named && l.ID == r.Proposed
	switch {
	case state == Leased && !same, state == Breaking && !same:
		return Result{}, protocol.ErrLeaseAlreadyPresent
	case state == Breaking:
		return Result{}, protocol.ErrLeaseIsBreakingAndCannotBeAcquired
	}
	return Result{Lease: Lease{State: Leased, ID: r.Proposed, Duration: r.Duration, Until: until(now, r.Duration)}}, nil
}

func (l *Lease) renew(now engine.Stamp, state State, r *Request) (Result, error) {
	switch {
	case state == Available || l.ID != r.ID:
		return Result{}, protocol.ErrLeaseIdMismatchWithLeaseOperation
	case state == Breaking, state == Broken:
		return Result{}, protocol.ErrLeaseIsBrokenAndCannotBeRenewed
	}
	// An expired lease can be renewed as long as nothing was written since: a write takes it away (Written).
	return Result{Lease: Lease{State: Leased, ID: l.ID, Duration: l.Duration, Until: until(now, l.Duration)}}, nil
}

func (l *Lease) change(state State, r *Request) (Result, error) {
	switch state {
	case Available, Broken, Expired:
		return Result{}, protocol.ErrLeaseNotPresentWithLeaseOperation
	case Breaking:
		if l.ID == r.ID {
			return Result{}, protocol.ErrLeaseIsBreakingAndCannotBeChanged
		}
		return Result{}, protocol.ErrLeaseIdMismatchWithLeaseOperation
	}
	// A change that was done already succeeds again, so that a client may retry it.
	if l.ID != r.ID && l.ID != r.Proposed {
		return Result{}, protocol.ErrLeaseIdMismatchWithLeaseOperation
	}
	changed := *l
	changed.ID = r.Proposed
	return Result{Lease: changed}, nil
}

func (l *Lease) breakUp(now engine.Stamp, state State, r *Request) (Result, error) {
	const second = engine.Stamp(time.Second / 100)
	broken := *l
	broken.State = Breaking
	switch {
	case state == Available:
		return Result{}, protocol.ErrLeaseNotPresentWithLeaseOperation
	case state == Broken, state == Expired:
		// Stays broken (or is now), at once.
		broken.Until = min(broken.Until, now)
		return Result{Lease: broken}, nil
	case state == Leased && l.Duration == Infinite:
		broken.Until = now + engine.Stamp(max(r.Period, 0))*second
	case r.Period >= 0: // a fixed lease, or one already breaking: the period only shortens
		broken.Until = min(l.Until, now+engine.Stamp(r.Period)*second)
	}
	return Result{Lease: broken, Remaining: int32((broken.Until - now + second - 1) / second)}, nil
}

func until(now engine.Stamp, duration int32) engine.Stamp {
	if duration == Infinite {
		return 0
	}
	return now + engine.Stamp(time.Duration(duration)*time.Second/100)
}

// Scope tells whose lease is meant, for the words of an error.
type Scope byte

// The scopes.
const (
	Blob Scope = iota
	Container
)

// CheckWrite tells whether a write (of a container: its delete) may go on with the lease id that the request gave, the zero id
// for none.
func (l *Lease) CheckWrite(now engine.Stamp, given ID, scope Scope) error {
	if given != (ID{}) {
		return l.CheckRead(now, given, scope)
	}
	switch l.At(now) {
	case Leased, Breaking:
		if scope == Container {
			return protocol.ErrLeaseIdMissing.Saying("There is currently a lease on the container and no lease ID was specified in the request.")
		}
		return protocol.ErrLeaseIdMissing
	}
	return nil
}

// CheckRead does the same for a read, which needs no id but has a given one checked.
func (l *Lease) CheckRead(now engine.Stamp, given ID, scope Scope) error {
	if given == (ID{}) {
		return nil
	}
	blob := scope == Blob
	switch state := l.At(now); {
	case state == Leased, state == Breaking:
		switch {
		case l.ID == given:
			return nil
		case blob:
			return protocol.ErrLeaseIdMismatchWithBlobOperation
		}
		return protocol.ErrLeaseIdMismatchWithContainerOperation
	case state != Available && l.ID == given: // broken or expired
		if blob {
			return protocol.ErrLeaseLost
		}
		return protocol.ErrLeaseLost.Saying("A lease ID was specified, but the lease for the container has expired.")
	case blob:
		return protocol.ErrLeaseNotPresentWithBlobOperation
	}
	return protocol.ErrLeaseNotPresentWithContainerOperation
}

// Written returns the lease after a write: what is broken or expired is gone, so that its holder cannot renew it and overlook
// that write.
func (l *Lease) Written(now engine.Stamp) Lease {
	if s := l.At(now); s == Broken || s == Expired {
		return Lease{}
	}
	return *l
}

// DurationName is how a lease's duration is told.
func (l *Lease) DurationName() string {
	if l.Duration == Infinite {
		return "infinite"
	}
	return "fixed"
}
