package record

import (
	"strings"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
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

// At returns the tier and its history at a moment: a rehydration that is over needs no writing.
func (t Tiering) At(now engine.Stamp) Tiering {
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

// ParseTier reads x-ms-access-tier for a blob of a type.
func ParseTier(text string, blobType Type, v protocol.Version) (Tier, error) {
	t, err := ParseTierName(text, v)
	if err != nil {
		return 0, err
	}
	return t, t.Check(blobType)
}

// ParseTierName reads x-ms-access-tier.
func ParseTierName(text string, v protocol.Version) (Tier, error) {
	for t := TierHot; t < tierEnd; t++ {
		if strings.EqualFold(tierNames[t], text) && !(t == TierCold && v < protocol.V20211202 || t == TierSmart && v < protocol.V20260406) {
			return t, nil
		}
	}
	return 0, protocol.InvalidHeader("x-ms-access-tier", text)
}

// Check tells whether a blob of a type can have the tier.
func (t Tier) Check(blobType Type) error {
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

// Change returns the tier after Set Blob Tier (REST page "Set Blob Tier").
func (t Tiering) Change(now engine.Stamp, to Tier, high bool, blobType Type, size int64) (Tiering, error) {
	t = t.At(now)
	if err := to.Check(blobType); err != nil {
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

// Cancel returns the tier of what no longer is the current blob of its name: a rehydration that is under way ends in the archive.
func (t Tiering) Cancel(now engine.Stamp) Tiering {
	t = t.At(now)
	t.Pending, t.High = TierUnset, false
	return t
}

// Effective returns the tier to show, and whether it is the account's default rather than set.
func (t *Tiering) Effective(blobType Type) (tier Tier, inferred bool) {
	if t.Tier != TierUnset {
		return t.Tier, false
	}
	if blobType == BlockBlob {
		return TierHot, true
	}
	return TierUnset, false
}

// ArchiveStatus is how the way out of the archive is told.
func (t *Tiering) ArchiveStatus() string {
	return "rehydrate-pending-to-" + strings.ToLower(t.Pending.String())
}

func (t *Tiering) Priority() string {
	if t.High {
		return "High"
	}
	return "Standard"
}

// Readable refuses to give out, or build on, the content of an archived blob.
func (rec *Blob) Readable(now engine.Stamp) error {
	switch t := rec.Tier.At(now); {
	case t.Tier != TierArchive:
		return nil
	case t.Pending != TierUnset:
		return protocol.ErrBlobBeingRehydrated
	}
	return protocol.ErrBlobArchived
}

// Tiering is the access tier and its history.
type Tiering struct {
	Tier    Tier // TierUnset: inferred
	Changed engine.Stamp
	// Pending is the tier that an archived blob is being rehydrated to, and High the priority.
	Pending Tier
	High    bool
}

// Tier is an access tier. Stored: never renumber.
type Tier byte

// The tiers.
const (
	TierUnset Tier = iota
	TierHot
	TierCool
	TierCold
	TierArchive
	TierSmart
	TierP4
	TierP6
	TierP10
	TierP15
	TierP20
	TierP30
	TierP40
	TierP50
	TierP60
	TierP70
	TierP80
	tierEnd
)
