package blob

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/auth/gate"
	"github.com/blobd/blobd/internal/engine"
)

// One row is a request that must be refused, and how. The container "con" has the block blob "b" and the page blob "page".
func TestRefusals(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/con?restype=container", "")
	tag := h.must(t, 201, "PUT", "/acct/con/b", "data", "x-ms-blob-type: BlockBlob").Header.Get("ETag")
	h.must(t, 201, "PUT", "/acct/con/page", "", "x-ms-blob-type: PageBlob", "x-ms-blob-content-length: 512")
	h.must(t, 201, "PUT", "/acct/con/b?comp=block&blockid=QUE=", "x")
	const block = "x-ms-blob-type: BlockBlob"
	long := strings.Repeat("x", 1025)
	for _, c := range []struct {
		method, target, body string
		header               []string
		status               int
		code                 string
	}{
		// addresses
		{"PUT", "/acct/CON?restype=container", "", nil, 400, "InvalidResourceName"},
		{"PUT", "/acct/co?restype=container", "", nil, 400, "OutOfRangeInput"},
		{"PUT", "/acct/con/" + long, "", []string{block}, 400, "OutOfRangeInput"},
		{"PUT", "/acct/con/a%ff", "", []string{block}, 400, "InvalidUri"},
		{"PUT", "/acct/con/" + strings.Repeat("a/", 253) + "a/a", "", []string{block}, 400, "InvalidUri"},
		{"GET", "/acct/con/page?comp=pagelist", "", []string{"Range: bytes=512-1023"}, 416, "InvalidPageRange"},
		{"GET", "/acct/con?restype=container&comp=blobs&where=@container%3D'con'%20AND%20k%3D'v'", "", nil, 400, "InvalidQueryParameterValue"},
		{"PUT", "/acct/none/b", "", []string{block}, 404, "ContainerNotFound"},
		{"GET", "/acct/none/b", "", nil, 404, "ContainerNotFound"},
		{"GET", "/acct/con/none", "", nil, 404, "BlobNotFound"},
		{"HEAD", "/acct/con/none", "", nil, 404, "BlobNotFound"},
		{"DELETE", "/acct/con/none", "", nil, 404, "BlobNotFound"},
		{"GET", "/nobody/con/b", "", nil, 404, "ResourceNotFound"},
		{"PATCH", "/acct/con/b", "", nil, 405, "UnsupportedHttpVerb"},
		{"GET", "/acct/con/b?comp=nonsense", "", nil, 400, "InvalidQueryParameterValue"},
		{"GET", "/acct/con/b?snapshot=yesterday", "", nil, 400, "InvalidQueryParameterValue"},
		{"GET", "/acct/con/b?snapshot=2023-01-27T22:27:19.7049036Z", "", nil, 404, "BlobNotFound"},
		// Put Blob
		{"PUT", "/acct/con/b", "x", nil, 400, "MissingRequiredHeader"},
		{"PUT", "/acct/con/b", "x", []string{"x-ms-blob-type: RoundBlob"}, 400, "InvalidHeaderValue"},
		{"PUT", "/acct/con/b", "x", []string{block, "Content-MD5: AAAA"}, 400, "InvalidMd5"},
		{"PUT", "/acct/con/b", "x", []string{block, "Content-MD5: no base64"}, 400, "InvalidHeaderValue"},
		{"PUT", "/acct/con/b", "x", []string{block, "Content-MD5: no base64 of 24 bytes"}, 400, "InvalidHeaderValue"},
		{"PUT", "/acct/con/b", "x", []string{block, "Content-MD5: AAAAAAAAAAAAAAAAAAAAAA=="}, 400, "Md5Mismatch"},
		{"PUT", "/acct/con/b", "x", []string{block, "x-ms-content-crc64: AAAA"}, 400, "InvalidHeaderValue"},
		{"PUT", "/acct/con/b", "x", []string{block, "x-ms-content-crc64: AAAAAAAAAAA="}, 400, "Crc64Mismatch"},
		{"PUT", "/acct/con/b", "x", []string{block, "Content-MD5: AAAAAAAAAAAAAAAAAAAAAA==", "x-ms-content-crc64: AAAAAAAAAAA="}, 400, "BothCrc64AndMd5HeaderPresent"},
		{"PUT", "/acct/con/b", "x", []string{block, "x-ms-blob-content-md5: AAAA"}, 400, "InvalidMd5"},
		{"PUT", "/acct/con/b", "x", []string{block, "x-ms-meta-1a: x"}, 400, "InvalidMetadata"},
		{"PUT", "/acct/con/b", "x", []string{block, "x-ms-meta-: x"}, 400, "EmptyMetadataKey"},
		{"PUT", "/acct/con/b", "x", []string{block, "x-ms-meta-a: " + strings.Repeat("x", 8192)}, 400, "MetadataTooLarge"},
		{"PUT", "/acct/con/b", "x", []string{block, "x-ms-access-tier: Tepid"}, 400, "InvalidHeaderValue"},
		{"PUT", "/acct/con/b", "x", []string{block, "x-ms-access-tier: P10"}, 400, "AccessTierNotSupportedForBlobType"},
		{"PUT", "/acct/con/b", "x", []string{block, "x-ms-tags: a=b&a=c"}, 400, "DuplicateTagNames"},
		{"PUT", "/acct/con/b", "x", []string{block, "x-ms-encryption-key: AAAA"}, 400, "UnsupportedHeader"},
		{"PUT", "/acct/con/b", "x", []string{block, "x-ms-lease-id: nonsense"}, 400, "InvalidHeaderValue"},
		{"PUT", "/acct/con/b", "x", []string{block, "x-ms-lease-id: 6a0a1d7e-8b2e-4f0f-9b59-111111111111"}, 412, "LeaseNotPresentWithBlobOperation"},
		{"PUT", "/acct/con/b", "x", []string{block, "x-ms-structured-body: XSM/2.0"}, 400, "InvalidHeaderValue"},
		{"PUT", "/acct/con/b", "x", []string{block, "x-ms-structured-body: XSM/1.0; properties=crc64"}, 400, "MissingRequiredHeader"},
		// conditions
		{"PUT", "/acct/con/b", "x", []string{block, "If-None-Match: *"}, 409, "BlobAlreadyExists"},
		{"PUT", "/acct/con/b", "x", []string{block, `If-Match: "0x1"`}, 412, "ConditionNotMet"},
		{"PUT", "/acct/con/new", "x", []string{block, "If-Match: *"}, 412, "ConditionNotMet"},
		{"PUT", "/acct/con/b", "x", []string{block, "If-Match: " + tag, "If-None-Match: x"}, 400, "MultipleConditionHeadersNotSupported"},
		{"PUT", "/acct/con/b", "x", []string{block, "If-Modified-Since: yesterday"}, 400, "InvalidHeaderValue"},
		{"PUT", "/acct/con/b", "x", []string{block, "x-ms-if-tags: \"k\" = 'v'"}, 412, "ConditionNotMet"},
		{"GET", "/acct/con/b", "", []string{"If-None-Match: " + tag}, 304, "ConditionNotMet"},
		{"HEAD", "/acct/con/b", "", []string{"If-Match: \"0x1\""}, 412, "ConditionNotMet"},
		{"GET", "/acct/con/b", "", []string{"If-None-Match: *"}, 400, "UnsatisfiableCondition"},
		{"DELETE", "/acct/con/b", "", []string{"If-Unmodified-Since: Mon, 01 Jan 2001 00:00:00 GMT"}, 412, "ConditionNotMet"},
		{"PUT", "/acct/con/b?comp=metadata", "", []string{"If-None-Match: *"}, 412, "ConditionNotMet"},
		{"DELETE", "/acct/con?restype=container", "", []string{"If-Match: *"}, 400, "ConditionHeadersNotSupported"},
		{"PUT", "/acct/con?restype=container&comp=metadata", "", []string{"If-Unmodified-Since: Mon, 01 Jan 2001 00:00:00 GMT"}, 400, "ConditionHeadersNotSupported"},
		// ranges
		{"GET", "/acct/con/b", "", []string{"x-ms-range: bytes=4-"}, 416, "InvalidRange"},
		{"GET", "/acct/con/b", "", []string{"x-ms-range-get-content-md5: true"}, 400, "InvalidHeaderValue"},
		{"GET", "/acct/con/b", "", []string{"x-ms-range: bytes=0-", "x-ms-range-get-content-md5: true", "x-ms-range-get-content-crc64: true"}, 400, "BothCrc64AndMd5RangeHeaderPresent"},
		// blocks
		{"PUT", "/acct/con/b?comp=block", "x", nil, 400, "MissingRequiredQueryParameter"},
		{"PUT", "/acct/con/b?comp=block&blockid=!", "x", nil, 400, "InvalidQueryParameterValue"},
		{"PUT", "/acct/con/b?comp=block&blockid=" + base64.URLEncoding.EncodeToString(make([]byte, 65)), "x", nil, 400, "InvalidQueryParameterValue"},
		{"PUT", "/acct/con/b?comp=block&blockid=QUFB", "x", nil, 400, "InvalidBlobOrBlock"},
		{"PUT", "/acct/con/b?comp=block&blockid=QUE=", "", nil, 400, "InvalidHeaderValue"},
		{"PUT", "/acct/con/page?comp=block&blockid=QUE=", "x", nil, 409, "InvalidBlobType"},
		{"PUT", "/acct/con/b?comp=blocklist", "<BlockList><Committed>QUE=</Committed></BlockList>", nil, 400, "InvalidBlockList"},
		{"PUT", "/acct/con/b?comp=blocklist", "<BlockList><Latest>!!</Latest></BlockList>", nil, 400, "InvalidBlockId"},
		{"PUT", "/acct/con/b?comp=blocklist", "<BlockList>", nil, 400, "InvalidXmlDocument"},
		{"PUT", "/acct/con/b?comp=blocklist", "", nil, 400, "InvalidXmlDocument"},
		{"PUT", "/acct/con/b?comp=blocklist", `<!DOCTYPE x [<!ENTITY a "b">]><BlockList></BlockList>`, nil, 400, "InvalidXmlDocument"},
		{"PUT", "/acct/con/b?comp=blocklist", "<BlockList>" + strings.Repeat("<Latest>QUE=</Latest>", 50001) + "</BlockList>", nil, 400, "BlockListTooLong"},
		{"PUT", "/acct/con/page?comp=blocklist", "<BlockList/>", nil, 409, "InvalidBlobType"},
		{"GET", "/acct/con/page?comp=blocklist", "", nil, 409, "InvalidBlobType"},
		{"GET", "/acct/con/b?comp=blocklist&blocklisttype=some", "", nil, 400, "InvalidQueryParameterValue"},
		{"GET", "/acct/con/none?comp=blocklist", "", nil, 404, "BlobNotFound"},
		{"PUT", "/acct/con/b?comp=metadata&snapshot=2023-01-27T22:27:19.7049036Z", "", nil, 400, "InvalidQueryParameterValue"},
		// tags
		{"PUT", "/acct/con/b?comp=tags", "<Tags/>", nil, 400, "MissingRequiredXmlNode"},
		{"PUT", "/acct/con/b?comp=tags", "<Tags><TagSet><Tag><Key>a</Key><Value/></Tag><Tag><Key>a</Key><Value/></Tag></TagSet></Tags>", nil, 400, "DuplicateTagNames"},
		{"PUT", "/acct/con/b?comp=tags", "<Tags>", nil, 400, "InvalidXmlDocument"},
		// what blobd has not
		{"PUT", "/acct/con?restype=container&comp=rename", "", nil, 409, "BlobOperationNotSupported"},
		{"POST", "/acct/con/b?comp=query", "", nil, 409, "BlobOperationNotSupported"},
		{"PUT", "/acct/con/b?comp=immutabilityPolicies", "", nil, 409, "BlobOperationNotSupported"},
		{"DELETE", "/acct/con/b?comp=immutabilityPolicies", "", nil, 409, "BlobOperationNotSupported"},
		{"PUT", "/acct/con/b?comp=legalhold", "", nil, 409, "BlobOperationNotSupported"},
		{"PUT", "/acct/con/b?comp=expiry", "", nil, 409, "BlobOperationNotSupported"},
		{"PUT", "/acct/con/none?comp=expiry", "", nil, 404, "BlobNotFound"},
		// listings
		{"GET", "/acct/con?restype=container&comp=list&maxresults=0", "", nil, 400, "OutOfRangeQueryParameterValue"},
		{"GET", "/acct/con?restype=container&comp=list&maxresults=x", "", nil, 400, "InvalidQueryParameterValue"},
		{"GET", "/acct/con?restype=container&comp=list&include=everything", "", nil, 400, "InvalidQueryParameterValue"},
		{"GET", "/acct/con?restype=container&comp=list&marker=nonsense", "", nil, 400, "InvalidQueryParameterValue"},
		{"GET", "/acct/none?restype=container&comp=list", "", nil, 404, "ContainerNotFound"},
		{"GET", "/acct/?comp=list&include=everything", "", nil, 400, "InvalidQueryParameterValue"},
		// containers
		{"PUT", "/acct/new?restype=container", "", []string{"x-ms-blob-public-access: everybody"}, 400, "InvalidHeaderValue"},
		{"PUT", "/acct/con?restype=container&comp=acl", "<SignedIdentifiers>", nil, 400, "InvalidXmlDocument"},
	} {
		r := h.Do(c.method, c.target, c.body, c.header...)
		require.Equal(t, fmt.Sprint(c.status, " ", c.code), fmt.Sprint(r.Status, " ", r.Code()), "%s %.80s %v\n%s", c.method, c.target, c.header, r)
	}
	// None of them has changed anything.
	got := h.must(t, 200, "GET", "/acct/con/b", "")
	require.Equal(t, []string{"data", tag}, []string{string(got.Body), got.Header.Get("ETag")})
	require.Contains(t, string(h.must(t, 200, "GET", "/acct/con/b?comp=blocklist&blocklisttype=all", "").Body), "<UncommittedBlocks><Block><Name>QUE=</Name><Size>1</Size></Block></UncommittedBlocks>")
}

// Who is refused at the gate, before the service looks at anything.
func TestRefusalsAtTheGate(t *testing.T) {
	h := build(t, func(r auth.Resources) auth.Authorizer { return gate.New(gate.Options{Blob: r}) }, func(_ *house, a *account.Account) { a.Disabled = true })
	h.fails(t, 403, "AccountIsDisabled", "GET", "/acct/?comp=list", "")
	h.fails(t, 400, "InvalidAuthenticationInfo", "GET", "/devstoreaccount1/?comp=list", "", "Authorization: nonsense")
	h.fails(t, 400, "InvalidAuthenticationInfo", "GET", "/devstoreaccount1/?comp=list", "", "Authorization: SharedKey devstoreaccount1")
}

// What a delete and an overwrite leave is swept: nothing but the account's records stays, and its use goes back to nothing.
func TestSweeping(t *testing.T) {
	ctx := context.Background()
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/con?restype=container", "")
	for i := range 3 {
		h.must(t, 201, "PUT", fmt.Sprint("/acct/con/small", i), "x", "x-ms-blob-type: BlockBlob", "x-ms-tags: a=b")
	}
	for i := range 5 {
		h.must(t, 201, "PUT", fmt.Sprintf("/acct/con/big?comp=block&blockid=%d%d==", i, 0), string(pattern(20<<10, i)))
	}
	h.must(t, 201, "PUT", "/acct/con/big?comp=blocklist", "<BlockList><Latest>00==</Latest><Latest>10==</Latest></BlockList>")
	h.must(t, 201, "PUT", "/acct/con/big?comp=snapshot", "")
	h.must(t, 201, "PUT", "/acct/con/big?comp=block&blockid=AA==", "pending")
	require.Equal(t, int64(3+2*20<<10+7), used(t, h)) // a snapshot is free
	h.must(t, 202, "DELETE", "/acct/con?restype=container", "")
	h.must(t, 201, "PUT", "/acct/con?restype=container", "")
	require.NotContains(t, string(h.must(t, 200, "GET", "/acct/con?restype=container&comp=list", "").Body), "<Name>")
	h.now = func() time.Time { return time.Now().Add(2 * time.Hour) } // no write can still be under way
	for range 3 {
		require.NoError(t, h.svc.blobs.Sweep(ctx))
	}
	require.Zero(t, used(t, h))
	for _, space := range []engine.Space{engine.SpaceBlob, engine.SpaceBlobHistory, engine.SpaceBlobData, engine.SpaceBlock, engine.SpacePage, engine.SpaceBlobTag, engine.SpaceBlobQueue, engine.SpaceUncommitted} {
		require.Zero(t, count(t, h, space), "space %#x", byte(space))
	}
}

func TestUncommittedBlocksVanishAfterAWeek(t *testing.T) {
	ctx := context.Background()
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/con?restype=container", "")
	h.must(t, 201, "PUT", "/acct/con/b?comp=block&blockid=QUE=", "block")
	require.Contains(t, string(h.must(t, 200, "GET", "/acct/con?restype=container&comp=list&include=uncommittedblobs", "").Body), "<Name>b</Name>")
	require.NotContains(t, string(h.must(t, 200, "GET", "/acct/con?restype=container&comp=list", "").Body), "<Name>b</Name>")
	h.now = func() time.Time { return time.Now().Add(7*24*time.Hour - time.Minute) }
	require.NoError(t, h.svc.blobs.Sweep(ctx))
	h.must(t, 200, "GET", "/acct/con/b?comp=blocklist&blocklisttype=all", "")
	h.now = func() time.Time { return time.Now().Add(7*24*time.Hour + time.Minute) }
	require.NoError(t, h.svc.blobs.Sweep(ctx))
	h.fails(t, 404, "BlobNotFound", "GET", "/acct/con/b?comp=blocklist&blocklisttype=all", "")
	require.Zero(t, used(t, h))
	require.Zero(t, count(t, h, engine.SpaceBlock)+count(t, h, engine.SpaceUncommitted)+count(t, h, engine.SpaceBlobQueue))
}

func count(t *testing.T, h *house, space engine.Space) (n int) {
	t.Helper()
	require.NoError(t, h.store.View(context.Background(), nil, func(r engine.Reader) error {
		it := r.Scan(space, nil, nil)
		for it.Next() {
			n++
		}
		return it.Close()
	}))
	return n
}
