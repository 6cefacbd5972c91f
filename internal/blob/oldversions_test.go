package blob

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
)

// TestListingsOfOldVersions: before 2013-08-15 each entry has its address, and tells nothing that came later.
func TestListingsOfOldVersions(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v, "x-ms-meta-a: 1")
	h.must(t, 201, "PUT", "/acct/box/d/%C3%A4%20b&c", "content", v, isBlock)
	snapshot := h.must(t, 201, "PUT", "/acct/box/d/%C3%A4%20b&c?comp=snapshot", "", v).Header.Get("x-ms-snapshot")
	h.must(t, 201, "PUT", "/acct/box/p", "", v, "x-ms-blob-type: PageBlob", "x-ms-blob-content-length: 512")
	const endpoint = "http://127.0.0.1/acct/"
	later := regexp.MustCompile("Creation-Time|AccessTier|ServerEncrypted|Content-CRC64|Content-Disposition|OrMetadata|ServiceEndpoint|LeaseState|HasLegalHold|DefaultEncryptionScope|VersionId|TagCount")
	for _, version := range []string{"2009-09-19", "2011-08-18", "2012-02-12"} {
		at := "x-ms-version: " + version
		blobs := string(h.must(t, 200, "GET", "/acct/box?restype=container&comp=list&include=snapshots,metadata", "", at).Body)
		require.Contains(t, blobs, `<EnumerationResults ContainerName="`+endpoint+`box">`)
		require.Contains(t, blobs, "<Snapshot>"+snapshot+"</Snapshot><Url>"+endpoint+"box/d/%C3%A4%20b&amp;c?snapshot="+strings.ReplaceAll(snapshot, ":", "%3A")+"</Url><Properties><Last-Modified>")
		require.Contains(t, blobs, "<Name>p</Name><Url>"+endpoint+"box/p</Url>")
		require.Contains(t, blobs, "<x-ms-blob-sequence-number>0</x-ms-blob-sequence-number><BlobType>PageBlob</BlobType><LeaseStatus>unlocked</LeaseStatus>")
		containers := string(h.must(t, 200, "GET", "/acct?comp=list&include=metadata", "", at).Body)
		require.Contains(t, containers, `<EnumerationResults AccountName="`+endpoint+`">`)
		require.Contains(t, containers, "<Name>box</Name><Url>"+endpoint+"box</Url><Properties><Last-Modified>")
		require.Contains(t, containers, "<Metadata><a>1</a></Metadata>")
		require.Equal(t, version >= "2011-08-18", strings.Contains(containers, `<Etag>"0x`), "quoted since then")
		if version < "2012-02-12" {
			require.NotRegexp(t, later, blobs)
			require.NotRegexp(t, later, containers)
			h.fails(t, 400, "InvalidQueryParameterValue", "GET", "/acct/box?restype=container&comp=list&include=copy", "", at)
		}
		h.fails(t, 400, "InvalidQueryParameterValue", "GET", "/acct/box?restype=container&comp=list&include=deleted", "", at)
		h.fails(t, 400, "InvalidQueryParameterValue", "GET", "/acct?comp=list&include=deleted", "", at)
	}
	next := string(h.must(t, 200, "GET", "/acct/box?restype=container&comp=list", "", "x-ms-version: 2013-08-15").Body)
	require.Contains(t, next, `<EnumerationResults ServiceEndpoint="`+endpoint+`" ContainerName="box">`)
	require.NotContains(t, next, "<Url>")
}

// TestCopyBeforeItWasAsynchronous: before 2012-02-12 a source is named by account, container and blob.
func TestCopyBeforeItWasAsynchronous(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
	h.must(t, 201, "PUT", "/acct/$root?restype=container", "", v)
	h.must(t, 201, "PUT", "/acct/box/a%20b", "content", v, isBlock, "x-ms-meta-a: 1")
	h.must(t, 201, "PUT", "/acct/rooted", "of root", v, isBlock)
	snapshot := h.must(t, 201, "PUT", "/acct/box/a%20b?comp=snapshot", "", v).Header.Get("x-ms-snapshot")
	h.must(t, 201, "PUT", "/acct/box/a%20b", "newer", v, isBlock)
	const at = "x-ms-version: 2011-08-18"
	for source, want := range map[string]string{"/acct/box/a%20b": "newer", "/acct/box/a%20b?snapshot=" + snapshot: "content", "/acct/rooted": "of root"} {
		r := h.must(t, 201, "PUT", "/acct/box/copy", "", at, "x-ms-copy-source: "+source)
		require.Empty(t, r.Header.Get("x-ms-copy-id"))
		require.Empty(t, r.Header.Get("x-ms-copy-status"))
		require.NotEmpty(t, r.Header.Get("ETag"))
		require.Equal(t, want, h.text(t, "/acct/box/copy"))
	}
	h.must(t, 201, "PUT", "/acct/box/copy?comp=lease", "", "x-ms-version: 2011-08-18", "x-ms-lease-action: acquire", "x-ms-proposed-lease-id: 6a0a1d7e-8b2e-4f0f-9b59-111111111111")
	h.must(t, 201, "PUT", "/acct/box/copy", "", at, "x-ms-copy-source: /acct/rooted", "x-ms-lease-id: 6a0a1d7e-8b2e-4f0f-9b59-111111111111")
	h.fails(t, 412, "LeaseIdMissing", "PUT", "/acct/box/copy", "", at, "x-ms-copy-source: /acct/rooted")
	h.fails(t, 404, "BlobNotFound", "PUT", "/acct/box/new", "", at, "x-ms-copy-source: /acct/box/none")
	h.fails(t, 400, "CopyAcrossAccountsNotSupported", "PUT", "/acct/box/new", "", at, "x-ms-copy-source: /other/box/b")
	for _, source := range []string{"http://" + h.Addr + "/acct/box/a%20b", "/acct", "acct/box/b", "/acct/", "//" + h.Addr + "/acct/box/b"} {
		r := h.Do("PUT", "/acct/box/new", "", at, "x-ms-copy-source: "+source)
		require.Equal(t, 400, r.Status, "%s: %s", source, r)
	}
	h.fails(t, 400, "InvalidHeaderValue", "PUT", "/acct/box/new", "", v, "x-ms-copy-source: /acct/rooted")
	h.fails(t, 404, "BlobNotFound", "HEAD", "/acct/box/new", "", v)
}

// TestAppendBlobsOfOldVersions: a version before append blobs is told of one by an error, on the blob and in a listing whose page has it,
// and changes nothing.
func TestAppendBlobsOfOldVersions(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
	h.must(t, 201, "PUT", "/acct/box/a", "content", v, isBlock)
	h.must(t, 201, "PUT", "/acct/box/log", "", v, "x-ms-blob-type: AppendBlob", "x-ms-meta-a: 1")
	h.must(t, 201, "PUT", "/acct/box/log?comp=appendblock", "line", v)
	for _, version := range []string{"2009-09-19", "2012-02-12", "2014-02-14"} {
		at := "x-ms-version: " + version
		for _, request := range []string{"GET /log", "GET /log?comp=metadata", "PUT /log?comp=metadata", "PUT /log?comp=properties", "PUT /log?comp=snapshot", "PUT /log?comp=lease", "DELETE /log"} {
			method, path, _ := strings.Cut(request, " ")
			r := h.fails(t, 409, "FeatureVersionMismatch", method, "/acct/box"+path, "", at, "x-ms-lease-action: break")
			require.Contains(t, string(r.Body), "<Message>The operation for AppendBlob requires at least version 2015-02-21.\n", request)
		}
		require.Equal(t, 409, h.Do("HEAD", "/acct/box/log", "", at).Status)
		r := h.fails(t, 409, "FeatureVersionMismatch", "GET", "/acct/box?restype=container&comp=list", "", at)
		require.Contains(t, string(r.Body), "<Message>The type of a blob in the container is unrecognized by this version.\n")
		h.must(t, 200, "GET", "/acct/box?restype=container&comp=list&maxresults=1", "", at)
		h.must(t, 200, "GET", "/acct/box?restype=container&comp=list&prefix=a", "", at)
		h.must(t, 200, "GET", "/acct/box/a", "", at)
		leased := h.must(t, 200, "HEAD", "/acct/box/a", "", at).Header
		require.Equal(t, "unlocked", leased.Get("x-ms-lease-status"))
		require.Equal(t, version >= "2012-02-12", leased.Get("x-ms-lease-state") != "", "there since then")
	}
	require.Equal(t, "line", h.text(t, "/acct/box/log"))
	h.must(t, 200, "GET", "/acct/box/log", "", "x-ms-version: 2015-02-21")
	h.must(t, 200, "GET", "/acct/box?restype=container&comp=list", "", "x-ms-version: 2015-02-21")
}

// TestDeletedWithVersions: a name that has no current blob, but versions, is one entry with the newest one's properties. It looks as
// the service's was recorded (@azure/storage-blob, June 2021).
func TestDeletedWithVersions(t *testing.T) {
	h := newHouse(t, func(_ *house, a *account.Account) { a.Versioning = true })
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
	for _, name := range []string{"d/a", "d/b", "e"} {
		h.must(t, 201, "PUT", "/acct/box/"+name, "one", v, isBlock)
		h.must(t, 201, "PUT", "/acct/box/"+name, "second", v, isBlock)
		h.must(t, 201, "PUT", "/acct/box/"+name+"?comp=snapshot", "", v)
	}
	h.must(t, 202, "DELETE", "/acct/box/d/a", "", v, "x-ms-delete-snapshots: include")
	h.must(t, 202, "DELETE", "/acct/box/e", "", v, "x-ms-delete-snapshots: include")
	const list = "/acct/box?restype=container&comp=list&include="
	entry := func(name string) string {
		return `<Blob><Name>` + name + `</Name><HasVersionsOnly>true</HasVersionsOnly><Properties><Creation-Time>[^<]*</Creation-Time><Last-Modified>[^<]*</Last-Modified><Etag>[^<]*</Etag><Content-Length>6</Content-Length>.*?<LeaseStatus>unlocked</LeaseStatus><LeaseState>available</LeaseState><ServerEncrypted>true</ServerEncrypted></Properties><OrMetadata /></Blob>`
	}
	all := h.text(t, list+"deletedwithversions")
	require.Regexp(t, `<Blobs>`+entry("d/a")+`<Blob><Name>d/b</Name><VersionId>[^<]*</VersionId><IsCurrentVersion>true</IsCurrentVersion>.*`+entry("e")+`</Blobs>`, all)
	require.Equal(t, 3, strings.Count(all, "<Blob>"))
	require.NotContains(t, h.text(t, list), "HasVersionsOnly")
	versions := h.text(t, list+"versions,deletedwithversions")
	require.NotContains(t, versions, "HasVersionsOnly", "the versions tell")
	require.Contains(t, h.text(t, list+"deletedwithversions&delimiter=/"), "<BlobPrefix><Name>d/</Name></BlobPrefix><Blob><Name>e</Name><HasVersionsOnly>")
	for page, marker := 0, ""; page < 3; page++ {
		text := h.text(t, list+"deletedwithversions&maxresults=1&marker="+marker)
		require.Contains(t, text, "<Name>"+[]string{"d/a", "d/b", "e"}[page]+"</Name>")
		require.Equal(t, 1, strings.Count(text, "<Blob>"))
		_, rest, _ := strings.Cut(text, "<NextMarker>")
		marker, _, _ = strings.Cut(rest, "<")
	}
	h.must(t, 201, "PUT", "/acct/box/e", "again", v, isBlock)
	require.NotRegexp(t, `<Name>e</Name><HasVersionsOnly>`, h.text(t, list+"deletedwithversions"))
}
