package account

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
)

// A deleted account is out of the Registry at once. Its record stays as a mark without keys, which survives a restart, until the
// requests that had entered it have ended and its containers and tables are gone; what was in those is swept later, as it is of any
// container or table. Only then is the name free.

type deletion struct {
	uses *Uses         // nil after a restart
	done chan struct{} // closed when the name is free
}

func newDeletion(u *Uses) *deletion { return &deletion{u, make(chan struct{})} }

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
	name := a.Name
	mark, err := json.Marshal(record{Name: name, Created: a.Created.UTC(), Deleted: true})
	if err != nil {
		return fmt.Errorf("delete account %s: %w", name, err)
	}
	err = s.engine.Update(ctx, partition(name), func(tx engine.Tx) error {
		tx.Set(engine.SpaceAccount, partition(name), append([]byte{recordVersion}, mark...))
		return nil
	})
	if err != nil {
		return fmt.Errorf("delete account %s: %w", name, err)
	}
	delete(s.saved, name)
	if a.Resource != nil {
		delete(s.owned[a.Resource.Subscription], name)
	}
	s.deleted[name] = newDeletion(s.registry.Remove(name))
	if s.begun != nil {
		s.begun <- name
	}
	return nil
}

// Erased waits until the name of a deleted account is free, or ctx ends.
func (s *Store) Erased(ctx context.Context, name string) error {
	s.mu.Lock()
	d := s.deleted[name]
	s.mu.Unlock()
	if d == nil {
		return nil
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
	uses := e.store.deleted[name].uses
	e.store.mu.Unlock()
	if uses != nil {
		select {
		case <-uses.Idle():
		case <-ctx.Done():
			return
		}
	}
	for ctx.Err() == nil {
		err := e.once(ctx, name)
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

func (e *Eraser) once(ctx context.Context, name string) error {
	for _, empty := range e.empty {
		if err := empty(ctx, name); err != nil {
			return err
		}
	}
	return e.store.forget(ctx, name)
}
