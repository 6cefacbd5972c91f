package blob

import (
	"context"
	"encoding/xml"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/replay"
)

type listing struct {
	Entries []string // a blob's name, or a prefix in brackets
	Next    string
}

// parseListing reads a page with a real XML parser, names decoded as clients do.
func parseListing(t *testing.T, body []byte) (l listing) {
	t.Helper()
	type name struct {
		Encoded bool   `xml:"Encoded,attr"`
		Text    string `xml:",chardata"`
	}
	var doc struct {
		Blobs struct {
			Items []struct {
				XMLName xml.Name
				Name    name
			} `xml:",any"`
		}
		NextMarker string
	}
	require.NoError(t, xml.Unmarshal(body, &doc))
	for _, item := range doc.Blobs.Items {
		text := item.Name.Text
		if item.Name.Encoded {
			var err error
			text, err = url.PathUnescape(text)
			require.NoError(t, err)
		}
		if item.XMLName.Local == "BlobPrefix" {
			text = "[" + text + "]"
		}
		l.Entries = append(l.Entries, text)
	}
	l.Next = doc.NextMarker
	return l
}

// wantListing is what a listing has, by the words of the documentation.
func wantListing(names []string, prefix, delimiter, start string) (want []string) {
	for _, n := range names {
		if !strings.HasPrefix(n, prefix) || n < start {
			continue
		}
		if delimiter != "" {
			if i := strings.Index(n[len(prefix):], delimiter); i >= 0 {
				entry := "[" + n[:len(prefix)+i+len(delimiter)] + "]"
				if len(want) == 0 || want[len(want)-1] != entry {
					want = append(want, entry)
				}
				continue
			}
		}
		want = append(want, n)
	}
	return want
}

// Random names, prefixes, delimiters and page sizes against a plain model, pages joined.
func TestListModel(t *testing.T) {
	seed := replay.Seed(t)
	rng := rand.New(rand.NewPCG(seed, 0))
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/con?restype=container", "")
	alphabet := []string{"a", "b", "/", "/", "-", "\x00", "\x01", "é", "\uFFFF", "\U0001F600", "%", "+", " ", "&", "<"}
	word := func(max int) string {
		var b strings.Builder
		for range rng.IntN(max) + 1 {
			b.WriteString(alphabet[rng.IntN(len(alphabet))])
		}
		return b.String()
	}
	names := map[string]bool{}
	conn := h.Dial()
	defer conn.Close()
	for len(names) < 150 {
		n := word(6)
		names[n] = true
		r := conn.Do("PUT", "/acct/con/"+url.PathEscape(n), "", "x-ms-blob-type: BlockBlob")
		require.Equal(t, 201, r.Status, "%q: %s", n, r)
	}
	var sorted []string
	for n := range names {
		sorted = append(sorted, n)
	}
	slices.Sort(sorted)
	for range 80 {
		prefix, delimiter, start := "", "", ""
		if rng.IntN(2) == 0 {
			prefix = word(2)
		}
		if rng.IntN(3) > 0 {
			delimiter = word(2)
		}
		if rng.IntN(4) == 0 && delimiter == "" {
			start = word(2)
		}
		include := []string{"", "snapshots", "uncommittedblobs,deleted", "versions,metadata"}[rng.IntN(4)]
		size := rng.IntN(20) + 1
		var got []string
		marker, pages := "", 0
		for {
			q := url.Values{"restype": {"container"}, "comp": {"list"}, "maxresults": {fmt.Sprint(size)}, "prefix": {prefix}, "delimiter": {delimiter}, "marker": {marker}, "startFrom": {start}, "include": {include}}
			r := conn.Do("GET", "/acct/con?"+q.Encode(), "")
			require.Equal(t, 200, r.Status, "%s", r)
			l := parseListing(t, r.Body)
			require.LessOrEqual(t, len(l.Entries), size)
			got = append(got, l.Entries...)
			if marker = l.Next; marker == "" {
				break
			}
			pages++
			require.Less(t, pages, 200)
		}
		require.Equal(t, wantListing(sorted, prefix, delimiter, start), got, "prefix %q delimiter %q start %q pages of %d include %q", prefix, delimiter, start, size, include)
	}
}

func FuzzMarker(f *testing.F) {
	f.Add(string(appendMarker(nil, []byte("a\x00\x01"))))
	f.Add("1!AAA=")
	f.Fuzz(func(t *testing.T, text string) {
		if key, ok := parseMarker(text); ok && key != "" {
			require.Equal(t, text, string(appendMarker(nil, []byte(key))))
		}
	})
}

func FuzzBlockList(f *testing.F) {
	f.Add(`<?xml version="1.0" encoding="utf-8"?><BlockList><Latest>QUE=</Latest><Committed>QkI=</Committed><Uncommitted> QQ== </Uncommitted></BlockList>`)
	f.Add("\ufeff<BlockList />")
	f.Add(`<BlockList a="b"><!-- c --><Latest>QQ&#61;=</Latest></BlockList>`)
	f.Add(`<!DOCTYPE x><BlockList/>`)
	f.Fuzz(func(t *testing.T, doc string) {
		refs, err := parseBlockList(doc)
		if err != nil {
			require.IsType(t, &protocol.Error{}, err)
			return
		}
		for _, ref := range refs {
			require.True(t, len(ref.ID) > 0 && len(ref.ID) <= record.MaxBlockID)
		}
	})
}

func TestParseBlockList(t *testing.T) {
	refs, err := parseBlockList("\ufeff<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n<BlockList xmlns=\"x\">\n <!-- one --><Latest>QUE=</Latest>\n<Committed> QkI= </Committed><Uncommitted>QUE&#61;</Uncommitted></BlockList>\n")
	require.NoError(t, err)
	require.Equal(t, []store.BlockRef{{ID: "AA", Source: store.LatestBlock}, {ID: "BB", Source: store.CommittedBlock}, {ID: "AA", Source: store.UncommittedBlock}}, refs)
	for _, text := range []string{"&#81;UE=", "&#x51;&#x55;E&#61;", "<![CDATA[QUE=]]>", "Q<![CDATA[U]]>E&#x3d;", " <![CDATA[QUE=]]>\n"} {
		refs, err := parseBlockList("<BlockList><Latest>" + text + "</Latest></BlockList>")
		require.NoError(t, err, text)
		require.Equal(t, []store.BlockRef{{ID: "AA", Source: store.LatestBlock}}, refs, text)
	}
	for _, text := range []string{"QUE&eq;", "QUE&", "QUE&#61", "QUE&#x110000;", "QUE&#0;", "QUE&#;", "<![CDATA[QUE="} {
		_, err := parseBlockList("<BlockList><Latest>" + text + "</Latest></BlockList>")
		require.ErrorIs(t, err, protocol.ErrInvalidXmlDocument, text)
	}
	for _, empty := range []string{"<BlockList/>", "<BlockList></BlockList>", "<BlockList> </BlockList> "} {
		refs, err := parseBlockList(empty)
		require.NoError(t, err, empty)
		require.Empty(t, refs)
	}
	for _, bad := range []string{"", "x", "<BlockList>", "<Blocklist/>", "<BlockList/>x", "<BlockList><Block>QUE=</Block></BlockList>", "<BlockList><Latest>QUE=</Committed></BlockList>",
		"<BlockList><Latest><Latest>QUE=</Latest></Latest></BlockList>", "<!DOCTYPE a [<!ENTITY b 'c'>]><BlockList/>", "<?xml?><BlockList/>", "<BlockList>QUE=</BlockList>", "<BlockList><!-- </BlockList>"} {
		_, err := parseBlockList(bad)
		require.ErrorIs(t, err, protocol.ErrInvalidXmlDocument, bad)
	}
}

// fillPage makes a container with a page of 5 000 names.
func fillPage(b *testing.B, svc *Service) *record.Container {
	ctx := context.Background()
	at := store.Target{Account: &account.Account{Name: "acct"}, Container: "con"}
	require.NoError(b, svc.blobs.CreateContainer(ctx, "acct", "con", &record.Container{}))
	for i := range 5000 {
		at.Name = fmt.Sprintf("folder/of/names/%08d.txt", i)
		_, err := svc.blobs.Put(ctx, &store.Creation{Target: at, Blob: &record.Blob{Type: record.BlockBlob, HTTP: record.HTTPProperties{ContentType: "text/plain"}}}, &store.Upload{Body: strings.NewReader("x"), Size: 1})
		require.NoError(b, err)
	}
	at.Name = ""
	c, err := svc.blobs.Container(ctx, &at)
	require.NoError(b, err)
	return c
}

// A page of 5 000 names: what the encoder costs beside the scan.
func BenchmarkListPage(b *testing.B) {
	svc := New(store.Options{Store: enginetest.New(b)})
	defer svc.Close()
	ctx := context.Background()
	c := fillPage(b, svc)
	q := store.ListRequest{Max: store.MaxPage, Now: 1}
	b.ReportAllocs()
	for b.Loop() {
		page := newPage()
		page.version, page.now, q.Entry = protocol.Newest, 1, &page.entry
		if _, err := svc.blobs.List(ctx, c, &q, page); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(page.b)))
		page.Close()
	}
	b.ReportMetric(5000*float64(b.N)/b.Elapsed().Seconds(), "names/s")
}
