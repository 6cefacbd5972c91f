package source

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/url"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/protocol"
)

// maxPageListXML bounds one answer of Get Page Ranges, in bytes. A server that has no continuation gives all ranges in one.
const maxPageListXML = 256 << 20

// maxPageListToken bounds a tag or text of such an answer, in bytes: the decoder has it in memory as a whole.
const maxPageListToken = 64 << 10

var errLongToken = errors.New("it has a tag or text of more than 64 KiB")

// shortTokens is the answer as far as one token may reach.
type shortTokens struct {
	r    io.Reader
	left int // bytes
}

func (t *shortTokens) Read(p []byte) (int, error) {
	if t.left <= 0 {
		return 0, errLongToken
	}
	n, err := t.r.Read(p[:min(len(p), t.left)])
	t.left -= n
	return n, err
}

// Range is a written range of a source, to exclusive.
type Range struct{ From, To int64 }

func BadPages(what string) error {
	return protocol.ErrCannotVerifyCopySource.Because(fmt.Errorf("copy of a page blob: %s", what))
}

// PageRanges asks for a page of the written ranges of a page blob of total bytes, from a marker on. next is the marker of the page
// that follows, empty at the end.
func (c *Client) PageRanges(ctx context.Context, src *Remote, total int64, marker string) (ranges []Range, next string, err error) {
	query := "comp=pagelist"
	if marker != "" {
		query += "&marker=" + url.QueryEscape(marker)
	}
	resp, err := c.Get(ctx, src, &Ask{Limit: maxPageListXML, query: query})
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body := &shortTokens{r: io.LimitReader(resp.Body, maxPageListXML)}
	d := xml.NewDecoder(body)
	end, seen := int64(0), false
	for depth := 0; ; {
		body.left = maxPageListToken
		t, err := d.Token()
		if errors.Is(err, io.EOF) && depth == 0 && seen {
			return ranges, next, nil
		}
		if err != nil {
			if ctx.Err() != nil {
				return nil, "", ctx.Err()
			}
			return nil, "", BadPages(err.Error())
		}
		switch t := t.(type) {
		case xml.EndElement:
			depth--
		case xml.StartElement:
			switch {
			case depth == 0 && t.Name.Local == "PageList":
				depth, seen = 1, true
			case depth == 1 && t.Name.Local == "PageRange":
				var r struct{ Start, End int64 }
				if err := d.DecodeElement(&r, &t); err != nil {
					return nil, "", BadPages(err.Error())
				}
				if r.Start < end || r.End < r.Start || r.End >= total || r.Start%record.PageSize != 0 || (r.End+1)%record.PageSize != 0 {
					return nil, "", BadPages(fmt.Sprintf("it lists pages from %d to %d", r.Start, r.End))
				}
				end = r.End + 1
				ranges = append(ranges, Range{r.Start, end})
			case depth == 1 && t.Name.Local == "NextMarker":
				if err := d.DecodeElement(&next, &t); err != nil {
					return nil, "", BadPages(err.Error())
				}
			case depth == 1:
				if err := d.Skip(); err != nil {
					return nil, "", BadPages(err.Error())
				}
			default:
				return nil, "", BadPages("its answer is no page list")
			}
		}
	}
}
