package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/blob/lease"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/source"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

// pull is an asynchronous copy: one from elsewhere that is read in the background.
type pull struct {
	id    [16]byte
	began engine.Stamp
	kind  record.Type
	total int64
	pullSource
}

// pullSource is what a copy needs to begin again after a restart. It is kept in the copy's work item and goes with it.
type pullSource struct {
	source.Remote
	// lost tells that the work item cannot be opened any more.
	lost bool
}

// The detail of a work item: how the rest of its value, after the account's name and 00, is written. It is the address, the
// ETag and the authorization with 00 between them; an item of an earlier version ends with the address.
const (
	pullPlain   = 0 // with "-" for an authorization; until 0.1
	pullMaster  = 1 // encrypted under the master key; until 0.1
	pullAccount = 2 // encrypted under a key of the account
)

// appendWork writes a work item's value. The address may hold a signature and the authorization is one: they are encrypted under a
// key that is made of the account's secret, and lie as safely as that does. A new secret, or the end of the account, loses them.
func (ps *pullSource) appendWork(a *account.Account) []byte {
	text := ps.URL + "\x00" + ps.ETag + "\x00" + ps.Authorization
	return append(append(append([]byte{pullAccount}, a.Name...), 0), a.Seal(pullContext(a.Name), []byte(text))...)
}

// decodeWork reads it. What cannot be opened any more is lost, not kept for ever.
func (ps *pullSource) decodeWork(s *account.Store, a *account.Account, detail byte, value []byte) {
	var err error
	switch detail {
	case pullMaster:
		value, err = s.Unseal(pullContext(a.Name), value)
	case pullAccount:
		value, err = a.Unseal(pullContext(a.Name), value)
	}
	if err != nil {
		ps.lost = true
		return
	}
	var rest string
	ps.URL, rest, _ = strings.Cut(string(value), "\x00")
	ps.ETag, ps.Authorization, _ = strings.Cut(rest, "\x00")
	if detail == pullPlain && ps.Authorization != "" {
		ps.Authorization, ps.lost = "", true
	}
}

// pullContext binds what is sealed to its use.
func pullContext(account string) string { return "copy/" + account }

// startCopy begins a copy from elsewhere. The destination is there at once, closed to writes, empty or with as many zeros as a
// page blob has, and its work item brings the copy back to life after a restart.
func (s *Service) startCopy(ctx context.Context, p *place, scope string, c *CopyRequest, check func(*record.Blob) error) (*record.Blob, error) {
	p = newPlace(p.account, p.gen, strings.Clone(p.name)) // outlives the call
	job := pull{id: newCopyID(), pullSource: pullSource{Remote: source.Remote{URL: c.Source.URL.Text, Authorization: strings.Clone(c.Source.Authorization)}}}
	resp, err := s.remote.Get(ctx, &job.Remote, c.Source.ask())
	if err != nil {
		return nil, err
	}
	job.total, job.ETag = resp.ContentLength, source.StrongETag(resp.Header.Get("ETag"))
	f := &fetched{store: s.store, rec: source.Properties(resp)}
	_ = resp.Body.Close() // only the head was wanted
	if job.kind = f.rec.Type; job.kind == record.PageBlob && (job.total%record.PageSize != 0 || job.total > record.MaxPageBlob) {
		return nil, protocol.ErrCannotVerifyCopySource.Because(fmt.Errorf("the source is a page blob of %d bytes", job.total))
	}
	rec, err := c.record(f)
	if err != nil {
		return nil, err
	}
	rec.Blocks, rec.EncryptionScope = 0, scope
	rec.Copy = &record.Copy{ID: job.id, Status: record.CopyPending, Source: c.Source.URL.Shown(), Total: job.total}
	err = s.changeTagged(ctx, p, rec.Tags, func(t *txn) error {
		old, err := replaced(t.Tx, p, &c.Target, rec.Type)
		if err != nil {
			return err
		}
		if old != nil {
			if err := check(old); err != nil {
				return err
			}
		}
		if rec.Type == record.PageBlob {
			rec.Size, rec.Content = job.total, t.newPageMap()
		}
		t.begin(rec, old, c.Now)
		job.began = t.Stamp()
		if err := t.Replace(old, rec, nil); err != nil {
			return err
		}
		t.Set(engine.SpaceBlobQueue, record.AppendWorkKey(nil, t.key, record.WorkCopy, job.began), job.appendWork(p.account))
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.runCopy(p, &job)
	return rec, nil
}

// Background copies at a time, in all and of an account. Those that wait are begun by the sweeper when others end.
const (
	maxCopies        = 64
	MaxAccountCopies = 16
)

// MaxCopyLife is how long a copy may take (REST page "Copy Blob": two weeks).
const MaxCopyLife = 14 * 24 * time.Hour

// errCopyLife fails a copy that takes longer.
var errCopyLife = protocol.ErrOperationTimedOut

// crowded tells that no further copy of an account may run now. copyMu is held.
func (s *Service) crowded(account string) bool {
	own := 0
	for _, c := range s.copies {
		if c.account == account {
			own++
		}
	}
	return len(s.copies) >= maxCopies || own >= MaxAccountCopies
}

// runningCopy is a copy in the background.
type runningCopy struct {
	account string
	cancel  context.CancelFunc
}

// runCopy reads a source in the background.
func (s *Service) runCopy(p *place, job *pull) {
	s.copyMu.Lock()
	defer s.copyMu.Unlock()
	if s.copies == nil || s.copies[job.id] != nil {
		return // closing, or running already
	}
	if s.crowded(p.account.Name) {
		s.copiesWait = true
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.copies[job.id] = &runningCopy{p.account.Name, cancel}
	s.copyDone.Add(1)
	go func() {
		defer s.copyDone.Done()
		defer cancel()
		if err := s.pull(ctx, p, job); err != nil && ctx.Err() == nil && !errors.Is(err, engine.ErrClosed) {
			s.log.Warn("copy", zap.String("blob", p.name), zap.Error(err))
		}
		s.copyMu.Lock()
		delete(s.copies, job.id)
		if s.copiesWait && s.copies != nil {
			s.copiesWait = false
			s.sweeper.Wake()
		}
		s.copyMu.Unlock()
	}()
}

// copyStep is how often the progress of a copy is written down, in bytes.
const copyStep = 64 << 20

// errNotKept fails a copy whose source cannot be read from its work item after a restart.
var errNotKept = errors.New("the address of a copy's source cannot be decrypted: the account's secret was replaced")

// pull reads a source from elsewhere into the destination that waits for it.
func (s *Service) pull(ctx context.Context, p *place, job *pull) error {
	// A sweep that read the work item early may come to it when the copy is over.
	if err := s.changeCopy(ctx, p, job.id, func(*txn, *record.Blob) error { return nil }); err != nil {
		if errors.Is(err, errNotCopying) {
			return nil
		}
		return err
	}
	var f *fetched
	var l laying
	defer l.done()
	err := errNotKept
	life, done := context.WithTimeout(ctx, job.began.Time().Add(MaxCopyLife).Sub(s.clock()))
	defer done()
	if !job.lost && life.Err() == nil {
		if job.kind == record.PageBlob {
			f, err = s.pullPages(life, p, job, &l)
		} else {
			f, err = s.pullBytes(life, p, job, &l)
		}
	}
	if f != nil {
		defer f.done()
	}
	if ctx.Err() != nil || errors.Is(err, errNotCopying) {
		return ctx.Err()
	}
	if life.Err() != nil {
		err = errCopyLife
	}
	return s.changeCopy(ctx, p, job.id, func(t *txn, rec *record.Blob) error {
		t.Delete(engine.SpaceBlobQueue, record.AppendWorkKey(nil, p.key, record.WorkCopy, job.began))
		if err != nil {
			return t.endCopy(rec, record.CopyFailed, failure(err))
		}
		if err := t.endCopy(rec, record.CopySuccess, ""); err != nil {
			return err
		}
		rec.Copy.Progress, rec.Copy.Total = f.size, f.size
		rec.Size, rec.CRC64, rec.HasCRC64 = f.size, f.CRC64, job.kind != record.PageBlob
		if job.kind == record.AppendBlob {
			rec.Blocks = f.rec.Blocks
		}
		switch {
		case f.inline != nil:
			t.Set(engine.SpaceBlobData, t.key, f.inline)
			rec.Content = record.Content{Kind: record.ContentInline}
		case l.made.Kind != record.ContentEmpty:
			var err error
			if rec.Content, err = t.adoptLaid(&l); err != nil {
				return err
			}
		default:
			rec.Content = t.adopt(f)
		}
		t.used.Bytes += f.size
		t.Modify(rec)
		return nil
	})
}

// failure is what x-ms-copy-status-description tells of an error.
func failure(err error) string {
	var e *protocol.Error
	switch {
	case errors.Is(err, errNotKept):
		return "401 CannotVerifyCopySource \"The server was restarted and the credentials of the source are lost.\""
	case errors.As(err, &e):
		return fmt.Sprintf("%d %s \"Copy failed.\"", e.Status, e.Code)
	}
	return "500 InternalError \"Copy failed.\""
}

// progress returns a function that writes down how far a copy came, now and then.
func (s *Service) progress(ctx context.Context, p *place, job *pull) func(done int64) error {
	written := int64(0)
	return func(done int64) error {
		if done-written < copyStep || done == job.total {
			return nil
		}
		written = done
		return s.changeCopy(ctx, p, job.id, func(t *txn, rec *record.Blob) error {
			rec.Copy.Progress, rec.Copy.Total = done, job.total
			t.Modify(rec)
			return nil
		})
	}
}

// pullBytes reads a block or append blob: into a list that is laid, if it is long, else into what one transaction adopts.
func (s *Service) pullBytes(ctx context.Context, p *place, job *pull, l *laying) (*fetched, error) {
	progress := s.progress(ctx, p, job)
	f, err := s.fetchRemote(ctx, &job.Remote, &SourceTerms{Limit: 1 << 62, listed: job.kind == record.AppendBlob}, func(f *fetched, done int64) error {
		if len(f.pieces) >= s.atOnce {
			if err := s.layFetched(ctx, p, f, l); err != nil {
				return err
			}
		}
		return progress(done)
	})
	if err == nil && l.made.Kind != record.ContentEmpty && len(f.pieces) > 0 {
		if err = s.layFetched(ctx, p, f, l); err != nil {
			f.done()
			return nil, err
		}
	}
	return f, err
}

// layFetched moves what was fetched so far into a list that is being laid.
func (s *Service) layFetched(ctx context.Context, p *place, f *fetched, l *laying) error {
	if l.made.Kind == record.ContentEmpty {
		if err := l.begin(ctx, s, p, record.ContentList); err != nil {
			return err
		}
	}
	if err := l.pieces(ctx, f.pieces); err != nil {
		return err
	}
	s.store.Forget(f.made...)
	f.pieces, f.made = f.pieces[:0], f.made[:0]
	return nil
}

// errNotCopying: the destination waits for this copy no longer.
var errNotCopying = errors.New("the copy was aborted or its destination is gone")

// changeCopy changes a destination that still waits for a copy.
func (s *Service) changeCopy(ctx context.Context, p *place, id [16]byte, fn func(*txn, *record.Blob) error) error {
	return s.change(ctx, p, func(t *txn) error {
		rec, err := t.Record(record.Slot{})
		if err != nil {
			return err
		}
		if rec == nil || rec.Copy == nil || rec.Copy.ID != id || rec.Copy.Status != record.CopyPending {
			return errNotCopying
		}
		return fn(t, rec)
	})
}

// endCopy settles a pending copy. What the destination had until now goes: it is of zero length unless the copy succeeded (REST
// page "Abort Copy Blob").
func (t *txn) endCopy(rec *record.Blob, status record.CopyStatus, description string) error {
	rec.Changed = t.Stamp()
	rec.Copy.Status, rec.Copy.Completed, rec.Copy.Description = status, rec.Changed, description
	if rec.Type == record.PageBlob {
		if err := t.drop(rec, record.Slot{}, false); err != nil {
			return err
		}
		t.used.Bytes -= rec.Size
		rec.Size = 0
		if status != record.CopySuccess {
			rec.Content = t.newPageMap()
		}
	}
	if status != record.CopySuccess {
		t.Modify(rec)
	}
	return nil
}

// dropCopy takes away the work item of a copy that is under way, whose stamp is not known: it holds the secrets of the source.
func (t *txn) dropCopy(rec *record.Blob) {
	if rec.Copy != nil && rec.Copy.Status == record.CopyPending {
		t.DeleteRange(engine.SpaceBlobQueue, record.AppendWorkKey(nil, t.key, record.WorkCopy, 0), record.AppendWorkKey(nil, t.key, record.WorkCopy, math.MaxUint64))
	}
}

// sweepCopy takes up a copy that was under way when the server stopped, or clears away the item of one that is over.
func (s *Service) sweepCopy(ctx context.Context, p *place, w *record.Work) error {
	name, value, _ := record.CutZero(w.Value[1:])
	owner := s.accounts.Lookup(string(name))
	gone := owner == nil
	if gone {
		owner = &account.Account{Name: string(name)}
	}
	p.account = owner
	var rec *record.Blob
	err := s.change(ctx, p, func(t *txn) (err error) {
		if rec, err = t.Record(record.Slot{}); err != nil {
			return err
		}
		if gone || rec == nil || rec.Copy == nil || rec.Copy.Status != record.CopyPending {
			t.Delete(engine.SpaceBlobQueue, w.Key)
			rec = nil
		}
		return nil
	})
	if err != nil || rec == nil {
		return err
	}
	job := pull{id: rec.Copy.ID, began: w.Stamp, kind: rec.Type, total: rec.Copy.Total}
	job.decodeWork(s.accounts, p.account, w.Value[0], value)
	s.runCopy(p, &job)
	return nil
}

// stopCopies ends the background copies; they begin again with the next start.
func (s *Service) stopCopies() {
	s.copyMu.Lock()
	for _, c := range s.copies {
		c.cancel()
	}
	s.copies = nil
	s.copyMu.Unlock()
	s.copyDone.Wait()
	s.remote.Close()
}

// AbortCopy ends a copy that is under way.
func (s *Service) AbortCopy(ctx context.Context, a *Target, id [16]byte) error {
	err := s.changeCurrent(ctx, a, func(t *txn, rec *record.Blob) error {
		if err := rec.Lease.CheckWrite(a.Now, a.Lease, lease.Blob); err != nil {
			return err
		}
		switch {
		case rec.Copy == nil || rec.Copy.Status != record.CopyPending:
			return protocol.ErrNoPendingCopyOperation
		case rec.Copy.ID != id:
			return protocol.ErrCopyIdMismatch
		}
		t.dropCopy(rec)
		return t.endCopy(rec, record.CopyAborted, "")
	})
	if err != nil {
		return err
	}
	s.copyMu.Lock()
	defer s.copyMu.Unlock()
	if c := s.copies[id]; c != nil {
		c.cancel()
	}
	return nil
}
