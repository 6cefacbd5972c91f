// Package usagetest holds a service to counting exactly what it stores, over crashes.
package usagetest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/usage"
)

var operations = flag.Int("usageops", 2000, "random operations that are counted, between crashes")

// crashes are between the operations.
const crashes = 4

// Service is what is held to it.
type Service struct {
	Step  func(ctx context.Context, rng *rand.Rand) error // one operation, concurrent with others; its refusals are no errors
	Sweep func(ctx context.Context) error
	Close func()
}

// Run has a service do random operations, four at a time, and cuts the power in the midst of them again and again. Before and after each
// cut, and when all is swept, what is counted is what is there. open begins with an empty store, and goes on with what is left.
func Run(t *testing.T, source usage.Source, open func(engine.Store, *account.Store) Service) {
	ctx := context.Background()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	disk := enginetest.NewCutDisk()
	for life := range uint64(crashes + 1) {
		store := disk.Open(t)
		err := usage.Ensure(ctx, store, source)
		var accounts *account.Store
		if err == nil {
			accounts, err = account.OpenStore(ctx, store, account.NewRegistry(), nil)
		}
		if err == nil {
			err = compare(ctx, store, accounts.Usage(), source)
		}
		if err != nil {
			t.Fatalf("begin of life %d: %v", life, err)
		}
		s := open(store, accounts)
		var cut sync.Once
		var next *enginetest.Disk
		var work sync.WaitGroup
		const writers = 4
		for w := range uint64(writers) {
			work.Go(func() {
				rng := rand.New(rand.NewPCG(seed+life, w))
				steps := *operations / (crashes + 1) / writers
				for i := range steps {
					if i == steps*2/3 && life < crashes {
						cut.Do(func() { next = disk.Cut(rng) })
					}
					if err := s.Step(ctx, rng); err != nil {
						t.Errorf("life %d: %v", life, err)
						return
					}
				}
			})
		}
		work.Wait()
		if err := compare(ctx, store, accounts.Usage(), source); err != nil {
			t.Fatalf("life %d: %v", life, err)
		}
		if life == crashes {
			if err := s.Sweep(ctx); err != nil {
				t.Error(err)
			}
			if err := compare(ctx, store, accounts.Usage(), source); err != nil {
				t.Errorf("swept: %v", err)
			}
		}
		s.Close()
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
		disk = next
	}
}

// compare holds the counters, and a ledger, to what is stored.
func compare(ctx context.Context, store engine.Store, ledger *usage.Ledger, source usage.Source) error {
	held := map[string]engine.Amount{}
	var failed error
	err := store.View(ctx, nil, func(r engine.Reader) error {
		err := usage.Compare(r, func(p usage.Place, counted, found engine.Amount) {
			failed = fmt.Errorf("%+v: counted %+v, found %+v", p, counted, found)
		}, source)
		if err != nil {
			return err
		}
		return source(r, func(p *usage.Place, n engine.Amount, buried bool) {
			key := p.Account + "/" + string(p.Service)
			if !buried {
				held[key] = held[key].Plus(n)
			}
		})
	})
	if err := errors.Join(err, failed); err != nil {
		return err
	}
	for _, name := range []string{"one", "two"} {
		for _, service := range []byte{usage.Blobs, usage.Tables} {
			if got, want := ledger.Account(name).Held(service), held[name+"/"+string(service)]; got != want {
				return fmt.Errorf("account %s has %+v of %c in the ledger, %+v are there", name, got, service, want)
			}
		}
	}
	return nil
}
