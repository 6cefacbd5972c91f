package sweeper

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
)

func TestSweeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var at []time.Duration
		var s Sweeper
		s.Start(zap.NewNop(), "sweep", func(context.Context) error {
			at = append(at, time.Since(began))
			return errors.New("tried again")
		})
		synctest.Wait()
		s.Wake()
		s.Wake()
		time.Sleep(every + 2*pause)
		synctest.Wait()
		s.Close()
		require.Equal(t, []time.Duration{0, pause, pause + every}, at, "at the start, once for the wakes, and by the clock")
	})
}

// What was deleted on a full disk is swept as soon as there is room for that.
func TestSweeperOnAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var at []time.Duration
		var s Sweeper
		s.Start(zap.NewNop(), "sweep", func(context.Context) error {
			if at = append(at, time.Since(began)); len(at) < 3 {
				return fmt.Errorf("sweep: %w", engine.ErrNoSpace)
			}
			return nil
		})
		time.Sleep(every)
		synctest.Wait()
		s.Close()
		require.Equal(t, []time.Duration{0, full, 2 * full}, at)
	})
}

// A sweep that is under way when the sweeper is closed is told so, and waited for; a store that is closed ends it.
func TestSweeperEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := false
		var s Sweeper
		s.Start(zap.NewNop(), "sweep", func(ctx context.Context) error {
			<-ctx.Done()
			ended = true
			return ctx.Err()
		})
		s.Close()
		require.True(t, ended)
		s.Start(zap.NewNop(), "sweep", func(context.Context) error { return engine.ErrClosed })
		<-s.done
		s.Close()
	})
}
