package blob

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

const leaseSecond = engine.Stamp(1e7)

var (
	leaseA = LeaseID{0xaa}
	leaseB = LeaseID{0xbb}
	leaseC = LeaseID{0xcc}
	leaseT = engine.Stamp(638_000_000_000_000_000) // the tests' now
)

// leasesBy are leases held by A in every state at leaseT, as they come about: by requests, not by hand.
func leasesBy(t *testing.T) map[string]Lease {
	t.Helper()
	do := func(l Lease, now engine.Stamp, r LeaseRequest) Lease {
		t.Helper()
		res, err := l.Apply(now, &r)
		require.NoError(t, err)
		return res.Lease
	}
	early := leaseT - 100*leaseSecond
	infinite := do(Lease{}, early, LeaseRequest{Action: LeaseAcquire, Proposed: leaseA, Named: true, Duration: InfiniteLease})
	fixed := do(Lease{}, leaseT-10*leaseSecond, LeaseRequest{Action: LeaseAcquire, Proposed: leaseA, Named: true, Duration: 30})
	return map[string]Lease{
		"available":         {},
		"leased":            infinite,
		"leased fixed":      fixed, // 20 s left
		"breaking":          do(infinite, leaseT, LeaseRequest{Action: LeaseBreak, Period: 40}),
		"broken":            do(infinite, early, LeaseRequest{Action: LeaseBreak, Period: -1}),
		"broken after time": do(infinite, early, LeaseRequest{Action: LeaseBreak, Period: 60}),
		"expired":           do(Lease{}, early, LeaseRequest{Action: LeaseAcquire, Proposed: leaseA, Named: true, Duration: 15}),
	}
}

func TestLeaseState(t *testing.T) {
	want := map[string][2]string{
		"available": {"available", "unlocked"}, "leased": {"leased", "locked"}, "leased fixed": {"leased", "locked"},
		"breaking": {"breaking", "locked"}, "broken": {"broken", "unlocked"}, "broken after time": {"broken", "unlocked"},
		"expired": {"expired", "unlocked"},
	}
	for name, l := range leasesBy(t) {
		s := l.At(leaseT)
		require.Equal(t, want[name], [2]string{s.String(), s.Status()}, name)
	}
}

// TestLeaseEdges: a lease holds up to its last tick and not a tick longer.
func TestLeaseEdges(t *testing.T) {
	res, err := (&Lease{}).Apply(leaseT, &LeaseRequest{Action: LeaseAcquire, Proposed: leaseA, Duration: 15})
	require.NoError(t, err)
	l := res.Lease
	require.Equal(t, LeaseLeased, l.At(leaseT+15*leaseSecond-1))
	require.Equal(t, LeaseExpired, l.At(leaseT+15*leaseSecond))
	res, err = l.Apply(leaseT, &LeaseRequest{Action: LeaseBreak, Period: 5})
	require.NoError(t, err)
	require.Equal(t, LeaseBreaking, res.Lease.At(leaseT+5*leaseSecond-1))
	require.Equal(t, LeaseBroken, res.Lease.At(leaseT+5*leaseSecond))
	require.Equal(t, int32(5), res.Remaining)
}

// TestLeaseTransitions is the whole of blob.md section 11, first table: every state, every action.
func TestLeaseTransitions(t *testing.T) {
	var (
		mismatch    = protocol.ErrLeaseIdMismatchWithLeaseOperation
		present     = protocol.ErrLeaseAlreadyPresent
		notPresent  = protocol.ErrLeaseNotPresentWithLeaseOperation
		cantAcquire = protocol.ErrLeaseIsBreakingAndCannotBeAcquired
		cantRenew   = protocol.ErrLeaseIsBrokenAndCannotBeRenewed
		cantChange  = protocol.ErrLeaseIsBreakingAndCannotBeChanged
	)
	acquire := func(id LeaseID) LeaseRequest {
		return LeaseRequest{Action: LeaseAcquire, Proposed: id, Named: true, Duration: 60}
	}
	change := func(from, to LeaseID) LeaseRequest {
		return LeaseRequest{Action: LeaseChange, ID: from, Proposed: to}
	}
	type outcome struct {
		err   error
		state LeaseState
		id    LeaseID
		left  int32 // seconds until Until
	}
	ok := func(s LeaseState, id LeaseID, left int32) outcome { return outcome{nil, s, id, left} }
	no := func(err error) outcome { return outcome{err: err} }
	free := ok(LeaseAvailable, LeaseID{}, 0)
	states := []string{"available", "leased", "leased fixed", "breaking", "broken", "broken after time", "expired"}
	for _, row := range []struct {
		name string
		req  LeaseRequest
		want [7]outcome
	}{
		{"acquire A", acquire(leaseA), [7]outcome{ok(LeaseLeased, leaseA, 60), ok(LeaseLeased, leaseA, 60), ok(LeaseLeased, leaseA, 60),
			no(cantAcquire), ok(LeaseLeased, leaseA, 60), ok(LeaseLeased, leaseA, 60), ok(LeaseLeased, leaseA, 60)}},
		{"acquire B", acquire(leaseB), [7]outcome{ok(LeaseLeased, leaseB, 60), no(present), no(present),
			no(present), ok(LeaseLeased, leaseB, 60), ok(LeaseLeased, leaseB, 60), ok(LeaseLeased, leaseB, 60)}},
		{"acquire unnamed", LeaseRequest{Action: LeaseAcquire, Proposed: leaseC, Duration: 60}, [7]outcome{ok(LeaseLeased, leaseC, 60), no(present), no(present),
			no(present), ok(LeaseLeased, leaseC, 60), ok(LeaseLeased, leaseC, 60), ok(LeaseLeased, leaseC, 60)}},
		{"renew A", LeaseRequest{Action: LeaseRenew, ID: leaseA}, [7]outcome{no(mismatch), ok(LeaseLeased, leaseA, 0), ok(LeaseLeased, leaseA, 30),
			no(cantRenew), no(cantRenew), no(cantRenew), ok(LeaseLeased, leaseA, 15)}},
		{"renew B", LeaseRequest{Action: LeaseRenew, ID: leaseB}, [7]outcome{no(mismatch), no(mismatch), no(mismatch),
			no(mismatch), no(mismatch), no(mismatch), no(mismatch)}},
		{"change A to B", change(leaseA, leaseB), [7]outcome{no(notPresent), ok(LeaseLeased, leaseB, 0), ok(LeaseLeased, leaseB, 20),
			no(cantChange), no(notPresent), no(notPresent), no(notPresent)}},
		{"change B to C", change(leaseB, leaseC), [7]outcome{no(notPresent), no(mismatch), no(mismatch),
			no(mismatch), no(notPresent), no(notPresent), no(notPresent)}},
		{"change B to A", change(leaseB, leaseA), [7]outcome{no(notPresent), ok(LeaseLeased, leaseA, 0), ok(LeaseLeased, leaseA, 20),
			no(mismatch), no(notPresent), no(notPresent), no(notPresent)}},
		{"release A", LeaseRequest{Action: LeaseRelease, ID: leaseA}, [7]outcome{no(mismatch), free, free, free, free, free, free}},
		{"release B", LeaseRequest{Action: LeaseRelease, ID: leaseB}, [7]outcome{no(mismatch), no(mismatch), no(mismatch),
			no(mismatch), no(mismatch), no(mismatch), no(mismatch)}},
		{"break", LeaseRequest{Action: LeaseBreak, Period: -1}, [7]outcome{no(notPresent), ok(LeaseBroken, leaseA, 0), ok(LeaseBreaking, leaseA, 20),
			ok(LeaseBreaking, leaseA, 40), ok(LeaseBroken, leaseA, 0), ok(LeaseBroken, leaseA, 0), ok(LeaseBroken, leaseA, 0)}},
		{"break in 10 s", LeaseRequest{Action: LeaseBreak, Period: 10}, [7]outcome{no(notPresent), ok(LeaseBreaking, leaseA, 10), ok(LeaseBreaking, leaseA, 10),
			ok(LeaseBreaking, leaseA, 10), ok(LeaseBroken, leaseA, 0), ok(LeaseBroken, leaseA, 0), ok(LeaseBroken, leaseA, 0)}},
		{"break in 60 s", LeaseRequest{Action: LeaseBreak, Period: 60}, [7]outcome{no(notPresent), ok(LeaseBreaking, leaseA, 60), ok(LeaseBreaking, leaseA, 20),
			ok(LeaseBreaking, leaseA, 40), ok(LeaseBroken, leaseA, 0), ok(LeaseBroken, leaseA, 0), ok(LeaseBroken, leaseA, 0)}},
		{"break at once", LeaseRequest{Action: LeaseBreak, Period: 0}, [7]outcome{no(notPresent), ok(LeaseBroken, leaseA, 0), ok(LeaseBroken, leaseA, 0),
			ok(LeaseBroken, leaseA, 0), ok(LeaseBroken, leaseA, 0), ok(LeaseBroken, leaseA, 0), ok(LeaseBroken, leaseA, 0)}},
	} {
		for i, name := range states {
			t.Run(row.name+" on "+name, func(t *testing.T) {
				l, want := leasesBy(t)[name], row.want[i]
				before := l
				res, err := l.Apply(leaseT, &row.req)
				require.Equal(t, before, l, "Apply changes nothing by itself")
				if want.err != nil {
					require.Equal(t, want.err, err)
					return
				}
				require.NoError(t, err)
				require.Equal(t, want.state, res.Lease.At(leaseT))
				require.Equal(t, want.id, res.Lease.ID)
				if want.left > 0 {
					require.Equal(t, leaseT+engine.Stamp(want.left)*leaseSecond, res.Lease.Until)
				} else if want.state == LeaseLeased {
					require.Equal(t, LeaseLeased, res.Lease.At(leaseT+1e6*leaseSecond), "an infinite lease stays one")
				}
				if row.req.Action == LeaseBreak {
					require.Equal(t, want.left, res.Remaining)
				}
			})
		}
	}
}

// TestRenewAfterWrite: the holder of an expired lease must learn that somebody wrote meanwhile.
func TestRenewAfterWrite(t *testing.T) {
	for name, l := range leasesBy(t) {
		after := l.Written(leaseT)
		_, err := after.Apply(leaseT, &LeaseRequest{Action: LeaseRenew, ID: leaseA})
		switch l.At(leaseT) {
		case LeaseLeased:
			require.NoError(t, err, name)
		case LeaseBreaking:
			require.ErrorIs(t, err, protocol.ErrLeaseIsBrokenAndCannotBeRenewed, name)
		default:
			require.Equal(t, LeaseAvailable, after.At(leaseT), name)
			require.ErrorIs(t, err, protocol.ErrLeaseIdMismatchWithLeaseOperation, name)
		}
	}
}

// TestLeaseUse is the second table: who may read and write in each state, for blobs and containers.
func TestLeaseUse(t *testing.T) {
	none := LeaseID{}
	for _, row := range []struct {
		state                  string
		given                  LeaseID
		write, read            string // codes; containers say …ContainerOperation
		containerW, containerR string
	}{
		{"available", leaseA, "LeaseNotPresentWithBlobOperation", "LeaseNotPresentWithBlobOperation", "LeaseNotPresentWithContainerOperation", "LeaseNotPresentWithContainerOperation"},
		{"available", none, "", "", "", ""},
		{"leased", leaseA, "", "", "", ""},
		{"leased", leaseB, "LeaseIdMismatchWithBlobOperation", "LeaseIdMismatchWithBlobOperation", "LeaseIdMismatchWithContainerOperation", "LeaseIdMismatchWithContainerOperation"},
		{"leased", none, "LeaseIdMissing", "", "LeaseIdMissing", ""},
		{"leased fixed", none, "LeaseIdMissing", "", "LeaseIdMissing", ""},
		{"breaking", leaseA, "", "", "", ""},
		{"breaking", leaseB, "LeaseIdMismatchWithBlobOperation", "LeaseIdMismatchWithBlobOperation", "LeaseIdMismatchWithContainerOperation", "LeaseIdMismatchWithContainerOperation"},
		{"breaking", none, "LeaseIdMissing", "", "LeaseIdMissing", ""},
		{"broken", leaseA, "LeaseLost", "LeaseLost", "LeaseLost", "LeaseLost"},
		{"broken", leaseB, "LeaseNotPresentWithBlobOperation", "LeaseNotPresentWithBlobOperation", "LeaseNotPresentWithContainerOperation", "LeaseNotPresentWithContainerOperation"},
		{"broken", none, "", "", "", ""},
		{"expired", leaseA, "LeaseLost", "LeaseLost", "LeaseLost", "LeaseLost"},
		{"expired", leaseB, "LeaseNotPresentWithBlobOperation", "LeaseNotPresentWithBlobOperation", "LeaseNotPresentWithContainerOperation", "LeaseNotPresentWithContainerOperation"},
		{"expired", none, "", "", "", ""},
	} {
		l := leasesBy(t)[row.state]
		check := func(err error, code string) {
			t.Helper()
			if code == "" {
				require.NoError(t, err)
				return
			}
			var e *protocol.Error
			require.True(t, errors.As(err, &e))
			require.Equal(t, code, e.Code, "%s with %v", row.state, row.given)
			require.Equal(t, 412, e.Status)
		}
		check(l.CheckWrite(leaseT, row.given, BlobLease), row.write)
		check(l.CheckRead(leaseT, row.given, BlobLease), row.read)
		check(l.CheckWrite(leaseT, row.given, ContainerLease), row.containerW)
		check(l.CheckRead(leaseT, row.given, ContainerLease), row.containerR)
	}
}

func TestParseLeaseID(t *testing.T) {
	const want = "0f8fad5b-d9cb-469f-a165-70867728950e"
	for _, s := range []string{want, "0F8FAD5B-D9CB-469F-A165-70867728950E", "{0f8fad5b-d9cb-469f-a165-70867728950e}",
		"(0f8fad5b-d9cb-469f-a165-70867728950e)", "0f8fad5bd9cb469fa16570867728950e"} {
		id, ok := ParseLeaseID(s)
		require.True(t, ok, s)
		require.Equal(t, want, id.String())
	}
	for _, s := range []string{"", "x", want[1:], want + "0", "{" + want + ")", "0f8fad5b+d9cb-469f-a165-70867728950e",
		"gf8fad5b-d9cb-469f-a165-70867728950e", "00000000-0000-0000-0000-000000000000", "0f8fad5bd9cb469fa16570867728950g"} {
		_, ok := ParseLeaseID(s)
		require.False(t, ok, s)
	}
}

func FuzzParseLeaseID(f *testing.F) {
	f.Add("0f8fad5b-d9cb-469f-a165-70867728950e")
	f.Add("{0f8fad5b-d9cb-469f-a165-70867728950e}")
	f.Add("0f8fad5bd9cb469fa16570867728950e")
	f.Fuzz(func(t *testing.T, s string) {
		id, ok := ParseLeaseID(s)
		if !ok {
			return
		}
		again, ok := ParseLeaseID(id.String())
		require.True(t, ok)
		require.Equal(t, id, again)
	})
}
