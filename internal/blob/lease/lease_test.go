package lease

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

const leaseSecond = engine.Stamp(1e7)

var (
	leaseA = ID{0xaa}
	leaseB = ID{0xbb}
	leaseC = ID{0xcc}
	leaseT = engine.Stamp(638_000_000_000_000_000) // the tests' now
)

// leasesBy are leases held by A in every state at leaseT, as they come about: by requests, not by hand.
func leasesBy(t *testing.T) map[string]Lease {
	t.Helper()
	do := func(l Lease, now engine.Stamp, r Request) Lease {
		t.Helper()
		res, err := l.Apply(now, &r)
		require.NoError(t, err)
		return res.Lease
	}
	early := leaseT - 100*leaseSecond
	infinite := do(Lease{}, early, Request{Action: Acquire, Proposed: leaseA, Named: true, Duration: Infinite})
	fixed := do(Lease{}, leaseT-10*leaseSecond, Request{Action: Acquire, Proposed: leaseA, Named: true, Duration: 30})
	return map[string]Lease{
		"available":         {},
		"leased":            infinite,
		"leased fixed":      fixed, // 20 s left
		"breaking":          do(infinite, leaseT, Request{Action: Break, Period: 40}),
		"broken":            do(infinite, early, Request{Action: Break, Period: -1}),
		"broken after time": do(infinite, early, Request{Action: Break, Period: 60}),
		"expired":           do(Lease{}, early, Request{Action: Acquire, Proposed: leaseA, Named: true, Duration: 15}),
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
	res, err := (&Lease{}).Apply(leaseT, &Request{Action: Acquire, Proposed: leaseA, Duration: 15})
	require.NoError(t, err)
	l := res.Lease
	require.Equal(t, Leased, l.At(leaseT+15*leaseSecond-1))
	require.Equal(t, Expired, l.At(leaseT+15*leaseSecond))
	res, err = l.Apply(leaseT, &Request{Action: Break, Period: 5})
	require.NoError(t, err)
	require.Equal(t, Breaking, res.Lease.At(leaseT+5*leaseSecond-1))
	require.Equal(t, Broken, res.Lease.At(leaseT+5*leaseSecond))
	require.Equal(t, int32(5), res.Remaining)
}

// TestLeaseTransitions is the table "outcomes of lease operations by state" of the REST page "Lease Blob": every state, every action.
func TestLeaseTransitions(t *testing.T) {
	var (
		mismatch    = protocol.ErrLeaseIdMismatchWithLeaseOperation
		present     = protocol.ErrLeaseAlreadyPresent
		notPresent  = protocol.ErrLeaseNotPresentWithLeaseOperation
		cantAcquire = protocol.ErrLeaseIsBreakingAndCannotBeAcquired
		cantRenew   = protocol.ErrLeaseIsBrokenAndCannotBeRenewed
		cantChange  = protocol.ErrLeaseIsBreakingAndCannotBeChanged
	)
	acquire := func(id ID) Request {
		return Request{Action: Acquire, Proposed: id, Named: true, Duration: 60}
	}
	change := func(from, to ID) Request {
		return Request{Action: Change, ID: from, Proposed: to}
	}
	type outcome struct {
		err   error
		state State
		id    ID
		left  int32 // seconds until Until
	}
	ok := func(s State, id ID, left int32) outcome { return outcome{nil, s, id, left} }
	no := func(err error) outcome { return outcome{err: err} }
	free := ok(Available, ID{}, 0)
	states := []string{"available", "leased", "leased fixed", "breaking", "broken", "broken after time", "expired"}
	for _, row := range []struct {
		name string
		req  Request
		want [7]outcome
	}{
		{"acquire A", acquire(leaseA), [7]outcome{ok(Leased, leaseA, 60), ok(Leased, leaseA, 60), ok(Leased, leaseA, 60),
			no(cantAcquire), ok(Leased, leaseA, 60), ok(Leased, leaseA, 60), ok(Leased, leaseA, 60)}},
		{"acquire B", acquire(leaseB), [7]outcome{ok(Leased, leaseB, 60), no(present), no(present),
			no(present), ok(Leased, leaseB, 60), ok(Leased, leaseB, 60), ok(Leased, leaseB, 60)}},
		{"acquire unnamed", Request{Action: Acquire, Proposed: leaseC, Duration: 60}, [7]outcome{ok(Leased, leaseC, 60), no(present), no(present),
			no(present), ok(Leased, leaseC, 60), ok(Leased, leaseC, 60), ok(Leased, leaseC, 60)}},
		{"renew A", Request{Action: Renew, ID: leaseA}, [7]outcome{no(mismatch), ok(Leased, leaseA, 0), ok(Leased, leaseA, 30),
			no(cantRenew), no(cantRenew), no(cantRenew), ok(Leased, leaseA, 15)}},
		{"renew B", Request{Action: Renew, ID: leaseB}, [7]outcome{no(mismatch), no(mismatch), no(mismatch),
			no(mismatch), no(mismatch), no(mismatch), no(mismatch)}},
		{"change A to B", change(leaseA, leaseB), [7]outcome{no(notPresent), ok(Leased, leaseB, 0), ok(Leased, leaseB, 20),
			no(cantChange), no(notPresent), no(notPresent), no(notPresent)}},
		{"change B to C", change(leaseB, leaseC), [7]outcome{no(notPresent), no(mismatch), no(mismatch),
			no(mismatch), no(notPresent), no(notPresent), no(notPresent)}},
		{"change B to A", change(leaseB, leaseA), [7]outcome{no(notPresent), ok(Leased, leaseA, 0), ok(Leased, leaseA, 20),
			no(mismatch), no(notPresent), no(notPresent), no(notPresent)}},
		{"release A", Request{Action: Release, ID: leaseA}, [7]outcome{no(mismatch), free, free, free, free, free, free}},
		{"release B", Request{Action: Release, ID: leaseB}, [7]outcome{no(mismatch), no(mismatch), no(mismatch),
			no(mismatch), no(mismatch), no(mismatch), no(mismatch)}},
		{"break", Request{Action: Break, Period: -1}, [7]outcome{no(notPresent), ok(Broken, leaseA, 0), ok(Breaking, leaseA, 20),
			ok(Breaking, leaseA, 40), ok(Broken, leaseA, 0), ok(Broken, leaseA, 0), ok(Broken, leaseA, 0)}},
		{"break in 10 s", Request{Action: Break, Period: 10}, [7]outcome{no(notPresent), ok(Breaking, leaseA, 10), ok(Breaking, leaseA, 10),
			ok(Breaking, leaseA, 10), ok(Broken, leaseA, 0), ok(Broken, leaseA, 0), ok(Broken, leaseA, 0)}},
		{"break in 60 s", Request{Action: Break, Period: 60}, [7]outcome{no(notPresent), ok(Breaking, leaseA, 60), ok(Breaking, leaseA, 20),
			ok(Breaking, leaseA, 40), ok(Broken, leaseA, 0), ok(Broken, leaseA, 0), ok(Broken, leaseA, 0)}},
		{"break at once", Request{Action: Break, Period: 0}, [7]outcome{no(notPresent), ok(Broken, leaseA, 0), ok(Broken, leaseA, 0),
			ok(Broken, leaseA, 0), ok(Broken, leaseA, 0), ok(Broken, leaseA, 0), ok(Broken, leaseA, 0)}},
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
				} else if want.state == Leased {
					require.Equal(t, Leased, res.Lease.At(leaseT+1e6*leaseSecond), "an infinite lease stays one")
				}
				if row.req.Action == Break {
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
		_, err := after.Apply(leaseT, &Request{Action: Renew, ID: leaseA})
		switch l.At(leaseT) {
		case Leased:
			require.NoError(t, err, name)
		case Breaking:
			require.ErrorIs(t, err, protocol.ErrLeaseIsBrokenAndCannotBeRenewed, name)
		default:
			require.Equal(t, Available, after.At(leaseT), name)
			require.ErrorIs(t, err, protocol.ErrLeaseIdMismatchWithLeaseOperation, name)
		}
	}
}

// TestLeaseUse is the second table: who may read and write in each state, for blobs and containers.
func TestLeaseUse(t *testing.T) {
	none := ID{}
	for _, row := range []struct {
		state                  string
		given                  ID
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
		check(l.CheckWrite(leaseT, row.given, Blob), row.write)
		check(l.CheckRead(leaseT, row.given, Blob), row.read)
		check(l.CheckWrite(leaseT, row.given, Container), row.containerW)
		check(l.CheckRead(leaseT, row.given, Container), row.containerR)
	}
}

func TestParseLeaseID(t *testing.T) {
	const want = "0f8fad5b-d9cb-469f-a165-70867728950e"
	for _, s := range []string{want, "0F8FAD5B-D9CB-469F-A165-70867728950E", "{0f8fad5b-d9cb-469f-a165-70867728950e}",
		"(0f8fad5b-d9cb-469f-a165-70867728950e)", "0f8fad5bd9cb469fa16570867728950e"} {
		id, ok := ParseID(s)
		require.True(t, ok, s)
		require.Equal(t, want, id.String())
	}
	for _, s := range []string{"", "x", want[1:], want + "0", "{" + want + ")", "0f8fad5b+d9cb-469f-a165-70867728950e",
		"gf8fad5b-d9cb-469f-a165-70867728950e", "00000000-0000-0000-0000-000000000000", "0f8fad5bd9cb469fa16570867728950g"} {
		_, ok := ParseID(s)
		require.False(t, ok, s)
	}
}

func FuzzParseLeaseID(f *testing.F) {
	f.Add("0f8fad5b-d9cb-469f-a165-70867728950e")
	f.Add("{0f8fad5b-d9cb-469f-a165-70867728950e}")
	f.Add("0f8fad5bd9cb469fa16570867728950e")
	f.Fuzz(func(t *testing.T, s string) {
		id, ok := ParseID(s)
		if !ok {
			return
		}
		again, ok := ParseID(id.String())
		require.True(t, ok)
		require.Equal(t, id, again)
	})
}
