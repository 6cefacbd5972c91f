// Package crashtest cuts the power of a store at every file operation of a script, and has what is found afterwards checked.
//
// A script drives the store by way of a Journal, which keeps for every key what was acknowledged and what is under way. At each
// operation that changes a file the disks are cloned as a power cut would leave them, with none, half and all of what was not
// synced; the store is opened on the clone and the caller's check compares it with the journal as it was at that moment.
package crashtest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/blobd/blobd/internal/engine/local"
)

// Journal keeps what a script was promised. V is the state of a key; its zero value is the state before the first write.
type Journal[V any] struct {
	mu   sync.Mutex
	keys map[string][]V // the acknowledged state, then those that may be instead
}

// Do runs op, which brings key to the state next, and notes the outcome. Only one Do of a key runs at a time. When op fails, the
// key may be in either state from then on.
func (j *Journal[V]) Do(key string, next V, op func() error) error {
	j.mu.Lock()
	states := j.keys[key]
	if states == nil {
		states = make([]V, 1)
	}
	j.keys[key] = append(states[:len(states):len(states)], next)
	j.mu.Unlock()
	err := op()
	if err != nil {
		return err
	}
	j.mu.Lock()
	j.keys[key] = []V{next}
	j.mu.Unlock()
	return nil
}

// snapshot returns the states each key may be in.
func (j *Journal[V]) snapshot() map[string][]V {
	j.mu.Lock()
	defer j.mu.Unlock()
	return maps.Clone(j.keys) // the slices are never changed
}

// Config of Run.
type Config[V any] struct {
	Store  local.Options // of the store; FS is set by Run
	Seed   uint64
	Points int // power cuts to make; the script runs again, with another seed, until there are as many
	Every  int // cut at one in so many operations, at others in each run; 0 is at all of them

	// Script drives the store. It may run goroutines, which have ended when it returns.
	Script func(s *local.Store, j *Journal[V], rng *rand.Rand) error
	// Check compares a store opened after a power cut with the states that its keys may be in. It may change the store. n
	// numbers the cuts, so that costly checks can be made on some of them.
	Check func(s *local.Store, want map[string][]V, n int) error
	// Closed, if there is one, checks what lies on the disks when that store is closed.
	Closed func(o local.Options) error
}

// Run makes the power cuts. It reports the seed of the run and the place of the cut with each failure.
func Run[V any](t testing.TB, c Config[V]) {
	t.Helper()
	t.Logf("crash test: seed %d, %d points", c.Seed, c.Points)
	for n, run := 0, uint64(0); n < c.Points && !t.Failed(); run++ {
		n += runOnce(t, c, c.Seed+run, n)
	}
}

// runOnce runs the script once, and returns how many cuts it made.
func runOnce[V any](t testing.TB, c Config[V], seed uint64, before int) int {
	mem := vfs.NewCrashableMem()
	j := &Journal[V]{keys: make(map[string][]V)}
	var mu sync.Mutex // one cut at a time; guards what follows
	points, operation := 0, seed
	rng := rand.New(rand.NewPCG(seed, 1))
	cut := func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || op.Kind == errorfs.OpFileClose {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		if operation++; operation%uint64(max(c.Every, 1)) != 0 {
			return nil
		}
		for _, percent := range []int{0, 50, 100} {
			if before+points >= c.Points || t.Failed() {
				return nil
			}
			points++
			// In this order: what is in the journal as acknowledged is on the disks that are cloned. What comes to be
			// acknowledged between the two is in the journal as under way.
			want := j.snapshot()
			o := c.Store
			o.FS = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
			if err := check(c, o, want, before+points); err != nil {
				t.Errorf("seed %d, power cut before operation %d on %s with %d %% of unsynced bytes kept: %v", seed, op.Kind, op.Path, percent, err)
			}
		}
		return nil
	}
	o := c.Store
	o.FS = errorfs.Wrap(mem, errorfs.InjectorFunc(cut))
	s, err := local.Open(o)
	if err != nil {
		t.Errorf("seed %d: %v", seed, err)
		return points
	}
	if err := c.Script(s, j, rand.New(rand.NewPCG(seed, 2))); err != nil {
		t.Errorf("seed %d: script: %v", seed, err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("seed %d: %v", seed, err)
	}
	return points
}

// check opens the store after a cut and has it checked.
func check[V any](c Config[V], o local.Options, want map[string][]V, n int) (err error) {
	s, err := local.Open(o)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer func() {
		if cerr := s.Close(); cerr != nil && err == nil {
			err = cerr
		}
		if err == nil && c.Closed != nil {
			err = c.Closed(o)
		}
	}()
	return c.Check(s, want, n)
}
