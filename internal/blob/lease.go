package blob

import (
	"encoding/hex"
	"time"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

// LeaseID is a lease's GUID; the zero LeaseID stands for none.
type LeaseID [16]byte

// ParseLeaseID reads a GUID in the forms that Azure takes: 32 hex digits, 8-4-4-4-12, and the latter in braces or parentheses.
// Case does not matter. The all-zero GUID is refused, since it names no lease.
func ParseLeaseID(s string) (LeaseID, bool) {
	var id LeaseID
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
		return LeaseID{}, false
	}
	return id, id != LeaseID{}
}

// String returns the form that Azure answers with: 8-4-4-4-12 in lower case.
func (id LeaseID) String() string {
	var b [36]byte
	hex.Encode(b[0:8], id[0:4])
	hex.Encode(b[9:13], id[4:6])
	hex.Encode(b[14:18], id[6:8])
	hex.Encode(b[19:23], id[8:10])
	hex.Encode(b[24:36], id[10:16])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// LeaseState is what a lease is at a moment. Stored: never renumber.
type LeaseState byte

// The states (x-ms-lease-state). A released lease is available.
const (
	LeaseAvailable LeaseState = 0
	LeaseLeased    LeaseState = 1
	LeaseBreaking  LeaseState = 2
	LeaseBroken    LeaseState = 3 // never stored: a break whose period is over
	LeaseExpired   LeaseState = 4 // never stored: a fixed lease whose time is over
)

func (s LeaseState) String() string {
	return [...]string{"available", "leased", "breaking", "broken", "expired"}[s]
}

// Status is x-ms-lease-status.
func (s LeaseState) Status() string {
	if s == LeaseLeased || s == LeaseBreaking {
		return "locked"
	}
	return "unlocked"
}

// InfiniteLease is the duration of a lease that never expires, in seconds as on the wire.
const InfiniteLease = -1

// Lease is what is stored of the lease on a container or blob. The zero Lease is available. Its state depends on the time (At),
// so expiry and the end of a break need no writing.
type Lease struct {
	State    LeaseState // as stored: LeaseAvailable, LeaseLeased, or LeaseBreaking also after the break's end
	ID       LeaseID
	Duration int32 // seconds as acquired, or InfiniteLease
	// Until is when a fixed lease expires or a breaking one is broken; 0 for an infinite lease.
	Until engine.Stamp
}

// At returns the lease's state at a moment.
func (l *Lease) At(now engine.Stamp) LeaseState {
	switch {
	case l.State == LeaseBreaking && now >= l.Until:
		return LeaseBroken
	case l.State == LeaseLeased && l.Duration != InfiniteLease && now >= l.Until:
		return LeaseExpired
	}
	return l.State
}

// LeaseAction is the x-ms-lease-action of a request.
type LeaseAction byte

// The actions.
const (
	LeaseAcquire LeaseAction = iota
	LeaseRenew
	LeaseChange
	LeaseRelease
	LeaseBreak
)

// LeaseRequest is a lease operation with its parameters, already checked for form.
type LeaseRequest struct {
	Action   LeaseAction
	ID       LeaseID // renew, change, release
	Proposed LeaseID // acquire: the id to take (the caller invents one if the client did not propose any); change: the new id
	// Named tells that the client proposed the id of an acquire. An invented id never equals a present one.
	Named    bool
	Duration int32 // acquire: 15 to 60 seconds or InfiniteLease
	// Period is the break period in seconds, 0 to 60, negative if none was given.
	Period int32
}

// LeaseResult is the outcome of a lease operation.
type LeaseResult struct {
	Lease Lease
	// Remaining is x-ms-lease-time of a break: whole seconds until the lease is broken.
	Remaining int32
}

// Apply returns the lease after a request, or the error that the state calls for (blob.md section 11; the REST page "Lease
// Blob", outcomes of lease operations by state). The rules for containers are the same.
func (l *Lease) Apply(now engine.Stamp, r *LeaseRequest) (LeaseResult, error) {
	state := l.At(now)
	switch r.Action {
	case LeaseAcquire:
		return l.acquire(now, state, r)
	case LeaseRenew:
		return l.renew(now, state, r)
	case LeaseChange:
		return l.change(state, r)
	case LeaseRelease:
		if state == LeaseAvailable || l.ID != r.ID {
			return LeaseResult{}, protocol.ErrLeaseIdMismatchWithLeaseOperation
		}
		return LeaseResult{}, nil
	default:
		return l.breakUp(now, state, r)
	}
}

func (l *Lease) acquire(now engine.Stamp, state LeaseState, r *LeaseRequest) (LeaseResult, error) {
	same := r.Named && l.ID == r.Proposed
	switch {
	case state == LeaseLeased && !same, state == LeaseBreaking && !same:
		return LeaseResult{}, protocol.ErrLeaseAlreadyPresent
	case state == LeaseBreaking:
		return LeaseResult{}, protocol.ErrLeaseIsBreakingAndCannotBeAcquired
	}
	return LeaseResult{Lease: Lease{State: LeaseLeased, ID: r.Proposed, Duration: r.Duration, Until: leaseUntil(now, r.Duration)}}, nil
}

func (l *Lease) renew(now engine.Stamp, state LeaseState, r *LeaseRequest) (LeaseResult, error) {
	switch {
	case state == LeaseAvailable || l.ID != r.ID:
		return LeaseResult{}, protocol.ErrLeaseIdMismatchWithLeaseOperation
	case state == LeaseBreaking, state == LeaseBroken:
		return LeaseResult{}, protocol.ErrLeaseIsBrokenAndCannotBeRenewed
	}
	// An expired lease can be renewed as long as nothing was written since: a write takes it away (Written).
	return LeaseResult{Lease: Lease{State: LeaseLeased, ID: l.ID, Duration: l.Duration, Until: leaseUntil(now, l.Duration)}}, nil
}

func (l *Lease) change(state LeaseState, r *LeaseRequest) (LeaseResult, error) {
	switch state {
	case LeaseAvailable, LeaseBroken, LeaseExpired:
		return LeaseResult{}, protocol.ErrLeaseNotPresentWithLeaseOperation
	case LeaseBreaking:
		if l.ID == r.ID {
			return LeaseResult{}, protocol.ErrLeaseIsBreakingAndCannotBeChanged
		}
		return LeaseResult{}, protocol.ErrLeaseIdMismatchWithLeaseOperation
	}
	// A change that was done already succeeds again, so that a client may retry it.
	if l.ID != r.ID && l.ID != r.Proposed {
		return LeaseResult{}, protocol.ErrLeaseIdMismatchWithLeaseOperation
	}
	changed := *l
	changed.ID = r.Proposed
	return LeaseResult{Lease: changed}, nil
}

func (l *Lease) breakUp(now engine.Stamp, state LeaseState, r *LeaseRequest) (LeaseResult, error) {
	const second = engine.Stamp(time.Second / 100)
	broken := *l
	broken.State = LeaseBreaking
	switch {
	case state == LeaseAvailable:
		return LeaseResult{}, protocol.ErrLeaseNotPresentWithLeaseOperation
	case state == LeaseBroken, state == LeaseExpired:
		// Stays broken (or is now), at once.
		broken.Until = min(broken.Until, now)
		return LeaseResult{Lease: broken}, nil
	case state == LeaseLeased && l.Duration == InfiniteLease:
		broken.Until = now + engine.Stamp(max(r.Period, 0))*second
	case r.Period >= 0: // a fixed lease, or one already breaking: the period only shortens
		broken.Until = min(l.Until, now+engine.Stamp(r.Period)*second)
	}
	return LeaseResult{Lease: broken, Remaining: int32((broken.Until - now + second - 1) / second)}, nil
}

func leaseUntil(now engine.Stamp, duration int32) engine.Stamp {
	if duration == InfiniteLease {
		return 0
	}
	return now + engine.Stamp(time.Duration(duration)*time.Second/100)
}

// LeaseScope tells whose lease is meant, for the words of an error.
type LeaseScope byte

// The scopes.
const (
	BlobLease LeaseScope = iota
	ContainerLease
)

// CheckWrite tells whether a write (of a container: its delete) may go on with the lease id that the request gave, the zero id
// for none.
func (l *Lease) CheckWrite(now engine.Stamp, given LeaseID, scope LeaseScope) error {
	if given != (LeaseID{}) {
		return l.CheckRead(now, given, scope)
	}
	switch l.At(now) {
	case LeaseLeased, LeaseBreaking:
		if scope == ContainerLease {
			return protocol.ErrLeaseIdMissing.Saying("There is currently a lease on the container and no lease ID was specified in the request.")
		}
		return protocol.ErrLeaseIdMissing
	}
	return nil
}

// CheckRead does the same for a read, which needs no id but has a given one checked.
func (l *Lease) CheckRead(now engine.Stamp, given LeaseID, scope LeaseScope) error {
	if given == (LeaseID{}) {
		return nil
	}
	blob := scope == BlobLease
	switch state := l.At(now); {
	case state == LeaseLeased, state == LeaseBreaking:
		switch {
		case l.ID == given:
			return nil
		case blob:
			return protocol.ErrLeaseIdMismatchWithBlobOperation
		}
		return protocol.ErrLeaseIdMismatchWithContainerOperation
	case state != LeaseAvailable && l.ID == given: // broken or expired
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
	if s := l.At(now); s == LeaseBroken || s == LeaseExpired {
		return Lease{}
	}
	return *l
}
