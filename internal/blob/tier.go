package blob

import (
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// setBlobTier is Set Blob Tier.
func (s *Service) setBlobTier(r *rest.Request) error {
	text := r.Header("x-ms-access-tier")
	if text == "" {
		return protocol.MissingHeader("x-ms-access-tier")
	}
	d := decoder{r: r}
	to := d.tier(text)
	high, a, slot := d.priority(), d.target(), d.slot()
	if slot.Snapshot != 0 {
		d.queryOf("snapshot", protocol.V20191212)
	}
	if d.err != nil {
		return d.err
	}
	after, err := s.blobs.SetTier(r.Context, &a, slot, to, high)
	if err != nil {
		return err
	}
	if after.Pending != record.TierUnset {
		r.Reply(202)
	} else {
		r.Reply(200)
	}
	return nil
}

func (d *decoder) tier(name string) record.Tier {
	tier, err := record.ParseTierName(name, d.r.Version)
	d.fail(err)
	return tier
}

// priority reads x-ms-rehydrate-priority, which came with a version.
func (d *decoder) priority() (high bool) {
	return d.r.Version >= protocol.V20190202 && d.word("x-ms-rehydrate-priority", []string{"", "Standard", "High"}) == 2
}

// setTier answers with the tier headers. Page and append blobs of a standard account have none.
func setTier(r *rest.Request, rec *record.Blob) {
	now := rec.Tier.At(record.StampOf(r.Now))
	tier, inferred := now.Effective(rec.Type)
	if tier == record.TierUnset {
		return
	}
	r.SetHeader("x-ms-access-tier", tier.String())
	if inferred {
		r.SetHeader("x-ms-access-tier-inferred", "true")
	}
	if now.Changed != 0 && rec.Type == record.BlockBlob {
		r.SetHeader("x-ms-access-tier-change-time", protocol.Date(now.Changed))
	}
	if now.Pending != record.TierUnset {
		r.SetHeader("x-ms-archive-status", now.ArchiveStatus())
		if r.Version >= protocol.V20191212 {
			r.SetHeader("x-ms-rehydrate-priority", now.Priority())
		}
	}
}
