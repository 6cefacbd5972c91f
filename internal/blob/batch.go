package blob

import (
	"errors"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

const (
	maxBatchParts = 256
	maxBatchBody  = 4 * miB
	batchAtOnce   = 16  // parts
	partAnswer    = 768 // bytes, about
)

// batchRouter finds the operations that a batch may hold.
func batchRouter() *rest.Router[*Service] {
	var rows rest.Table[*Service]
	for _, op := range Operations {
		if op.Name == "DeleteBlob" || op.Name == "SetBlobTier" {
			rows = append(rows, op)
		}
	}
	return rest.NewRouter(rows, tagUses...)
}

// submitBatch is Blob Batch, at account and container scope. Every part is a request of its own that takes the way of any other:
// row, authorization with the part's own credentials, handler. They are of one kind and independent of each other.
func (s *Service) submitBatch(r *rest.Request) error {
	if r.Container != "" {
		if _, err := s.readContainer(r); err != nil {
			return err
		}
	}
	body, err := r.ReadBody(maxBatchBody)
	if err != nil {
		return err
	}
	answer := "batchresponse_" + uuid.NewString()
	var b []byte
	parts, requests, err := s.batchRequests(r, body)
	if err != nil {
		// Told within an answer that is a success, in a part that belongs to no request.
		b = s.refusedPart(r, err).AppendAnswer(protocol.AppendPart(nil, answer, ""))
	}
	if err := r.HoldAnswer(len(requests) * partAnswer); err != nil {
		return err
	}
	s.answerParts(r, requests)
	for i, part := range requests {
		id, _ := parts[i].Header.Get("Content-ID")
		b = part.AppendAnswer(protocol.AppendPart(b, answer, id))
	}
	r.ReplyBytes(202, "multipart/mixed; boundary="+answer, protocol.AppendClose(b, answer))
	return nil
}

// answerParts has the parts of a batch answered, several at a time, so that they share syncs. Those on one blob keep their order.
func (s *Service) answerParts(r *rest.Request, parts []*rest.Request) {
	var runs [][]*rest.Request
	type name struct{ container, blob string }
	runOf := make(map[name]int, len(parts))
	for _, part := range parts {
		n := name{part.Container, part.Blob}
		i, ok := runOf[n]
		if !ok {
			i = len(runs)
			runOf[n], runs = i, append(runs, nil)
		}
		runs[i] = append(runs[i], part)
	}
	var work errgroup.Group
	work.SetLimit(batchAtOnce)
	for _, run := range runs {
		work.Go(func() error {
			for _, part := range run {
				part.AnswerPart(func() {
					if r.Container != "" && part.Container != r.Container {
						part.Fail(protocol.ErrInvalidInput, nil)
					} else {
						rest.Dispatch(s.batch, level(part), s, s.authorizer, part)
					}
				})
			}
			return nil
		})
	}
	_ = work.Wait() // a part's failure is its answer
}

// batchRequests reads the requests of a batch, all or none, and their parts.
func (s *Service) batchRequests(r *rest.Request, body []byte) ([]protocol.Part, []*rest.Request, error) {
	boundary, err := protocol.MultipartBoundary(r.Header("content-type"))
	if err != nil {
		return nil, nil, protocol.InvalidHeader("Content-Type", r.Header("content-type"))
	}
	parts, err := protocol.SplitMultipart(body, boundary, maxBatchParts)
	if errors.Is(err, protocol.ErrTooManyParts) {
		return nil, nil, protocol.ErrExceedsMaxBatchRequestCount
	}
	if err != nil || len(parts) == 0 {
		return nil, nil, protocol.ErrInvalidInput.Because(err)
	}
	requests := make([]*rest.Request, len(parts))
	kind := ""
	for i := range parts {
		q, err := parts[i].Request()
		if err != nil {
			return nil, nil, protocol.ErrInvalidInput.Because(err)
		}
		if requests[i], err = r.Part(&q); err != nil {
			return nil, nil, err
		}
		op, err := s.batch.Find(requests[i], level(requests[i]))
		if err != nil || kind != "" && op.Name != kind {
			return nil, nil, protocol.ErrInvalidInput
		}
		kind = op.Name
	}
	return parts, requests, nil
}

// refusedPart is the answer of a part that there is no request for: it has the id of the batch.
func (s *Service) refusedPart(r *rest.Request, err error) *rest.Request {
	part, _ := r.Part(&protocol.PartRequest{Method: "POST", Target: r.Target()})
	part.ID = r.ID
	part.SetHeader("x-ms-request-id", r.ID)
	part.Fail(err, nil)
	return part
}
