package blob

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/replay"
)

const (
	asArrow = "accept: application/vnd.apache.arrow.stream,application/xml"
	newest  = "x-ms-version: " + string(protocol.Newest)
)

// row is an entry of a listing: texts by the names of elements or columns, of maps as Metadata/name. What is empty is not there.
type row map[string]string

// arrowRows decodes a page of a listing with the library's own reader.
func arrowRows(t *testing.T, body []byte) (rows []row, next string) {
	t.Helper()
	reader, err := ipc.NewReader(bytes.NewReader(body))
	require.NoError(t, err)
	defer reader.Release()
	head := reader.Schema().Metadata().ToMap()
	require.Len(t, head, 2)
	for reader.Next() {
		batch := reader.RecordBatch()
		for i := range int(batch.NumRows()) {
			r := row{}
			for c, field := range reader.Schema().Fields() {
				if batch.Column(c).IsNull(i) {
					continue
				}
				switch col := batch.Column(c).(type) {
				case *array.String:
					r[field.Name] = col.Value(i)
				case *array.Uint64:
					r[field.Name] = strconv.FormatUint(col.Value(i), 10)
				case *array.Boolean:
					r[field.Name] = strconv.FormatBool(col.Value(i))
				case *array.Timestamp:
					require.Equal(t, &arrow.TimestampType{Unit: arrow.Second}, col.DataType())
					r[field.Name] = col.Value(i).ToTime(arrow.Second).Format(http.TimeFormat)
				case *array.Map:
					r[field.Name] = "map"
					from, to := col.ValueOffsets(i)
					for e := from; e < to; e++ {
						r[field.Name+"/"+col.Keys().(*array.String).Value(int(e))] = col.Items().(*array.String).Value(int(e))
					}
				default:
					t.Fatalf("column %s has the type %s", field.Name, col.DataType())
				}
			}
			rows = append(rows, r)
		}
	}
	require.NoError(t, reader.Err())
	require.Equal(t, strconv.Itoa(len(rows)), head["NumberOfRecords"])
	return rows, head["NextMarker"]
}

// xmlRows decodes the same page in XML.
func xmlRows(t *testing.T, body []byte) (rows []row, next string) {
	t.Helper()
	type element struct {
		XMLName  xml.Name
		Encoded  bool      `xml:"Encoded,attr"`
		Text     string    `xml:",chardata"`
		Children []element `xml:",any"`
	}
	var doc struct {
		Blobs      element
		NextMarker string
	}
	require.NoError(t, xml.Unmarshal(body, &doc))
	for _, item := range doc.Blobs.Children {
		r := row{}
		if item.XMLName.Local == "BlobPrefix" {
			r["ResourceType"] = "blobprefix"
		}
		var add func(e element)
		add = func(e element) {
			name := e.XMLName.Local
			switch {
			case name == "Properties":
				for _, c := range e.Children {
					add(c)
				}
			case name == "Metadata":
				r[name] = "map"
				for _, c := range e.Children {
					r[name+"/"+c.XMLName.Local] = c.Text
				}
			case name == "Tags":
				r[name] = "map"
				for _, c := range e.Children[0].Children {
					r[name+"/"+c.Children[0].Text] = c.Children[1].Text
				}
			case name == "Name" && e.Encoded:
				text, err := url.PathUnescape(e.Text)
				require.NoError(t, err)
				r[name] = text
			case e.Text != "":
				r[name] = e.Text
			}
		}
		for _, c := range item.Children {
			add(c)
		}
		rows = append(rows, r)
	}
	return rows, doc.NextMarker
}

// hostileContainer fills a container with names that are hard to write and blobs in every state that a listing shows.
func hostileContainer(t *testing.T, h *house) {
	t.Helper()
	h.must(t, 201, "PUT", "/acct/con?restype=container", "", newest)
	seed := replay.Seed(t)
	rng := rand.New(rand.NewPCG(seed, 1))
	alphabet := []string{"a", "b", "/", "/", "-", "\x01", "\x00", "é", "e\u0301", "\uFFFD", "\uFFFF", "\U0001F600", "%", "+", " ", "&", "<", "]]>", "\u2028", "'", "\""}
	for range 80 {
		var b strings.Builder
		for range rng.IntN(7) + 1 {
			b.WriteString(alphabet[rng.IntN(len(alphabet))])
		}
		h.must(t, 201, "PUT", "/acct/con/"+url.PathEscape(b.String()), "x", v, isBlock)
	}
	h.must(t, 201, "PUT", "/acct/con/"+url.PathEscape(strings.Repeat("\U0001F600", 512)), "", v, isBlock)
	full := []string{v, "x-ms-blob-content-type: text/a&b", "x-ms-blob-content-encoding: gzip", "x-ms-blob-content-language: fr", "x-ms-blob-cache-control: no-cache",
		"x-ms-blob-content-disposition: attachment; filename=\"<&>\"", "x-ms-meta-One: 1 < 2", "x-ms-meta-two: \" & ]]>", "x-ms-tags: a=b&c%20d=%2B"}
	put := func(name string, header ...string) {
		h.must(t, 201, "PUT", "/acct/con/"+name, "", append(slices.Clone(full), header...)...)
	}
	put("full", isBlock)
	put("full", isBlock, "x-ms-meta-third: 3") // an earlier version
	h.must(t, 201, "PUT", "/acct/con/full?comp=snapshot", "", newest)
	put("dir/page", "x-ms-blob-type: PageBlob", "x-ms-blob-content-length: 1024", "x-ms-blob-sequence-number: 7")
	put("dir/log", "x-ms-blob-type: AppendBlob")
	h.must(t, 200, "PUT", "/acct/con/dir/log?comp=seal", "", newest)
	put("dir/cool", isBlock, "x-ms-access-tier: Cool")
	put("dir/archive", isBlock, "x-ms-access-tier: Archive")
	h.must(t, 202, "PUT", "/acct/con/dir/archive?comp=tier", "", v, "x-ms-access-tier: Hot", "x-ms-rehydrate-priority: High")
	put("dir/leased", isBlock)
	h.must(t, 201, "PUT", "/acct/con/dir/leased?comp=lease", "", v, "x-ms-lease-action: acquire", "x-ms-lease-duration: -1")
	put("dir/scope", isBlock)
	h.must(t, 202, "PUT", "/acct/con/dir/copy", "", v, "x-ms-copy-source: http://"+h.Addr+"/acct/con/full")
	h.must(t, 201, "PUT", "/acct/con/dir/half?comp=block&blockid=QQ==", "x", v)
	put("dir/gone", isBlock)
	h.must(t, 202, "DELETE", "/acct/con/dir/gone", "", newest)
	put("only/versions", isBlock)
	h.must(t, 202, "DELETE", "/acct/con/only/versions", "", newest)
}

// TestListArrow: a listing in columns has what the listing in XML has, entry by entry, whatever the names, and page by page.
func TestListArrow(t *testing.T) {
	for _, versions := range []bool{false, true} {
		t.Run(fmt.Sprintf("versions=%t", versions), func(t *testing.T) {
			h := newHouse(t, func(_ *house, a *account.Account) { a.Versioning = versions })
			h.softDelete(t, "7", "")
			hostileContainer(t, h)
			seen := map[string]bool{}
			for _, include := range []string{"", "metadata", "tags", "copy,metadata,tags", "snapshots", "deleted", "uncommittedblobs", "versions",
				"deletedwithversions", "snapshots,deleted,versions,metadata,tags,copy,uncommittedblobs,deletedwithversions"} {
				for _, q := range []url.Values{{}, {"delimiter": {"/"}}, {"prefix": {"dir/"}, "delimiter": {"/"}}, {"prefix": {"none"}}, {"maxresults": {"41"}}, {"maxresults": {"13"}, "delimiter": {"/"}}, {"startFrom": {"b"}}} {
					q = maps.Clone(q)
					q.Set("restype", "container")
					q.Set("comp", "list")
					q.Set("include", include)
					for page := 0; ; page++ {
						target := "/acct/con?" + q.Encode()
						plain, columns := h.must(t, 200, "GET", target, "", newest), h.must(t, 200, "GET", target, "", newest, asArrow)
						require.Equal(t, "application/xml", plain.Header.Get("Content-Type"))
						require.Equal(t, "application/vnd.apache.arrow.stream", columns.Header.Get("Content-Type"))
						want, wantNext := xmlRows(t, plain.Body)
						got, gotNext := arrowRows(t, columns.Body)
						require.Equal(t, want, got, target)
						require.Equal(t, wantNext, gotNext, target)
						for _, r := range got {
							for name := range r {
								seen[strings.SplitN(name, "/", 2)[0]] = true
							}
						}
						if gotNext == "" {
							break
						}
						require.Less(t, page, 100)
						q.Set("marker", gotNext)
					}
				}
			}
			for _, c := range columns {
				switch c.name {
				case "IncrementalCopy", "CopyDestinationSnapshot", "CopyStatusDescription", "HasVersionsOnly", "EncryptionScope":
					continue // TestArrowEntries
				case "VersionId", "IsCurrentVersion":
					require.Equal(t, versions, seen[c.name], c.name)
				case "DeletedTime", "Deleted", "RemainingRetentionDays":
					require.NotEqual(t, versions, seen[c.name], c.name)
				default:
					require.True(t, seen[c.name], c.name)
				}
			}
		})
	}
}

// TestArrowEntries: every field of a record that a listing shows stands in both forms.
func TestArrowEntries(t *testing.T) {
	now := record.StampOf(time.Date(2026, 3, 4, 5, 6, 7, 800, time.UTC))
	entries := []store.Entry{
		{Blob: record.Blob{Type: record.PageBlob, Changed: now, Created: now, Size: 512, EncryptionScope: "mine", Version: now,
			Copy: &record.Copy{Incremental: true, Snapshot: now, Source: "http://a/b?c&d", Description: "500 <Internal> \xff\xfe!\xc3", Completed: now}}},
		{Blob: record.Blob{Type: record.BlockBlob, Changed: now, Created: now, MD5: "of another length than sixteen"}, VersionsOnly: true},
	}
	body, columns := newPage(), newArrowPage()
	defer body.Close()
	body.include, body.version, body.now = store.IncludeCopy, protocol.Newest, now
	columns.include, columns.now = store.IncludeCopy, now
	body.b = append(body.b, "<EnumerationResults><Blobs>"...)
	for i := range entries {
		body.Blob(fmt.Sprint(i), &entries[i])
		columns.Blob(fmt.Sprint(i), &entries[i])
	}
	body.b = append(body.b, "</Blobs></EnumerationResults>"...)
	want, _ := xmlRows(t, body.b)
	encoded := newPage()
	defer encoded.Close()
	require.NoError(t, columns.encode(encoded, "here"))
	got, next := arrowRows(t, encoded.b)
	require.Equal(t, want, got)
	require.Equal(t, "here", next)
	require.Equal(t, "true", got[1]["HasVersionsOnly"])
	for _, name := range []string{"IncrementalCopy", "CopyDestinationSnapshot", "CopyStatusDescription", "EncryptionScope"} {
		require.Contains(t, got[0], name)
	}
}

// TestArrowIsAskedFor: columns only for who asks for them, in a version that has them; endBefore only there.
func TestArrowIsAskedFor(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/con?restype=container", "", newest)
	for _, name := range []string{"a", "b", "b!", "c/1", "c/2", "d"} {
		h.must(t, 201, "PUT", "/acct/con/"+url.PathEscape(name), "", v, isBlock)
	}
	list := "/acct/con?restype=container&comp=list"
	for _, c := range []struct {
		accept, version string
		arrow           bool
	}{
		{"application/vnd.apache.arrow.stream,application/xml", "2026-12-06", true},
		{"application/xml, Application/VND.Apache.Arrow.Stream;q=0.5", "2026-10-06", true},
		{"application/vnd.apache.arrow.stream", "2026-10-06", true},
		{"application/xml\r\naccept: application/vnd.apache.arrow.stream", "2026-10-06", true},
		{"application/vnd.apache.arrow.stream;q=0.001", "2026-10-06", true},
		{"application/vnd.apache.arrow.stream;q=0,application/xml", "2026-10-06", false},
		{"application/vnd.apache.arrow.stream; Q=0.000", "2026-10-06", false},
		{"application/xml\r\nAccept: application/vnd.apache.arrow.stream;q=0", "2026-10-06", false},
		{"application/vnd.apache.arrow.stream", "2026-06-06", false},
		{"application/xml", "2026-12-06", false},
		{"*/*", "2026-12-06", false},
		{"application/vnd.apache.arrow.file", "2026-12-06", false},
		{"", "2026-12-06", false},
	} {
		r := h.must(t, 200, "GET", list+"&endBefore=c", "", "accept: "+c.accept, "x-ms-version: "+c.version)
		want := "application/xml"
		if c.arrow {
			want = arrowStream
			rows, _ := arrowRows(t, r.Body)
			require.Len(t, rows, 3, "%+v", c)
		} else {
			require.Len(t, parseListing(t, r.Body).Entries, 6, "%+v", c)
		}
		require.Equal(t, want, r.Header.Get("Content-Type"), "%+v", c)
	}
	for query, want := range map[string]string{
		"&endBefore=c": "a b b!", "&startFrom=b&endBefore=c%2F2": "b b! c/1", "&delimiter=/&endBefore=c%2F2": "a b b! c/", "&delimiter=/&endBefore=c/": "a b b!",
		"&prefix=c&endBefore=b": "", "&prefix=b&endBefore=z": "b b!", "&endBefore=b%21": "a b", "&endBefore=": "a b b! c/1 c/2 d", "&endBefore=d&maxresults=2": "a b|b! c/1|c/2",
	} {
		var pages []string
		for marker := ""; ; {
			rows, next := arrowRows(t, h.must(t, 200, "GET", list+query+"&marker="+url.QueryEscape(marker), "", newest, asArrow).Body)
			var names []string
			for _, r := range rows {
				names = append(names, r["Name"])
			}
			pages = append(pages, strings.Join(names, " "))
			if marker = next; marker == "" {
				break
			}
		}
		require.Equal(t, want, strings.Join(pages, "|"), query)
	}
	for _, bad := range []string{"&maxresults=0", "&marker=x", "&include=all"} { // errors are XML in any case
		r := h.Do("GET", list+bad, "", newest, asArrow)
		require.Equal(t, 400, r.Status)
		require.Equal(t, "application/xml", r.Header.Get("Content-Type"))
	}
}

// TestArrowPagesAreUsedAgain: nothing of a page is seen in the next that lies in the same memory.
func TestArrowPagesAreUsedAgain(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/con?restype=container", "", newest)
	for i := range 40 {
		header := []string{v, isBlock}
		if i%3 == 0 {
			header = append(header, fmt.Sprintf("x-ms-meta-n: %d", i), "x-ms-tags: t="+fmt.Sprint(i))
		}
		h.must(t, 201, "PUT", fmt.Sprintf("/acct/con/%02d", i), "", header...)
	}
	for _, q := range []string{"&include=metadata,tags", "", "&include=tags&prefix=1", "&prefix=none", "&include=metadata&prefix=3"} {
		target := "/acct/con?restype=container&comp=list" + q
		want, _ := xmlRows(t, h.must(t, 200, "GET", target, "", newest).Body)
		got, _ := arrowRows(t, h.must(t, 200, "GET", target, "", newest, asArrow).Body)
		require.Equal(t, want, got, q)
	}
}

// A page of 5 000 names in columns (BenchmarkListPage is the same in XML).
func BenchmarkListPageArrow(b *testing.B) {
	svc := New(store.Options{Store: enginetest.New(b)})
	defer svc.Close()
	ctx := context.Background()
	c := fillPage(b, svc)
	q := store.ListRequest{Max: store.MaxPage, Now: 1}
	b.ReportAllocs()
	for b.Loop() {
		rows, body := newArrowPage(), newPage()
		rows.now, q.Entry = 1, &rows.entry
		if _, err := svc.blobs.List(ctx, c, &q, rows); err != nil {
			b.Fatal(err)
		}
		if err := rows.encode(body, ""); err != nil {
			b.Fatal(err)
		}
		rows.free()
		b.SetBytes(int64(len(body.b)))
		body.Close()
	}
	b.ReportMetric(5000*float64(b.N)/b.Elapsed().Seconds(), "names/s")
}
