package account

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
)

// A deleted account is out of the Registry at once. Its record stays as a mark without keys, which survives a restart, until the
// requests that had entered it have ended and its containers and tables are gone; what was in those is swept later, as it is of any
// container or table. Only then is the name free.
//
// With a retention, an account of the resource provider can be had back for so long (Restore): its record keeps everything, and only when
// that is over, or it is given up (Purge), the mark takes its place. What it holds counts until then.

type deletion struct {
	uses *Uses         // nil after a restart
	done chan struct{} // closed when the name is free, or the account is back
	// kept is the account while it can be had back; over is closed when it cannot any more, or is.
	kept *Account
	at   time.Time
	over chan struct{}
}

func newDeletion(u *Uses) *deletion { return &deletion{uses: u, done: make(chan struct{})} }

// keep notes a deleted account that can be had back. The lock is held.
func (s *Store) keep(a *Account, at time.Time, u *Uses) {
	d := newDeletion(u)
	d.kept, d.at, d.over = a, at, make(chan struct{})
	s.deleted[a.Name] = d
}

// Retain sets for how long accounts that are deleted from now on, or were before the start, can be had back; 0 is not at all. It is called
// before Erase.
func (s *Store) Retain(d time.Duration) { s.retention = d }

// ErrKept: the name is that of a deleted account which can be had back.
var ErrKept = fmt.Errorf("%w: \"blobd account restore\" has it back, \"blobd account purge\" frees the name", ErrDeleting)

// refusal is why the name cannot be given away. The lock is held.
func (d *deletion) refusal() error {
	if d.kept != nil {
		return ErrKept
	}
	return ErrDeleting
}

// Delete removes an account; an Eraser then empties it.
func (s *Store) Delete(ctx context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.saved[name]
	if a == nil {
		return ErrMissing
	}
	return s.delete(ctx, a)
}

// DeleteOwned is Delete of an account as it was found, in whatever state it is now; one of the same name that was made since stays.
func (s *Store) DeleteOwned(ctx context.Context, a *Account) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.saved[a.Name]
	if now == nil || !now.Created.Equal(a.Created) || now.Resource == nil || a.Resource == nil || now.Resource.Subscription != a.Resource.Subscription {
		return ErrMissing
	}
	return s.delete(ctx, now)
}

// delete is called with the lock held.
func (s *Store) delete(ctx context.Context, a *Account) error {
	name, at := a.Name, time.Time{}
	if s.retention > 0 && a.Resource != nil {
		at = time.Now().UTC()
		if err := s.write(ctx, a, at); err != nil {
			return err
		}
	} else if err := s.mark(ctx, a); err != nil {
		return err
	}
	delete(s.saved, name)
	if a.Resource != nil {
		delete(s.owned[a.Resource.Subscription], name)
	}
	if uses := s.registry.Remove(name); at.IsZero() {
		s.deleted[name] = newDeletion(uses)
	} else {
		s.keep(a, at, uses)
	}
	if s.begun != nil {
		s.begun <- name
	}
	return nil
}

// mark writes that nothing but the name is left of an account.
func (s *Store) mark(ctx context.Context, a *Account) error {
	mark, err := json.Marshal(record{Name: a.Name, Created: a.Created.UTC(), Deleted: true})
	if err == nil {
		err = s.engine.Update(ctx, partition(a.Name), func(tx engine.Tx) error {
			tx.Set(engine.SpaceAccount, partition(a.Name), append([]byte{recordVersion}, mark...))
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("delete account %s: %w", a.Name, err)
	}
	return nil
}

// Kept is a deleted account that can be had back.
type Kept struct {
	*Account
	Deleted, Until time.Time
}

// Kept returns those of a subscription, or all for an empty one, by their names' order.
func (s *Store) Kept(subscription string) (all []Kept) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.deleted {
		if d.kept != nil && (subscription == "" || d.kept.Resource.Subscription == subscription) {
			all = append(all, Kept{d.kept, d.at, d.at.Add(s.retention)})
		}
	}
	slices.SortFunc(all, func(a, b Kept) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Restore has a deleted account back, as it was, once the requests that had entered it have ended. most is as for Create.
func (s *Store) Restore(ctx context.Context, name string, most int) error {
	s.mu.Lock()
	d := s.deleted[name]
	s.mu.Unlock()
	if d == nil {
		return ErrMissing
	}
	if d.uses != nil {
		select {
		case <-d.uses.Idle():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := d.kept
	switch {
	case s.deleted[name] != d || a == nil:
		return ErrMissing
	case most > 0 && len(s.owned[a.Resource.Subscription]) >= most:
		return ErrTooMany
	}
	back := *a
	if err := s.put(ctx, &back); err != nil {
		return err
	}
	delete(s.deleted, name)
	close(d.over)
	close(d.done)
	return nil
}

// Purge gives a deleted account up: what it holds goes, as without a retention. With a subscription, only if it was that one's.
func (s *Store) Purge(ctx context.Context, name, subscription string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.deleted[name]
	if d == nil || d.kept == nil || subscription != "" && d.kept.Resource.Subscription != subscription {
		return ErrMissing
	}
	return s.giveUp(ctx, d)
}

// giveUp is called with the lock held, for an account that is kept.
func (s *Store) giveUp(ctx context.Context, d *deletion) error {
	if err := s.mark(ctx, d.kept); err != nil {
		return err
	}
	d.kept = nil
	close(d.over)
	return nil
}

// Erased waits until the name of a deleted account is free, or ctx ends. One that can be had back is ErrKept.
func (s *Store) Erased(ctx context.Context, name string) error {
	s.mu.Lock()
	d := s.deleted[name]
	kept := d != nil && d.kept != nil
	s.mu.Unlock()
	switch {
	case d == nil:
		return nil
	case kept:
		return ErrKept
	}
	select {
	case <-d.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// forget frees the name of a deleted account that is empty.
func (s *Store) forget(ctx context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.engine.Update(ctx, partition(name), func(tx engine.Tx) error {
		tx.Delete(engine.SpaceAccount, partition(name))
		return nil
	})
	if err != nil {
		return fmt.Errorf("forget account %s: %w", name, err)
	}
	close(s.deleted[name].done)
	delete(s.deleted, name)
	return nil
}

// Eraser empties deleted accounts in the background: those of before the start, and then each that is deleted.
type Eraser struct {
	store *Store
	empty []func(ctx context.Context, account string) error
	log   *zap.Logger
	stop  context.CancelFunc
	work  sync.WaitGroup
}

// eraseAgain is how long an Eraser waits after a failure.
const eraseAgain = 10 * time.Second

// Erase starts an Eraser, one for a store, which runs until Close. empty takes from a service all that an account has there; it may
// stop anywhere and begin again.
func (s *Store) Erase(log *zap.Logger, empty ...func(ctx context.Context, account string) error) *Eraser {
	ctx, cancel := context.WithCancel(context.Background())
	e := &Eraser{store: s, empty: empty, log: log, stop: cancel}
	s.mu.Lock()
	s.begun = make(chan string, 16)
	for name := range s.deleted {
		e.work.Go(func() { e.erase(ctx, name) })
	}
	s.mu.Unlock()
	e.work.Go(func() {
		for {
			select {
			case name := <-s.begun:
				e.work.Go(func() { e.erase(ctx, name) })
			case <-ctx.Done():
				return
			}
		}
	})
	return e
}

// Close stops the work and waits for it. No account is deleted after it.
func (e *Eraser) Close() {
	e.stop()
	e.work.Wait()
}

func (e *Eraser) erase(ctx context.Context, name string) {
	e.store.mu.Lock()
	d := e.store.deleted[name]
	e.store.mu.Unlock()
	if d == nil {
		return // it is back
	}
	if d.uses != nil {
		select {
		case <-d.uses.Idle():
		case <-ctx.Done():
			return
		}
	}
	for ctx.Err() == nil {
		gone, err := e.outlive(ctx, name, d)
		if err == nil && gone {
			err = e.once(ctx, name)
		}
		if err == nil || ctx.Err() != nil || errors.Is(err, engine.ErrClosed) {
			return
		}
		e.log.Warn("emptying a deleted account failed, will try again", zap.String("account", name), zap.Error(err))
		select {
		case <-time.After(eraseAgain):
		case <-ctx.Done():
		}
	}
}

// outlive waits until an account can not be had back any more; gone is false if it is back.
func (e *Eraser) outlive(ctx context.Context, name string, d *deletion) (gone bool, err error) {
	s := e.store
	if d.over != nil {
		due := time.NewTimer(time.Until(d.at.Add(s.retention)))
		defer due.Stop()
		select {
		case <-due.C:
		case <-d.over:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.deleted[name] != d:
		return false, nil
	case d.kept != nil:
		return true, s.giveUp(ctx, d)
	}
	return true, nil
}

func (e *Eraser) once(ctx context.Context, name string) error {
	for _, empty := range e.empty {
		if err := empty(ctx, name); err != nil {
			return err
		}
	}
	return e.store.forget(ctx, name)
}
