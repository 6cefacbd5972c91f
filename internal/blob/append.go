package blob

import (
	"strconv"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

func appendBlockLimit(v protocol.Version) int64 {
	if v < protocol.V20221102 {
		return 4 * miB
	}
	return 100 * miB
}

// createAppendBlob is Put Blob for an append blob.
func (s *Service) createAppendBlob(r *rest.Request) error {
	d := decoder{r: r}
	d.emptyBody()
	n := d.creation(record.AppendBlob)
	if d.err != nil {
		return d.err
	}
	return s.createEmpty(r, &n)
}

// createEmpty makes a page or append blob without content, and answers.
func (s *Service) createEmpty(r *rest.Request, n *store.Creation) error {
	if err := s.blobs.CreateEmpty(r.Context, n); err != nil {
		return err
	}
	setWritten(r, n.Blob)
	r.Reply(201)
	return nil
}

func (d *decoder) append() store.AppendRequest {
	return store.AppendRequest{Target: d.target(), Position: d.size("x-ms-blob-condition-appendpos"), MaxSize: d.size("x-ms-blob-condition-maxsize")}
}

// appendBlock is Append Block.
func (s *Service) appendBlock(r *rest.Request) error {
	d := decoder{r: r}
	d.supported()
	a, up := d.append(), d.part(appendBlockLimit(r.Version))
	if d.err != nil {
		return d.err
	}
	rec, got, err := s.blobs.Append(r.Context, &a, &up)
	if err != nil {
		return err
	}
	replyAppend(r, rec, up.Size)
	setSums(r, &up.Want, &got)
	setStructured(r, &up)
	r.Reply(201)
	return nil
}

// replyAppend answers an append of n bytes that led to rec.
func replyAppend(r *rest.Request, rec *record.Blob, n int64) {
	setChanged(r, rec.Changed)
	r.SetHeader("x-ms-blob-append-offset", strconv.FormatInt(rec.Size-n, 10))
	r.SetHeader("x-ms-blob-committed-block-count", strconv.FormatUint(uint64(rec.Blocks), 10))
	setEncrypted(r, true)
}

// sealBlob is Append Blob Seal.
func (s *Service) sealBlob(r *rest.Request) error {
	d := decoder{r: r}
	a := d.append()
	if d.err != nil {
		return d.err
	}
	rec, err := s.blobs.Seal(r.Context, &a)
	if err != nil {
		return err
	}
	setChanged(r, rec.Changed)
	r.SetHeader("x-ms-blob-sealed", "true")
	r.Reply(200)
	return nil
}
