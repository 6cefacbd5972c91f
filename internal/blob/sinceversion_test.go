package blob

import (
	"cmp"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/protocol"
)

// since tells the first version that has a header of an answer or an element of a listing, as the reference of Get Blob, Get Blob
// Properties, Put Blob, Delete Blob, List Blobs and Get Container Properties has it; for Content-CRC64 and the encryption scope of a
// container, recordings of the service in 2018-03-28, 2018-11-09 and 2019-02-02.
var since = map[string]protocol.Version{
	"Accept-Ranges": protocol.V20110818, "Content-Disposition": protocol.V20130815,
	"X-Ms-Lease-State": protocol.V20120212, "X-Ms-Lease-Duration": protocol.V20120212,
	"X-Ms-Copy-Id": protocol.V20120212, "X-Ms-Copy-Source": protocol.V20120212, "X-Ms-Copy-Status": protocol.V20120212,
	"X-Ms-Copy-Progress": protocol.V20120212, "X-Ms-Copy-Completion-Time": protocol.V20120212,
	"X-Ms-Server-Encrypted": protocol.V20151211, "X-Ms-Request-Server-Encrypted": protocol.V20151211,
	"X-Ms-Incremental-Copy": protocol.V20160531, "X-Ms-Copy-Destination-Snapshot": protocol.V20160531, "X-Ms-Blob-Content-Md5": protocol.V20160531,
	"X-Ms-Access-Tier": protocol.V20170417, "X-Ms-Access-Tier-Inferred": protocol.V20170417, "X-Ms-Access-Tier-Change-Time": protocol.V20170417,
	"X-Ms-Archive-Status": protocol.V20170417, "X-Ms-Delete-Type-Permanent": protocol.V20170729,
	"X-Ms-Creation-Time": protocol.V20171109, "X-Ms-Has-Immutability-Policy": protocol.V20171109, "X-Ms-Has-Legal-Hold": protocol.V20171109,
	"X-Ms-Encryption-Scope": protocol.V20190202, "X-Ms-Content-Crc64": protocol.V20190202,
	"X-Ms-Default-Encryption-Scope": protocol.V20190202, "X-Ms-Deny-Encryption-Scope-Override": protocol.V20190202,
	"X-Ms-Version-Id": protocol.V20191212, "X-Ms-Is-Current-Version": protocol.V20191212, "X-Ms-Tag-Count": protocol.V20191212,
	"X-Ms-Blob-Sealed": protocol.V20191212, "X-Ms-Rehydrate-Priority": protocol.V20191212,
	"X-Ms-Immutable-Storage-With-Versioning-Enabled": protocol.V20200612,
	"X-Ms-Request-Id": "", "X-Ms-Version": "", "X-Ms-Blob-Type": "", "X-Ms-Lease-Status": "", "X-Ms-Meta-A": "", "X-Ms-Snapshot": "",
	"X-Ms-Blob-Sequence-Number": "", "X-Ms-Blob-Committed-Block-Count": "", "X-Ms-Blob-Public-Access": "",

	"LeaseState": protocol.V20120212, "LeaseDuration": protocol.V20120212, "CopyId": protocol.V20120212, "CopySource": protocol.V20120212,
	"CopyStatus": protocol.V20120212, "CopyProgress": protocol.V20120212, "CopyCompletionTime": protocol.V20120212,
	"PublicAccess":    protocol.V20130815, // the reference does not say; the listings before name few things
	"ServerEncrypted": protocol.V20151211, "IncrementalCopy": protocol.V20160531, "CopyDestinationSnapshot": protocol.V20160531,
	"AccessTier": protocol.V20170417, "AccessTierInferred": protocol.V20170417, "AccessTierChangeTime": protocol.V20170417, "ArchiveStatus": protocol.V20170417,
	"Creation-Time": protocol.V20171109, "HasImmutabilityPolicy": protocol.V20171109, "HasLegalHold": protocol.V20171109,
	"Content-CRC64": protocol.V20190202, "EncryptionScope": protocol.V20190202, "DefaultEncryptionScope": protocol.V20190202,
	"DenyEncryptionScopeOverride": protocol.V20190202,
	"VersionId":                   protocol.V20191212, "IsCurrentVersion": protocol.V20191212, "TagCount": protocol.V20191212, "Sealed": protocol.V20191212,
	"RehydratePriority": protocol.V20191212, "OrMetadata": protocol.V20191212, "ImmutableStorageWithVersioningEnabled": protocol.V20200612,
	"Name": "", "Properties": "", "Last-Modified": "", "Etag": "", "Content-Length": "", "Content-Type": "", "Content-Encoding": "", "Content-Language": "",
	"Content-MD5": "", "Cache-Control": "", "BlobType": "", "LeaseStatus": "", "x-ms-blob-sequence-number": "", "Metadata": "", "a": "", "Snapshot": "",
}

// TestAnswersTellWhatTheirVersionKnew: what came with a version is in the answers of that version and of later ones, and in none
// before. Whatever the newest version tells must stand in the table.
func TestAnswersTellWhatTheirVersionKnew(t *testing.T) {
	h := newHouse(t, func(_ *house, a *account.Account) { a.Versioning = true })
	newest := "x-ms-version: " + string(protocol.V20250705) // the last in which GET tells of no tier and listings are in XML alone
	meta, lease := "x-ms-meta-a: 1", []string{"x-ms-lease-action: acquire", "x-ms-lease-duration: -1", newest}
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", newest, meta, "x-ms-blob-public-access: container")
	h.must(t, 201, "PUT", "/acct/box?restype=container&comp=lease", "", lease...)
	h.must(t, 201, "PUT", "/acct/box/source", "content", newest, isBlock, meta)
	source := "x-ms-copy-source: http://" + h.Addr + "/acct/box/source"
	h.must(t, 202, "PUT", "/acct/box/block", "", newest, source, "x-ms-tags: k=v", "x-ms-access-tier: Cool", "x-ms-encryption-scope: secret")
	h.must(t, 200, "PUT", "/acct/box/block?comp=properties", "", newest, "x-ms-blob-content-disposition: inline", "x-ms-blob-content-md5: mgNkuembtIDdJeHwKEyFVQ==")
	h.must(t, 201, "PUT", "/acct/box/block?comp=lease", "", lease...)
	h.must(t, 201, "PUT", "/acct/box/cold", "content", newest, isBlock, "x-ms-access-tier: Archive")
	h.must(t, 201, "PUT", "/acct/box/disk", "", newest, "x-ms-blob-type: PageBlob", "x-ms-blob-content-length: 512", meta)
	snapshot := h.must(t, 201, "PUT", "/acct/box/disk?comp=snapshot", "", newest).Header.Get("x-ms-snapshot")
	h.must(t, 202, "PUT", "/acct/box/follower?comp=incrementalcopy", "", newest, "x-ms-copy-source: http://"+h.Addr+"/acct/box/disk?snapshot="+snapshot)
	h.must(t, 201, "PUT", "/acct/logs?restype=container", "", newest)
	h.must(t, 201, "PUT", "/acct/logs/log", "", newest, "x-ms-blob-type: AppendBlob", meta)
	h.must(t, 200, "PUT", "/acct/logs/log?comp=seal", "", newest)
	h.must(t, 202, "PUT", "/acct/box/cold?comp=tier", "", newest, "x-ms-access-tier: Hot")
	requests := []struct {
		status int
		text   string
		header []string
		first  protocol.Version // that serves the request
	}{
		{200, "HEAD /acct/box/source", nil, ""},
		{200, "HEAD /acct/box/block", nil, ""},
		{206, "GET /acct/box/block", []string{"Range: bytes=0-1"}, ""},
		{200, "HEAD /acct/box/cold", nil, ""},
		{200, "HEAD /acct/box/disk", nil, ""},
		{200, "HEAD /acct/box/follower", nil, ""},
		{200, "HEAD /acct/logs/log", nil, protocol.V20150221},
		{201, "PUT /acct/box/written", []string{isBlock, "x-ms-encryption-scope: secret"}, ""},
		{201, "PUT /acct/box/written?comp=block&blockid=QQ==", nil, ""},
		{201, "PUT /acct/box/written?comp=snapshot", nil, ""},
		{202, "DELETE /acct/box/written", []string{"x-ms-delete-snapshots: include"}, ""},
		{200, "GET /acct/box?restype=container", nil, ""},
		{200, "GET /acct/box?restype=container&comp=list&include=metadata,copy", nil, protocol.V20120212},
		{200, "GET /acct/box?restype=container&comp=list&include=snapshots", nil, ""},
		{200, "GET /acct/logs?restype=container&comp=list&include=metadata", nil, protocol.V20150221},
		{200, "GET /acct?comp=list&include=metadata", nil, ""},
	}
	element := regexp.MustCompile(`<([A-Za-z][A-Za-z0-9-]*)`)
	met := map[string]bool{}
	for _, request := range requests {
		method, target, _ := strings.Cut(request.text, " ")
		told := func(version protocol.Version) map[string]bool {
			body := ""
			if strings.Contains(target, "comp=block") {
				body = "block"
			}
			if method == "DELETE" {
				h.must(t, 201, "PUT", target, "", newest, isBlock)
			}
			r := h.must(t, request.status, method, target, body, append(request.header, "x-ms-version: "+string(version))...)
			names := map[string]bool{}
			for name := range r.Header {
				if strings.HasPrefix(name, "X-Ms-") || since[name] != "" {
					names[name] = true
				}
			}
			if _, entries, ok := strings.Cut(string(r.Body), "s><"); ok && strings.Contains(target, "comp=list") {
				entries, _, _ = strings.Cut(entries, "<NextMarker")
				for _, m := range element.FindAllStringSubmatch(entries, -1) {
					names[m[1]] = true
				}
			}
			delete(names, "Blob")
			delete(names, "Container")
			delete(names, "Url") // which went with 2013-08-15: TestListingsOfOldVersions
			return names
		}
		all := told(protocol.V20250705)
		for name := range all {
			_, known := since[name]
			require.True(t, known, "%s: %s tells since when", request.text, name)
			met[name] = true
		}
		for _, version := range protocol.KnownVersions() {
			if version < request.first || version >= protocol.V20250705 {
				continue
			}
			got := told(version)
			for name := range got {
				require.True(t, all[name], "%s in %s: %s went later", request.text, version, name)
			}
			for name := range all {
				first := since[name]
				if name == "LeaseStatus" && strings.HasPrefix(target, "/acct?") {
					first = protocol.V20120212 // containers have leases since then
				}
				require.Equal(t, first <= version, got[name], "%s in %s: %s", request.text, version, name)
			}
		}
	}
	for _, name := range slices.SortedFunc(maps.Keys(since), cmp.Compare) {
		require.True(t, met[name] || name == http.CanonicalHeaderKey("x-ms-blob-public-access"), "no answer had %s", name)
	}
}

// TestParametersComeWithTheirVersion: a version does not know what a later one brought, and says so rather than overlook it.
func TestParametersComeWithTheirVersion(t *testing.T) {
	h := newHouse(t, func(_ *house, a *account.Account) { a.Versioning = true })
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
	version := h.must(t, 201, "PUT", "/acct/box/b", "content", v, isBlock).Header.Get("x-ms-version-id")
	h.must(t, 201, "PUT", "/acct/box/disk", "", v, "x-ms-blob-type: PageBlob", "x-ms-blob-content-length: 512")
	disk := h.must(t, 201, "PUT", "/acct/box/disk?comp=snapshot", "", v).Header.Get("x-ms-snapshot")
	snapshot := h.must(t, 201, "PUT", "/acct/box/b?comp=snapshot", "", v).Header.Get("x-ms-snapshot")
	list := "GET /acct/box?restype=container&comp=list&include="
	for request, c := range map[string]struct {
		since protocol.Version
		code  string
	}{
		list + "copy":                                           {protocol.V20120212, "InvalidQueryParameterValue"},
		list + "metadata,deleted":                               {protocol.V20170729, "InvalidQueryParameterValue"},
		list + "tags":                                           {protocol.V20191212, "InvalidQueryParameterValue"},
		list + "versions":                                       {protocol.V20191212, "InvalidQueryParameterValue"},
		list + "immutabilitypolicy":                             {protocol.V20200612, "InvalidQueryParameterValue"},
		list + "legalhold":                                      {protocol.V20200612, "InvalidQueryParameterValue"},
		list + "deletedwithversions":                            {protocol.V20201002, "InvalidQueryParameterValue"},
		"GET /acct?comp=list&include=deleted":                   {protocol.V20191212, "InvalidQueryParameterValue"},
		"GET /acct/box/b?versionid=" + version:                  {protocol.V20191212, "UnsupportedQueryParameter"},
		"PUT /acct/box/b?comp=tier&snapshot=" + snapshot:        {protocol.V20191212, "UnsupportedQueryParameter"},
		"GET /acct/box/disk?comp=pagelist&prevsnapshot=" + disk: {protocol.V20150708, "UnsupportedQueryParameter"},
	} {
		method, target, _ := strings.Cut(request, " ")
		for _, at := range protocol.KnownVersions() {
			if at < protocol.V20170417 && strings.Contains(request, "comp=tier") {
				continue
			}
			header := []string{"x-ms-version: " + string(at), "x-ms-access-tier: Cool"}
			if at >= c.since {
				h.must(t, 200, method, target, "", header...)
			} else {
				h.fails(t, 400, c.code, method, target, "", header...)
			}
		}
	}
	h.fails(t, 400, "UnsupportedQueryParameter", "DELETE", "/acct/box/b?versionid="+version, "", "x-ms-version: 2019-07-07")
	require.Equal(t, "content", h.text(t, "/acct/box/b"))

	// Before 2013-08-15 a lease id on a blob that is not there made the blob; since then it is refused.
	id := "x-ms-lease-id: 6a0a1d7e-8b2e-4f0f-9b59-111111111111"
	h.must(t, 201, "PUT", "/acct/box/leased", "x", isBlock, id, "x-ms-version: 2012-02-12")
	h.fails(t, 412, "LeaseNotPresentWithBlobOperation", "PUT", "/acct/box/leased2", "x", isBlock, id, "x-ms-version: 2013-08-15")
}
