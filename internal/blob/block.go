package blob

import (
	"encoding/base64"
	"strconv"

	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/view"
)

// putBlock is Put Block.
func (s *Service) putBlock(r *rest.Request) error {
	d := decoder{r: r}
	id := d.blockID()
	d.supported()
	a, up := d.target(), d.part(putBlockLimit(r.Version))
	if d.err != nil {
		return d.err
	}
	got, err := s.blobs.StageBlock(r.Context, &a, id, &up)
	if err != nil {
		return err
	}
	setSums(r, &up.Want, &got)
	setEncrypted(r, true)
	setStructured(r, &up)
	r.Reply(201)
	return nil
}

func (d *decoder) blockID() string {
	text, ok := d.r.QueryOK("blockid")
	if !ok {
		d.fail(protocol.MissingQuery("blockid"))
	}
	id, ok := parseBlockID(text)
	if !ok {
		d.fail(protocol.InvalidQuery("blockid", text, "Not a valid base64 string."))
	}
	return id
}

// putBlockList is Put Block List.
func (s *Service) putBlockList(r *rest.Request) error {
	d := decoder{r: r}
	n, want, doc := d.creation(record.BlockBlob), d.bodySums(), d.document(store.MaxBlockListXML)
	if d.err != nil {
		return d.err
	}
	got, err := want.CheckBytes(doc)
	if err != nil {
		return err
	}
	refs, err := parseBlockList(view.String(doc))
	if err != nil {
		return err
	}
	if err := s.blobs.Commit(r.Context, &n, refs); err != nil {
		return err
	}
	setWritten(r, n.Blob)
	setSums(r, &store.Sums{}, &got) // the CRC-64 of the list, whichever sum was sent
	r.Reply(201)
	return nil
}

// getBlockList is Get Block List.
func (s *Service) getBlockList(r *rest.Request) error {
	kind := r.Query("blocklisttype")
	committed, uncommitted := true, true
	switch protocol.Word(kind) {
	case "", "committed":
		uncommitted = false
	case "uncommitted":
		committed = false
	case "all":
	default:
		return protocol.InvalidQuery("blocklisttype", kind, "")
	}
	d := decoder{r: r}
	a, slot := d.target(), d.slot()
	if d.err != nil {
		return d.err
	}
	if r.Grant.Scheme == auth.Anonymous {
		uncommitted = false
	}
	list, err := s.blobs.BlockList(r.Context, &a, slot, committed, uncommitted)
	if err != nil {
		return err
	}
	// A name takes 88 characters at most, and the rest of an element as much.
	if err := r.HoldAnswer((len(list.Committed) + len(list.Uncommitted)) * 2 * 88); err != nil {
		return err
	}
	b := append(make([]byte, 0, 512), protocol.XMLHead...)
	b = append(b, "<BlockList>"...)
	if committed {
		b = appendBlocks(b, "CommittedBlocks", list.Committed)
	}
	if uncommitted {
		b = appendBlocks(b, "UncommittedBlocks", list.Uncommitted)
	}
	b = append(b, "</BlockList>"...)
	if list.Blob != nil {
		setChanged(r, list.Blob.Changed)
		r.SetHeader("x-ms-blob-content-length", strconv.FormatInt(list.Blob.Size, 10))
	}
	r.ReplyXML(200, b)
	return nil
}

func appendBlocks(b []byte, element string, blocks []store.BlockInfo) []byte {
	n := len(b)
	for i := range blocks {
		b = append(b, "<Block><Name>"...)
		b = base64.StdEncoding.AppendEncode(b, []byte(blocks[i].ID))
		b = append(b, "</Name><Size>"...)
		b = strconv.AppendInt(b, blocks[i].Size, 10)
		b = append(b, "</Size></Block>"...)
	}
	return wrapList(b, n, element)
}

// wrapList puts an element around what was appended since n.
func wrapList(b []byte, n int, element string) []byte {
	if len(b) == n {
		return protocol.AppendElement(b, element, "")
	}
	inner := string(b[n:])
	b = append(append(append(b[:n], '<'), element...), '>')
	b = append(b, inner...)
	return append(append(append(b, '<', '/'), element...), '>')
}
