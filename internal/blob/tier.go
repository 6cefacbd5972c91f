package blob

import (
	"strings"

	"github.com/blobd/blobd/internal/blob/lease"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

var tierNames = [...]string{"", "Hot", "Cool", "Cold", "Archive", "Smart", "P4", "P6", "P10", "P15", "P20", "P30", "P40", "P50", "P60", "P70", "P80"}

func (t Tier) String() string { return tierNames[t] }

// premium tells the tiers of page blobs.
func (t Tier) premium() bool { return t >= TierP4 }

// Rehydration times, in stamps. Azure's are hours (15 for Standard, 1 for High); nothing has to be fetched here, so they are only
// long enough for a client to meet every state on the way.
const (
	rehydrateStandard = 60 * 10_000_000
	rehydrateHigh     = 10 * 10_000_000
)

// at returns the tier and its history at a moment: a rehydration that is over needs no writing.
func (t Tiering) at(now engine.Stamp) Tiering {
	if t.Pending == TierUnset {
		return t
	}
	done := t.Changed + rehydrateStandard
	if t.High {
		done = t.Changed + rehydrateHigh
	}
	if now < done {
		return t
	}
	return Tiering{Tier: t.Pending, Changed: done}
}

// parseTier reads x-ms-access-tier for a blob of a type.
func parseTier(text string, blobType Type, v protocol.Version) (Tier, error) {
	t, err := parseTierName(text, v)
	if err != nil {
		return 0, err
	}
	return t, t.check(blobType)
}

// parseTierName reads x-ms-access-tier.
func parseTierName(text string, v protocol.Version) (Tier, error) {
	for t := TierHot; t < tierEnd; t++ {
		if strings.EqualFold(tierNames[t], text) && !(t == TierCold && v < protocol.V20211202 || t == TierSmart && v < protocol.V20260406) {
			return t, nil
		}
	}
	return 0, protocol.InvalidHeader("x-ms-access-tier", text)
}

// check tells whether a blob of a type can have the tier.
func (t Tier) check(blobType Type) error {
	if t.premium() != (blobType == PageBlob) || blobType == AppendBlob {
		return protocol.ErrAccessTierNotSupportedForBlobType
	}
	return nil
}

// capacity is the largest page blob that a tier takes, in bytes: 32 GiB for P4 and twice as much for each but the fourth step on.
func (t Tier) capacity() int64 {
	return [...]int64{TierP4: 32, TierP6: 64, TierP10: 128, TierP15: 256, TierP20: 512, TierP30: 1 << 10, TierP40: 2 << 10, TierP50: 4 << 10,
		TierP60: 8 << 10, TierP70: 16 << 10, TierP80: 32 << 10}[t] << 30
}

// change returns the tier after Set Blob Tier (blob.md section 13).
func (t Tiering) change(now engine.Stamp, to Tier, high bool, blobType Type, size int64) (Tiering, error) {
	t = t.at(now)
	if err := to.check(blobType); err != nil {
		return t, err
	}
	switch {
	case blobType == PageBlob && t.Tier != TierUnset && to < t.Tier:
		return t, protocol.ErrCannotChangeToLowerTier
	case blobType == PageBlob && size > to.capacity():
		return t, protocol.ErrBlobTierInadequateForContentLength
	case t.Pending != TierUnset && to != t.Pending:
		return t, protocol.ErrBlobBeingRehydrated
	case t.Pending != TierUnset: // only the priority can be raised
		t.High = t.High || high
		return t, nil
	case t.Tier == TierArchive && to != TierArchive:
		return Tiering{Tier: TierArchive, Changed: now, Pending: to, High: high}, nil
	}
	return Tiering{Tier: to, Changed: now}, nil
}

// setBlobTier is Set Blob Tier.
func (s *Service) setBlobTier(r *rest.Request) error {
	text := r.Header("x-ms-access-tier")
	if text == "" {
		return protocol.MissingHeader("x-ms-access-tier")
	}
	to, err := parseTierName(text, r.Version)
	if err != nil {
		return err
	}
	high, err := decodePriority(r)
	if err != nil {
		return err
	}
	terms, err := decodeAccess(r)
	if err != nil {
		return err
	}
	slot, err := decodeSlot(r)
	if err != nil {
		return err
	}
	p, err := s.place(r)
	if err != nil {
		return err
	}
	var after Tiering
	err = s.change(r.Context, p, func(t *Txn) error {
		rec, at, err := slot.find(t.Tx, p)
		if err != nil {
			return err
		}
		// No lease is needed, one that is given is checked; ETag conditions are not the operation's.
		if rec == nil {
			return protocol.ErrBlobNotFound
		}
		if err := rec.Lease.CheckRead(terms.now, terms.lease, lease.Blob); err != nil {
			return err
		}
		if err := terms.checkTags(rec); err != nil {
			return err
		}
		if rec.Tier, err = rec.Tier.change(terms.now, to, high, rec.Type, rec.Size); err != nil {
			return err
		}
		after = rec.Tier
		t.set(at, rec)
		return nil
	})
	if err != nil {
		return err
	}
	if after.Pending != TierUnset {
		r.Reply(202)
	} else {
		r.Reply(200)
	}
	return nil
}

// decodePriority reads x-ms-rehydrate-priority.
func decodePriority(r *rest.Request) (high bool, err error) {
	switch text := r.Header("x-ms-rehydrate-priority"); {
	case text == "", strings.EqualFold(text, "Standard"):
		return false, nil
	case strings.EqualFold(text, "High"):
		return true, nil
	default:
		return false, protocol.InvalidHeader("x-ms-rehydrate-priority", text)
	}
}

// effective returns the tier to show, and whether it is the account's default rather than set.
func (t *Tiering) effective(blobType Type) (tier Tier, inferred bool) {
	if t.Tier != TierUnset {
		return t.Tier, false
	}
	if blobType == BlockBlob {
		return TierHot, true
	}
	return TierUnset, false
}

// setTier answers with the tier headers. Page and append blobs of a standard account have none.
func setTier(r *rest.Request, rec *Record) {
	now := rec.Tier.at(engine.StampOf(r.Now))
	tier, inferred := now.effective(rec.Type)
	if tier == TierUnset {
		return
	}
	r.SetHeader("x-ms-access-tier", tier.String())
	if inferred {
		r.SetHeader("x-ms-access-tier-inferred", "true")
	}
	if now.Changed != 0 {
		r.SetHeader("x-ms-access-tier-change-time", protocol.Date(now.Changed))
	}
	if now.Pending != TierUnset {
		r.SetHeader("x-ms-archive-status", now.archiveStatus())
		r.SetHeader("x-ms-rehydrate-priority", now.priority())
	}
}

// archiveStatus is how the way out of the archive is told.
func (t *Tiering) archiveStatus() string {
	return "rehydrate-pending-to-" + strings.ToLower(t.Pending.String())
}

func (t *Tiering) priority() string {
	if t.High {
		return "High"
	}
	return "Standard"
}

// readable refuses to give out, or build on, the content of an archived blob.
func (rec *Record) readable(now engine.Stamp) error {
	switch t := rec.Tier.at(now); {
	case t.Tier != TierArchive:
		return nil
	case t.Pending != TierUnset:
		return protocol.ErrBlobBeingRehydrated
	}
	return protocol.ErrBlobArchived
}
