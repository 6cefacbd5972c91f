package blob

import (
	"strings"

	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

var tierNames = [...]string{"", "Hot", "Cool", "Cold", "Archive", "Smart", "P4", "P6", "P10", "P15", "P20", "P30", "P40", "P50", "P60", "P70", "P80"}

func (t Tier) String() string { return tierNames[t] }

// premium tells the tiers of page blobs.
func (t Tier) premium() bool { return t >= TierP4 }

// parseTier reads x-ms-access-tier for a blob of a type.
func parseTier(text string, blobType Type, v protocol.Version) (Tier, error) {
	for t := TierHot; t < tierEnd; t++ {
		if !strings.EqualFold(tierNames[t], text) {
			continue
		}
		switch {
		case t == TierCold && v < protocol.V20211202, t == TierSmart && v < protocol.V20260406:
			return 0, protocol.InvalidHeader("x-ms-access-tier", text)
		case t.premium() != (blobType == PageBlob), blobType == AppendBlob:
			return 0, protocol.ErrAccessTierNotSupportedForBlobType
		}
		return t, nil
	}
	return 0, protocol.InvalidHeader("x-ms-access-tier", text)
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
	tier, inferred := rec.Tier.effective(rec.Type)
	if tier == TierUnset {
		return
	}
	r.SetHeader("x-ms-access-tier", tier.String())
	if inferred {
		r.SetHeader("x-ms-access-tier-inferred", "true")
	}
	if rec.Tier.Changed != 0 {
		r.SetHeader("x-ms-access-tier-change-time", protocol.Date(rec.Tier.Changed))
	}
	if rec.Tier.Pending != TierUnset {
		r.SetHeader("x-ms-archive-status", rec.Tier.archiveStatus())
		r.SetHeader("x-ms-rehydrate-priority", rec.Tier.priority())
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

// readable refuses to give out the content of an archived blob.
func (rec *Record) readable() error {
	switch {
	case rec.Tier.Tier != TierArchive:
		return nil
	case rec.Tier.Pending != TierUnset:
		return protocol.ErrBlobBeingRehydrated
	}
	return protocol.ErrBlobArchived
}
