package table

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/table/entity"
	"github.com/blobd/blobd/internal/usage/usagetest"
)

// TestUsageEqualsARecount: whatever is done to tables, and however often the power goes, each is counted as what is in it, and each account
// as what is in its tables.
func TestUsageEqualsARecount(t *testing.T) {
	usagetest.Run(t, CountUse, func(disk engine.Store, accounts *account.Store) usagetest.Service {
		s := New(Options{Store: disk, Accounts: accounts})
		return usagetest.Service{
			Step: func(ctx context.Context, rng *rand.Rand) error {
				err := s.randomStep(ctx, rng)
				var refused *protocol.Error
				if errors.As(err, &refused) {
					return nil
				}
				return err
			},
			Sweep: s.sweepAll,
			Close: s.Close,
		}
	})
}

func (s *Service) randomStep(ctx context.Context, rng *rand.Rand) error {
	owner, name := []string{"one", "two"}[rng.IntN(2)], fmt.Sprint("table", rng.IntN(3))
	switch n := rng.IntN(100); {
	case n < 5:
		return s.DeleteTable(ctx, owner, name)
	case n < 15:
		return s.CreateTable(ctx, owner, name)
	}
	t, err := s.find(ctx, owner, name)
	if err != nil {
		return err
	}
	first := rng.IntN(20)
	var changes []change
	for i := range 1 + rng.IntN(2)*rng.IntN(10) {
		length := rng.IntN(50)
		if rng.IntN(8) == 0 { // in parts
			length = 20_000 + rng.IntN(10_000)
		}
		var props []entity.Property
		for j := range 1 + rng.IntN(4) {
			props = append(props, entity.Property{Name: fmt.Sprint("p", j), Value: entity.Value{Type: entity.String, Data: strings.Repeat("v", length)}})
		}
		c := change{kind: []changeKind{insert, replace, merge, insertOrReplace, insertOrMerge, remove}[rng.IntN(6)], pk: fmt.Sprint(first % 3), rk: fmt.Sprint(first + i)}
		if c.kind != remove {
			c.row = entity.AppendRow(nil, 0, props)
		}
		changes = append(changes, c)
	}
	_, err = s.write(ctx, t, changes)
	return err
}
