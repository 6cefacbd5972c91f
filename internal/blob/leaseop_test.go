package blob

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	idA = "11111111-1111-1111-1111-111111111111"
	idB = "22222222-2222-2222-2222-222222222222"
)

// TestLeaseOnTheWire: headers, statuses and the form of requests; the rules have their own tests. Blobs and containers are alike.
func TestLeaseOnTheWire(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
	h.must(t, 201, "PUT", "/acct/box/b", "x", v, isBlock)
	for _, target := range []string{"/acct/box/b?comp=lease", "/acct/box?restype=container&comp=lease"} {
		t.Run(target, func(t *testing.T) {
			plain, query, _ := strings.Cut(target, "comp=lease")
			plain = strings.TrimRight(plain+query, "&?")
			do := func(status int, header ...string) map[string]string {
				t.Helper()
				r := h.must(t, status, "PUT", target, "", append([]string{v}, header...)...)
				require.NotEmpty(t, r.Header.Get("ETag"))
				return map[string]string{"id": r.Header.Get("x-ms-lease-id"), "time": r.Header.Get("x-ms-lease-time"), "tag": r.Header.Get("ETag")}
			}
			state := func(status, state, duration string) {
				t.Helper()
				r := h.must(t, 200, "HEAD", plain, "", v)
				require.Equal(t, []string{status, state, duration}, []string{r.Header.Get("x-ms-lease-status"), r.Header.Get("x-ms-lease-state"), r.Header.Get("x-ms-lease-duration")})
			}
			act := func(a string) string { return "x-ms-lease-action: " + a }
			tag := h.must(t, 200, "HEAD", plain, "", v).Header.Get("ETag")
			state("unlocked", "available", "")
			got := do(201, act("acquire"), "x-ms-lease-duration: -1", "x-ms-proposed-lease-id: {"+strings.ToUpper(idA)+"}")
			require.Equal(t, map[string]string{"id": idA, "time": "", "tag": tag}, got)
			state("locked", "leased", "infinite")
			h.fails(t, 409, "LeaseAlreadyPresent", "PUT", target, "", v, act("acquire"), "x-ms-lease-duration: 15")
			require.Equal(t, idA, do(200, act("renew"), "x-ms-lease-id: "+idA)["id"])
			require.Equal(t, idB, do(200, act("change"), "x-ms-lease-id: "+idA, "x-ms-proposed-lease-id: "+idB)["id"])
			h.fails(t, 409, "LeaseIdMismatchWithLeaseOperation", "PUT", target, "", v, act("renew"), "x-ms-lease-id: "+idA)
			require.Equal(t, "30", do(202, act("break"), "x-ms-lease-break-period: 30")["time"])
			state("locked", "breaking", "")
			h.fails(t, 409, "LeaseIsBreakingAndCannotBeAcquired", "PUT", target, "", v, act("acquire"), "x-ms-lease-duration: 15", "x-ms-proposed-lease-id: "+idB)
			require.Equal(t, "0", do(202, act("break"), "x-ms-lease-break-period: 0")["time"])
			state("unlocked", "broken", "")
			h.fails(t, 409, "LeaseIsBrokenAndCannotBeRenewed", "PUT", target, "", v, act("renew"), "x-ms-lease-id: "+idB)
			do(200, act("release"), "x-ms-lease-id: "+idB)
			state("unlocked", "available", "")
			h.fails(t, 409, "LeaseNotPresentWithLeaseOperation", "PUT", target, "", v, act("break"))
			invented := do(201, act("acquire"), "x-ms-lease-duration: 60")["id"]
			require.Len(t, invented, 36)
			state("locked", "leased", "fixed")
			do(200, act("release"), "x-ms-lease-id: "+invented)
			for _, bad := range [][]string{{act("acquire")}, {act("change"), "x-ms-lease-id: " + idA}, {act("renew")}, {act("release")}, {}} {
				h.fails(t, 400, "MissingRequiredHeader", "PUT", target, "", append([]string{v}, bad...)...)
			}
			for _, bad := range [][]string{{act("acquire"), "x-ms-lease-duration: 14"}, {act("acquire"), "x-ms-lease-duration: 61"}, {act("acquire"), "x-ms-lease-duration: x"},
				{act("renew"), "x-ms-lease-id: 1"}, {act("acquire"), "x-ms-lease-duration: 15", "x-ms-proposed-lease-id: 1"}, {act("break"), "x-ms-lease-break-period: 61"}, {act("steal")}} {
				h.fails(t, 400, "InvalidHeaderValue", "PUT", target, "", append([]string{v}, bad...)...)
			}
		})
	}
	h.fails(t, 404, "BlobNotFound", "PUT", "/acct/box/none?comp=lease", "", v, "x-ms-lease-action: break")
	h.fails(t, 404, "ContainerNotFound", "PUT", "/acct/none?restype=container&comp=lease", "", v, "x-ms-lease-action: break")
	h.fails(t, 412, "ConditionNotMet", "PUT", "/acct/box/b?comp=lease", "", v, "x-ms-lease-action: acquire", "x-ms-lease-duration: 15", `If-Match: "0x1"`)
}

// TestLeasedBlob: what a lease guards, operation by operation.
func TestLeasedBlob(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
	const upd = "x-ms-page-write: update"
	for name, kind := range map[string][]string{"block": {isBlock}, "append": {isAppend}, "page": {isPage, "x-ms-blob-content-length: 512"}} {
		h.must(t, 201, "PUT", "/acct/box/"+name, "", append(kind, v)...)
		h.must(t, 201, "PUT", "/acct/box/"+name+"?comp=lease", "", v, "x-ms-lease-action: acquire", "x-ms-lease-duration: -1", "x-ms-proposed-lease-id: "+idA)
	}
	tags := "<Tags><TagSet/></Tags>"
	for _, op := range []struct {
		method, target, body string
		ok                   int
		write                bool
		header               []string
	}{
		{"PUT", "block", "x", 201, true, []string{isBlock}},
		{"PUT", "block?comp=block&blockid=QQ%3D%3D", "x", 201, true, nil},
		{"PUT", "block?comp=blocklist", "<BlockList/>", 201, true, nil},
		{"PUT", "block?comp=metadata", "", 200, true, nil},
		{"PUT", "block?comp=properties", "", 200, true, nil},
		{"PUT", "block?comp=tags", tags, 204, true, nil},
		{"GET", "block?comp=tags", "", 200, false, nil},
		{"GET", "block", "", 200, false, nil},
		{"GET", "block?comp=metadata", "", 200, false, nil},
		{"GET", "block?comp=blocklist&blocklisttype=all", "", 200, false, nil},
		{"PUT", "block?comp=snapshot", "", 201, false, nil},
		{"PUT", "append?comp=appendblock", "x", 201, true, nil},
		{"PUT", "append?comp=seal", "", 200, true, nil},
		{"PUT", "page?comp=page", pagesOf('x', 1), 201, true, []string{upd, ranges(0, 512)}},
		{"PUT", "page?comp=properties", "", 200, true, []string{"x-ms-blob-content-length: 1024"}},
		{"GET", "page?comp=pagelist", "", 200, false, nil},
		{"DELETE", "append", "", 202, true, nil},
	} {
		target, header := "/acct/box/"+op.target, append(op.header, v)
		h.fails(t, 412, "LeaseIdMismatchWithBlobOperation", op.method, target, op.body, append(header, "x-ms-lease-id: "+idB)...)
		h.fails(t, 400, "InvalidHeaderValue", op.method, target, op.body, append(header, "x-ms-lease-id: x")...)
		if op.write {
			h.fails(t, 412, "LeaseIdMissing", op.method, target, op.body, header...)
		} else {
			h.must(t, op.ok, op.method, target, op.body, header...)
		}
		h.must(t, op.ok, op.method, target, op.body, append(header, "x-ms-lease-id: "+idA)...)
	}
	require.Equal(t, "leased", h.must(t, 200, "HEAD", "/acct/box/block", "", v).Header.Get("x-ms-lease-state"), "an overwrite keeps the lease")
	h.must(t, 201, "PUT", "/acct/box/free", "x", v, isBlock)
	h.fails(t, 412, "LeaseNotPresentWithBlobOperation", "GET", "/acct/box/free", "", v, "x-ms-lease-id: "+idA)
	h.fails(t, 412, "LeaseNotPresentWithBlobOperation", "PUT", "/acct/box/new", "x", v, isBlock, "x-ms-lease-id: "+idA)
	h.must(t, 201, "PUT", "/acct/box?restype=container&comp=lease", "", v, "x-ms-lease-action: acquire", "x-ms-lease-duration: -1", "x-ms-proposed-lease-id: "+idA)
	h.fails(t, 412, "LeaseIdMissing", "DELETE", "/acct/box?restype=container", "", v)
	h.fails(t, 412, "LeaseIdMismatchWithContainerOperation", "GET", "/acct/box?restype=container", "", v, "x-ms-lease-id: "+idB)
	h.must(t, 200, "PUT", "/acct/box?restype=container&comp=metadata", "", v)
	h.must(t, 202, "DELETE", "/acct/box?restype=container", "", v, "x-ms-lease-id: "+idA)
}

// TestCreateOnlyUnderLease: Put Blob of a writer that names the lease of a blob that is there writes over it, If-None-Match: * or not, as
// recorded of the service; block lists and copies, of which nothing is recorded, overwrite nothing.
func TestCreateOnlyUnderLease(t *testing.T) {
	h := newHouse(t)
	const id = "x-ms-lease-id: 6a0a1d7e-8b2e-4f0f-9b59-111111111111"
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
	for _, w := range []struct {
		target, body string
		header       []string
		over         bool
	}{
		{"/acct/box/b", "content", []string{isBlock}, true},
		{"/acct/box/b?comp=blocklist", "<BlockList/>", nil, false},
		{"/acct/box/b", "", []string{"x-ms-copy-source: http://127.0.0.1/acct/box/source"}, false},
	} {
		write := func(more ...string) []string {
			return append(append([]string{v, "If-None-Match: *"}, w.header...), more...)
		}
		h.must(t, 201, "PUT", "/acct/box/source", "source", v, isBlock)
		h.must(t, 201, "PUT", "/acct/box/b", "old", v, isBlock)
		h.fails(t, 409, "BlobAlreadyExists", "PUT", w.target, w.body, write()...)
		h.fails(t, 412, "LeaseNotPresentWithBlobOperation", "PUT", w.target, w.body, write(id)...)
		h.must(t, 201, "PUT", "/acct/box/b?comp=lease", "", v, "x-ms-lease-action: acquire", "x-ms-lease-duration: -1", "x-ms-proposed-lease-id: 6a0a1d7e-8b2e-4f0f-9b59-111111111111")
		h.fails(t, 412, "LeaseIdMissing", "PUT", w.target, w.body, write()...)
		h.fails(t, 412, "LeaseIdMismatchWithBlobOperation", "PUT", w.target, w.body, write("x-ms-lease-id: 6a0a1d7e-8b2e-4f0f-9b59-222222222222")...)
		if w.over {
			require.Less(t, h.Do("PUT", w.target, w.body, write(id)...).Status, 300)
			require.NotEqual(t, "old", h.text(t, "/acct/box/b"))
		} else {
			h.fails(t, 409, "BlobAlreadyExists", "PUT", w.target, w.body, write(id)...)
			require.Equal(t, "old", h.text(t, "/acct/box/b"))
		}
		h.fails(t, 412, "ConditionNotMet", "PUT", w.target, w.body, append([]string{v, id, `If-Match: "0x1"`}, w.header...)...)
		h.must(t, 200, "PUT", "/acct/box/b?comp=lease", "", v, id, "x-ms-lease-action: release")
	}
}
