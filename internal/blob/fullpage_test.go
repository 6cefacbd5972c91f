package blob

import (
	"encoding/xml"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/protocol"
)

// A page ends when it is large, not only when it has as many entries as were asked for; the pages together are the listing.
func TestALargePageEndsEarly(t *testing.T) {
	h := newHouse(t)
	heavy := []string{"x-ms-blob-type: BlockBlob"}
	for i := range 8 {
		heavy = append(heavy, fmt.Sprintf("x-ms-meta-m%d: %s", i, strings.Repeat(`"`, 1000)))
	}
	var blobs, containers []string
	for i := range 220 {
		name := fmt.Sprintf("c%03d", i)
		h.must(t, 201, "PUT", "/acct/"+name+"?restype=container", "", heavy[1:]...)
		containers = append(containers, name)
		name = fmt.Sprintf("b%03d", i)
		h.must(t, 201, "PUT", "/acct/c000/"+name, "", heavy...)
		blobs = append(blobs, name)
	}
	all := func(target string) (names []string, pages int) {
		for marker := ""; ; {
			body := h.must(t, 200, "GET", target+"&marker="+url.QueryEscape(marker), "").Body
			pages++
			require.Less(t, len(body), fullPage+64<<10, "one entry over it, and what surrounds them")
			var page struct {
				Blobs      []string `xml:"Blobs>Blob>Name"`
				Containers []string `xml:"Containers>Container>Name"`
				Next       string   `xml:"NextMarker"`
			}
			require.NoError(t, xml.Unmarshal([]byte(strings.TrimPrefix(string(body), "\ufeff")), &page))
			names = append(append(names, page.Blobs...), page.Containers...)
			if marker = page.Next; marker == "" {
				return names, pages
			}
		}
	}
	list := func(prefix string, from []string) (of []string) {
		for _, n := range from {
			if strings.HasPrefix(n, prefix) {
				of = append(of, n)
			}
		}
		return of
	}
	got, pages := all("/acct/c000?restype=container&comp=list&include=metadata")
	require.Equal(t, blobs, got)
	require.Equal(t, 2, pages)
	got, pages = all("/acct/c000?restype=container&comp=list")
	require.Equal(t, blobs, got)
	require.Equal(t, 1, pages, "without metadata they are small")
	got, pages = all("/acct/?comp=list&include=metadata&prefix=c")
	require.Equal(t, containers, list("c", got))
	require.Equal(t, 2, pages)
}

// In columns, too, and by what is shown.
func TestALargePageInColumnsIsFull(t *testing.T) {
	e := &store.Entry{}
	e.Blob.Metadata = []protocol.Pair{{Name: "m", Value: strings.Repeat("x", 8000)}}
	p := newArrowPage()
	p.include = 0
	for range fullPage / 8000 * 2 {
		p.Blob("name", e)
	}
	require.False(t, p.Full())
	p.free()

	p = newArrowPage()
	p.include = store.IncludeMetadata
	rows := 0
	for ; !p.Full(); rows++ {
		p.Blob("name", e)
	}
	require.InDelta(t, fullPage/8005, rows, 1)
	p.free()
}
