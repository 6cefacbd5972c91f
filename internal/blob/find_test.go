package blob

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTagsOnTheWire(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
	b := "/acct/box/b"
	tag := h.must(t, 201, "PUT", b, "x", v, isBlock, "x-ms-tags: b=2&a=1%2B1").Header.Get("ETag")
	require.Equal(t, bom+"<Tags><TagSet><Tag><Key>a</Key><Value>1+1</Value></Tag><Tag><Key>b</Key><Value>2</Value></Tag></TagSet></Tags>", h.text(t, b+"?comp=tags"))
	r := h.must(t, 200, "HEAD", b, "", v)
	require.Equal(t, "2", r.Header.Get("x-ms-tag-count"))
	set := func(pairs ...string) string {
		s := "<Tags><TagSet>"
		for i := 0; i < len(pairs); i += 2 {
			s += "<Tag><Key>" + pairs[i] + "</Key><Value>" + pairs[i+1] + "</Value></Tag>"
		}
		return s + "</TagSet></Tags>"
	}
	h.must(t, 204, "PUT", b+"?comp=tags", set("c", "3"), v)
	r = h.must(t, 200, "HEAD", b, "", v)
	require.Equal(t, []string{"1", tag}, []string{r.Header.Get("x-ms-tag-count"), r.Header.Get("ETag")}, "tags do not change the ETag")
	for _, bad := range [][2]string{{"<Tags>", "InvalidXmlDocument"}, {set("", "1"), "EmptyTagName"}, {set("a", "1", "a", "2"), "DuplicateTagNames"}, {set("a", "!"), "InvalidTag"}, {set(strings.Split(strings.Repeat("a,b,", 11), ",")[:22]...), "TagsTooLarge"}} {
		h.fails(t, 400, bad[1], "PUT", b+"?comp=tags", bad[0], v)
	}
	h.fails(t, 400, "Md5Mismatch", "PUT", b+"?comp=tags", set("c", "4"), v, "Content-MD5: AAAAAAAAAAAAAAAAAAAAAA==")
	h.fails(t, 404, "BlobNotFound", "PUT", "/acct/box/none?comp=tags", set(), v)
	h.fails(t, 404, "BlobNotFound", "GET", "/acct/box/none?comp=tags", "", v)
	h.fails(t, 400, "DuplicateTagNames", "PUT", b, "x", v, isBlock, "x-ms-tags: a=1&a=2")

	// x-ms-if-tags on reads and writes.
	yes, no := "x-ms-if-tags: c='3' OR none='x'", "x-ms-if-tags: NOT c='3'"
	for _, op := range [][3]string{{"GET", "", ""}, {"HEAD", "", ""}, {"GET", "?comp=tags", ""}, {"PUT", "?comp=metadata", ""}, {"PUT", "?comp=snapshot", ""}, {"PUT", "?comp=tags", set("c", "3")}, {"GET", "?comp=blocklist", ""}} {
		h.fails(t, 412, "ConditionNotMet", op[0], b+op[1], op[2], v, no)
		require.Less(t, h.Do(op[0], b+op[1], op[2], v, yes).Status, 300, "%v", op)
	}
	h.fails(t, 412, "ConditionNotMet", "PUT", b, "y", v, isBlock, no)
	h.fails(t, 400, "InvalidHeaderValue", "GET", b, "", v, "x-ms-if-tags: @container='box'")
	h.fails(t, 412, "ConditionNotMet", "PUT", b+"?comp=tags", set(), v, `x-ms-blob-if-match: "0x1"`)
	s := h.must(t, 201, "PUT", b+"?comp=snapshot", "", v).Header.Get("x-ms-snapshot")
	h.must(t, 204, "PUT", b+"?comp=tags", set(), v)
	require.Equal(t, bom+"<Tags><TagSet></TagSet></Tags>", h.text(t, b+"?comp=tags"))
	require.Equal(t, bom+set("c", "3"), h.text(t, b+"?comp=tags&snapshot="+s))
	require.Empty(t, h.must(t, 200, "HEAD", b, "", v).Header.Get("x-ms-tag-count"))
	h.must(t, 202, "DELETE", b, "", v, "x-ms-delete-snapshots: include")
	h.empty(t)
}

func TestFindBlobs(t *testing.T) {
	h := newHouse(t)
	for _, c := range []string{"one", "two"} {
		h.must(t, 201, "PUT", "/acct/"+c+"?restype=container", "", v)
		for i := range 5 {
			h.must(t, 201, "PUT", fmt.Sprintf("/acct/%s/b%d", c, i), "x", v, isBlock, fmt.Sprintf("x-ms-tags: n=%d&c=%s&same=yes", i, c))
		}
	}
	find := func(target, where, more string) string {
		return h.text(t, target+"comp=blobs&where="+url.QueryEscape(where)+more)
	}
	require.Equal(t, bom+`<EnumerationResults ServiceEndpoint="http://127.0.0.1/acct/"><Where>n=&apos;3&apos; AND c=&apos;two&apos;</Where><Blobs><Blob><Name>b3</Name><ContainerName>two</ContainerName>`+
		`<Tags><TagSet><Tag><Key>c</Key><Value>two</Value></Tag><Tag><Key>n</Key><Value>3</Value></Tag></TagSet></Tags></Blob></Blobs><NextMarker /></EnumerationResults>`,
		find("/acct?", "n='3' AND c='two'", ""))
	names := func(page string) (found []string) {
		for _, part := range strings.Split(page, "<Blob>")[1:] {
			name, _, _ := strings.Cut(strings.TrimPrefix(part, "<Name>"), "<")
			_, rest, _ := strings.Cut(part, "<ContainerName>")
			c, _, _ := strings.Cut(rest, "<")
			found = append(found, c+"/"+name)
		}
		return found
	}
	for where, want := range map[string][]string{
		`n='3'`:                            {"one/b3", "two/b3"},
		`n>='3'`:                           {"one/b3", "one/b4", "two/b3", "two/b4"},
		`n>'1' AND n<'3'`:                  {"one/b2", "two/b2"},
		`n<='0' AND same='yes'`:            {"one/b0", "two/b0"},
		`@container='two' AND "n" > '3'`:   {"two/b4"},
		`@container='none' AND same='yes'`: nil,
		`n='1' AND n='2'`:                  nil,
		`same='no'`:                        nil,
		`N='1'`:                            nil,
	} {
		require.Equal(t, want, names(find("/acct?", where, "")), where)
		var inOne []string
		for _, n := range want {
			if strings.HasPrefix(n, "one/") {
				inOne = append(inOne, n)
			}
		}
		const one = "/acct/one?restype=container&"
		if strings.Contains(where, "@container") {
			h.fails(t, 400, "InvalidQueryParameterValue", "GET", one+"comp=blobs&where="+url.QueryEscape(where), "", v)
			continue
		}
		require.Equal(t, inOne, names(find(one, where, "")), where)
	}
	var all []string
	for marker, pages := "", 0; ; pages++ {
		page := find("/acct?", "same='yes'", "&maxresults=3&marker="+marker)
		all = append(all, names(page)...)
		_, rest, _ := strings.Cut(page, "<NextMarker>")
		if marker, _, _ = strings.Cut(rest, "<"); marker == "" {
			require.Equal(t, 3, pages)
			break
		}
	}
	require.Len(t, all, 10)
	require.True(t, slices.IsSorted(all))
	h.fails(t, 400, "MissingRequiredQueryParameter", "GET", "/acct?comp=blobs", "", v)
	require.Equal(t, []string{"one/b3", "two/b3"}, names(find("/acct?", "n='3'", "&include=none")))
	h.fails(t, 400, "InvalidQueryParameterValue", "GET", "/acct?comp=blobs&include=all&where=n%3D%271%27", "", v)
	r := h.fails(t, 400, "InvalidQueryParameterValue", "GET", "/acct?comp=blobs&where=x", "", v)
	require.Contains(t, string(r.Body), "<QueryParameterName>where</QueryParameterName>")
	h.fails(t, 400, "InvalidQueryParameterValue", "GET", "/acct?comp=blobs&where=n%3D%271%27&marker=%21", "", v)
	h.fails(t, 404, "ContainerNotFound", "GET", "/acct/none?restype=container&comp=blobs&where=n%3D%271%27", "", v)
	h.must(t, 202, "DELETE", "/acct/one?restype=container", "", v)
	require.Equal(t, []string{"two/b3"}, names(find("/acct?", "n='3'", "")))
}

// Only current versions and no snapshots are found, as in Azure, where tags of earlier versions are not indexed.
func TestFindFindsCurrentVersions(t *testing.T) {
	h := newHouse(t, versioned)
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
	first := h.must(t, 201, "PUT", "/acct/box/b", "x", v, isBlock, "x-ms-tags: n=1").Header.Get("x-ms-version-id")
	second := h.must(t, 201, "PUT", "/acct/box/b", "y", v, isBlock, "x-ms-tags: n=2").Header.Get("x-ms-version-id")
	h.must(t, 201, "PUT", "/acct/box/b?comp=snapshot", "", v)
	require.Contains(t, h.text(t, "/acct/box/b?comp=tags&versionid="+first), "<Value>1</Value>") // it keeps its own
	find := func(n string) string {
		return h.text(t, "/acct?comp=blobs&include=versions&where=n%3D%27"+n+"%27")
	}
	require.NotContains(t, find("1"), "<Blob>")
	page := find("2")
	require.Equal(t, 1, strings.Count(page, "<Blob>"))
	require.Contains(t, page, "<VersionId>"+second+"</VersionId><IsCurrentVersion>true</IsCurrentVersion>")
}
