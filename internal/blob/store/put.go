package store

import (
	"context"
	"strings"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

// Put makes an upload the current blob of a name, in place of what is there (Put Blob for a block blob). It returns the content's
// sums.
func (s *Service) Put(ctx context.Context, n *Creation, up *Upload) (Sums, error) {
	n.overLease = true
	p, err := s.placeNew(ctx, n)
	if err != nil {
		return Sums{}, err
	}
	if up.Size > engine.MaxInline {
		if err := s.precheck(ctx, p, func(old *record.Blob) error { return n.create(old, n.Blob.Type) }); err != nil {
			return Sums{}, err
		}
	}
	in, err := s.receiveUpload(ctx, up, engine.MaxInline, true)
	if err != nil {
		return Sums{}, err
	}
	defer in.done()
	n.Blob.MD5 = string(in.MD5[:])
	return in.Sums, s.put(ctx, p, n, in)
}

// put makes the record of a creation, with the content taken in, the current blob.
func (s *Service) put(ctx context.Context, p *place, n *Creation, in *intake) error {
	rec := n.Blob
	return s.changeTagged(ctx, p, rec.Tags, func(t *txn) error {
		old, err := replaced(t.Tx, p, &n.Target, rec.Type)
		if err != nil {
			return err
		}
		rec.Size, rec.CRC64, rec.HasCRC64 = in.size, in.CRC64, true
		rec.Content = t.own(in.chunks)
		t.begin(rec, old, n.Now)
		return t.Replace(old, rec, in.inline)
	})
}

// CreateEmpty makes a page or append blob without content, of the type and size in the record.
func (s *Service) CreateEmpty(ctx context.Context, n *Creation) error {
	n.overLease = true
	p, err := s.placeNew(ctx, n)
	if err != nil {
		return err
	}
	rec := n.Blob
	return s.changeTagged(ctx, p, rec.Tags, func(t *txn) error {
		old, err := replaced(t.Tx, p, &n.Target, rec.Type)
		if err != nil {
			return err
		}
		if rec.Type == record.PageBlob {
			rec.Content = t.newPageMap()
		} else {
			rec.HasCRC64 = true // of nothing, yet
		}
		t.begin(rec, old, n.Now)
		return t.Replace(old, rec, nil)
	})
}

// begin gives a new blob its stamps and what it has from the one it replaces: the time of creation and the lease.
func (t *txn) begin(rec, old *record.Blob, now engine.Stamp) {
	rec.Changed = t.Stamp()
	rec.Created = rec.Changed
	if old != nil {
		rec.Created, rec.Lease = old.Created, old.Lease.Written(now)
	}
}

// receiveUpload receives an upload and holds it to its sums. The caller calls done.
func (s *Service) receiveUpload(ctx context.Context, up *Upload, inlineMax int64, wantMD5 bool) (*intake, error) {
	in, err := s.receive(ctx, up.Body, up.Size, inlineMax, wantMD5)
	if err != nil {
		return nil, err
	}
	if up.Finish != nil {
		err = up.Finish()
	}
	if err == nil {
		err = up.Want.check(&in.Sums)
	}
	if err != nil {
		in.done()
		return nil, err
	}
	return in, nil
}

// precheck refuses a request with a long body before the body is sent. The transaction checks again.
func (s *Service) precheck(ctx context.Context, p *place, check func(*record.Blob) error) error {
	return s.store.View(ctx, p.key, func(v engine.Reader) error {
		rec, err := getRecord(v, p, record.Slot{})
		if err != nil {
			return err
		}
		return check(rec)
	})
}

// place finds the blob name that an operation is on: its container must be there and the name a good one.
func (s *Service) place(ctx context.Context, a *Target) (*place, error) {
	c, err := s.addressed(ctx, a)
	if err != nil {
		return nil, err
	}
	return newPlace(a.Account, c.Generation, a.Name), nil
}

// placeNew is place for what makes a blob, whose record gets its encryption scope.
func (s *Service) placeNew(ctx context.Context, n *Creation) (*place, error) {
	c, err := s.addressed(ctx, &n.Target)
	if err != nil {
		return nil, err
	}
	if n.Blob.EncryptionScope, err = n.Scope.in(c); err != nil {
		return nil, err
	}
	return newPlace(n.Account, c.Generation, n.Name), nil
}

// addressed is the container of the addressed blob name, once both names are good.
func (s *Service) addressed(ctx context.Context, a *Target) (*record.Container, error) {
	if err := protocol.CheckContainerName(a.Container); err != nil {
		return nil, err
	}
	if err := protocol.CheckBlobName(a.Name); err != nil {
		return nil, err
	}
	return s.container(ctx, a.Account.Name, a.Container)
}

// in returns the scope of what is made in the container: the one that the request names or its signature prescribes (ses), which
// must not differ, else the container's own, which may refuse others. Scopes are kept by name and told; blobd encrypts by none
// (docs/security.md).
func (e *Scope) in(c *record.Container) (string, error) {
	named := e.Named
	switch {
	case named == "":
		named = e.Signed
	case e.Signed != "" && named != e.Signed:
		return "", protocol.InvalidHeader("x-ms-encryption-scope", named)
	}
	switch {
	case named == "":
		return c.DefaultScope, nil
	case c.DenyScopeOverride && named != c.Scope():
		return "", protocol.ErrRequestForbiddenByContainerEncryptionPolicy
	case named == record.AccountScope:
		return "", nil
	}
	return strings.Clone(named), nil
}
