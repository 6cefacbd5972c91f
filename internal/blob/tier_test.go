package blob

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

// Each row is a change of tier at one moment; times are in seconds.
func TestTierChange(t *testing.T) {
	const s = engine.Stamp(10_000_000)
	for _, c := range []struct {
		name     string
		from     record.Tiering
		now      engine.Stamp
		to       record.Tier
		high     bool
		blobType record.Type
		size     int64
		want     record.Tiering
		err      error
	}{
		{"first", record.Tiering{}, 5 * s, record.TierCool, false, record.BlockBlob, 1, record.Tiering{Tier: record.TierCool, Changed: 5 * s}, nil},
		{"into the archive", record.Tiering{Tier: record.TierCool}, 5 * s, record.TierArchive, false, record.BlockBlob, 1, record.Tiering{Tier: record.TierArchive, Changed: 5 * s}, nil},
		{"out of it", record.Tiering{Tier: record.TierArchive}, 5 * s, record.TierHot, true, record.BlockBlob, 1, record.Tiering{Tier: record.TierArchive, Changed: 5 * s, Pending: record.TierHot, High: true}, nil},
		{"on the way, the same", record.Tiering{Tier: record.TierArchive, Changed: 5 * s, Pending: record.TierHot, High: false}, 6 * s, record.TierHot, true, record.BlockBlob, 1, record.Tiering{Tier: record.TierArchive, Changed: 5 * s, Pending: record.TierHot, High: true}, nil},
		{"on the way, another", record.Tiering{Tier: record.TierArchive, Changed: 5 * s, Pending: record.TierHot, High: false}, 6 * s, record.TierCool, false, record.BlockBlob, 1, record.Tiering{}, protocol.ErrBlobBeingRehydrated},
		{"on the way, back", record.Tiering{Tier: record.TierArchive, Changed: 5 * s, Pending: record.TierHot, High: false}, 6 * s, record.TierArchive, false, record.BlockBlob, 1, record.Tiering{}, protocol.ErrBlobBeingRehydrated},
		{"arrived", record.Tiering{Tier: record.TierArchive, Changed: 5 * s, Pending: record.TierHot, High: false}, 65 * s, record.TierArchive, false, record.BlockBlob, 1, record.Tiering{Tier: record.TierArchive, Changed: 65 * s}, nil},
		{"append blob", record.Tiering{}, s, record.TierHot, false, record.AppendBlob, 1, record.Tiering{}, protocol.ErrAccessTierNotSupportedForBlobType},
		{"block tier on pages", record.Tiering{}, s, record.TierHot, false, record.PageBlob, 1, record.Tiering{}, protocol.ErrAccessTierNotSupportedForBlobType},
		{"page tier on blocks", record.Tiering{}, s, record.TierP4, false, record.BlockBlob, 1, record.Tiering{}, protocol.ErrAccessTierNotSupportedForBlobType},
		{"page tier", record.Tiering{}, s, record.TierP10, false, record.PageBlob, 128 << 30, record.Tiering{Tier: record.TierP10, Changed: s}, nil},
		{"page tier too small", record.Tiering{}, s, record.TierP10, false, record.PageBlob, 128<<30 + 512, record.Tiering{}, protocol.ErrBlobTierInadequateForContentLength},
		{"page tier down", record.Tiering{Tier: record.TierP10}, s, record.TierP6, false, record.PageBlob, 512, record.Tiering{}, protocol.ErrCannotChangeToLowerTier},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.from.Change(c.now, c.to, c.high, c.blobType, c.size)
			if c.err != nil {
				require.ErrorIs(t, err, c.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func TestSetTierOnTheWire(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/con?restype=container", "")
	h.must(t, 201, "PUT", "/acct/con/b", "data", "x-ms-blob-type: BlockBlob", "x-ms-access-tier: Cool")
	before := h.must(t, 200, "HEAD", "/acct/con/b", "")
	require.Equal(t, "Cool", before.Header.Get("x-ms-access-tier"))
	require.Empty(t, before.Header.Get("x-ms-access-tier-inferred"))

	h.must(t, 200, "PUT", "/acct/con/b?comp=tier", "", "x-ms-access-tier: Archive")
	after := h.must(t, 200, "HEAD", "/acct/con/b", "")
	require.Equal(t, before.Header.Get("ETag"), after.Header.Get("ETag"))
	require.NotEmpty(t, after.Header.Get("x-ms-access-tier-change-time"))
	h.fails(t, 409, "BlobArchived", "GET", "/acct/con/b", "")
	h.fails(t, 409, "BlobArchived", "PUT", "/acct/con/b?comp=metadata", "")
	h.fails(t, 409, "BlobArchived", "PUT", "/acct/con/b?comp=blocklist", "<BlockList/>")

	h.must(t, 202, "PUT", "/acct/con/b?comp=tier", "", "x-ms-access-tier: Hot", "x-ms-rehydrate-priority: High")
	after = h.must(t, 200, "HEAD", "/acct/con/b", "")
	require.Equal(t, []string{"Archive", "rehydrate-pending-to-hot", "High"}, []string{after.Header.Get("x-ms-access-tier"),
		after.Header.Get("x-ms-archive-status"), after.Header.Get("x-ms-rehydrate-priority")})
	h.fails(t, 409, "BlobBeingRehydrated", "GET", "/acct/con/b", "")
	h.fails(t, 409, "BlobBeingRehydrated", "PUT", "/acct/con/b?comp=tier", "", "x-ms-access-tier: Cool")
	list := h.must(t, 200, "GET", "/acct/con?restype=container&comp=list", "")
	require.Regexp(t, "<ArchiveStatus>rehydrate-pending-to-hot</ArchiveStatus><AccessTierChangeTime>[^<]*</AccessTierChangeTime><RehydratePriority>High</RehydratePriority>", string(list.Body))

	h.fails(t, 400, "MissingRequiredHeader", "PUT", "/acct/con/b?comp=tier", "")
	h.fails(t, 400, "InvalidHeaderValue", "PUT", "/acct/con/b?comp=tier", "", "x-ms-access-tier: Warm")
	h.fails(t, 404, "BlobNotFound", "PUT", "/acct/con/none?comp=tier", "", "x-ms-access-tier: Hot")
	h.fails(t, 409, "BlobBeingRehydrated", "PUT", "/acct/con/b", "over", "x-ms-blob-type: BlockBlob")
	h.must(t, 202, "DELETE", "/acct/con/b", "")
	h.must(t, 201, "PUT", "/acct/con/b", "over", "x-ms-blob-type: BlockBlob")
	h.must(t, 200, "GET", "/acct/con/b", "")
}

// TestDeleteByTheTimeOfTheTier: a delete may be bound to when the tier was set last; a blob keeps the tier that it was made with.
func TestDeleteByTheTimeOfTheTier(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
	const modified, unmodified = "x-ms-access-tier-if-modified-since: ", "x-ms-access-tier-if-unmodified-since: "
	began := time.Now()
	for _, set := range []time.Duration{0, time.Hour} { // after the blob was made; 0 for never
		at := func(after time.Duration) string { return began.Add(set + after).UTC().Format(http.TimeFormat) }
		h.must(t, 201, "PUT", "/acct/box/b", "content", v, isBlock)
		if set != 0 {
			h.ahead.Store(int64(set))
			h.must(t, 200, "PUT", "/acct/box/b?comp=tier", "", v, "x-ms-access-tier: Cool")
		}
		for _, unmet := range []string{modified + at(time.Minute), unmodified + at(-time.Minute)} {
			h.fails(t, 412, "ConditionNotMet", "DELETE", "/acct/box/b", "", v, unmet)
		}
		h.fails(t, 400, "MultipleConditionHeadersNotSupported", "DELETE", "/acct/box/b", "", v, modified+at(-time.Minute), unmodified+at(time.Minute))
		h.fails(t, 400, "InvalidHeaderValue", "DELETE", "/acct/box/b", "", v, modified+"yesterday")
		h.fails(t, 404, "BlobNotFound", "DELETE", "/acct/box/none", "", v, modified+at(-time.Minute))
		part := batchBody("DELETE /acct/box/b HTTP/1.1\r\n" + modified + at(time.Minute))
		require.Contains(t, string(h.must(t, 202, "POST", "/acct?comp=batch", part, v, "Content-Type: multipart/mixed; boundary=bb").Body), "x-ms-error-code: ConditionNotMet")
		snapshot := h.must(t, 201, "PUT", "/acct/box/b?comp=snapshot", "", v).Header.Get("x-ms-snapshot")
		h.fails(t, 412, "ConditionNotMet", "DELETE", "/acct/box/b?snapshot="+snapshot, "", v, modified+at(time.Minute))
		h.must(t, 202, "DELETE", "/acct/box/b?snapshot="+snapshot, "", v, modified+at(-time.Minute))
		h.must(t, 202, "DELETE", "/acct/box/b", "", v, unmodified+at(time.Minute))
	}
}

// TestARehydrationEndsWithItsBlob: what is rehydrated when it stops being the current version stays in the archive.
func TestARehydrationEndsWithItsBlob(t *testing.T) {
	h := newHouse(t, func(_ *house, a *account.Account) { a.Versioning = true })
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
	version := h.must(t, 201, "PUT", "/acct/box/b", "content", v, isBlock, "x-ms-access-tier: Archive").Header.Get("x-ms-version-id")
	h.must(t, 202, "PUT", "/acct/box/b?comp=tier", "", v, "x-ms-access-tier: Hot")
	h.must(t, 202, "DELETE", "/acct/box/b", "", v)
	h.ahead.Store(int64(time.Hour))
	kept := h.must(t, 200, "HEAD", "/acct/box/b?versionid="+version, "", v).Header
	require.Equal(t, []string{"Archive", ""}, []string{kept.Get("x-ms-access-tier"), kept.Get("x-ms-archive-status")})
	h.fails(t, 409, "BlobArchived", "GET", "/acct/box/b?versionid="+version, "", v)
}

// TestThePriorityOfARehydration: before 2020-06-12 it could be set once, and before 2019-02-02 not at all.
func TestThePriorityOfARehydration(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
	for _, c := range []struct{ first, second, want string }{
		{"2018-11-09", "2020-04-08", "Standard"}, {"2019-02-02", "2020-06-12", "High"}, {"2020-04-08", "2020-04-08", "Standard"},
	} {
		h.must(t, 201, "PUT", "/acct/box/b", "content", v, isBlock, "x-ms-access-tier: Archive")
		first := "High"
		if c.first != "2018-11-09" {
			first = "Standard"
		}
		h.must(t, 202, "PUT", "/acct/box/b?comp=tier", "", "x-ms-version: "+c.first, "x-ms-access-tier: Hot", "x-ms-rehydrate-priority: "+first)
		h.must(t, 202, "PUT", "/acct/box/b?comp=tier", "", "x-ms-version: "+c.second, "x-ms-access-tier: Hot", "x-ms-rehydrate-priority: High")
		require.Equal(t, c.want, h.must(t, 200, "HEAD", "/acct/box/b", "", v).Header.Get("x-ms-rehydrate-priority"), "%+v", c)
		h.must(t, 202, "DELETE", "/acct/box/b", "", v)
	}
}
