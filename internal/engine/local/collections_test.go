package local_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local"
)

var collections = flag.Int("collections", 60, "collections to make beside everything else")

// TestCollectionsBesideEverything collects without a pause while writers put, copy, snapshot and delete objects that share chunks, and
// readers read them. Each round ends in a power cut, a kill or a clean stop, after which every object is what was acknowledged last.
func TestCollectionsBesideEverything(t *testing.T) {
	const seed, perRound = 1, 20
	t.Logf("seed %d", seed)
	for _, disks := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d disks", disks), func(t *testing.T) {
			t.Parallel()
			o := small(disks)
			o.SealGarbage = 1
			mem := vfs.NewCrashableMem()
			rng := rand.New(rand.NewPCG(seed, uint64(disks)))
			b := &bustle{t: t, acked: map[string]uint64{}}
			b.turn.L = &b.mu
			for done := 0; done < *collections/2 && !t.Failed(); done += perRound {
				o.FS = mem
				s, err := local.Open(o)
				require.NoError(t, err)
				b.check(s)
				b.round(s, rng, perRound)
				switch rng.IntN(3) {
				case 0:
					require.NoError(t, s.Close())
				case 1: // a power cut
					mem = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
					require.NoError(t, s.Close())
				default: // a kill: the system writes what it was given
					mem = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rng})
					require.NoError(t, s.Close())
				}
			}
			t.Logf("%d changes and %d reads beside %d collections", b.changes, b.looks, b.collections)
		})
	}
}

// bustle is writers and readers, each writer on names of its own.
type bustle struct {
	t     *testing.T
	mu    sync.Mutex
	acked map[string]uint64 // seeds by name

	turn           sync.Cond // of mu: the numbers below have changed
	over           bool      // the round is
	writes, reads  int       // that are due
	changes, looks int       // that were made
	collections    int
}

// beside is how many changes, and how many reads, each collection sets off. The next one begins when half of them have ended: what a
// collection meets is under way, whatever the scheduler does, and no more is done for each than that takes.
const beside = 6

// take waits for one of what is due; false at the end of the round.
func (b *bustle) take(due *int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for *due == 0 && !b.over {
		b.turn.Wait()
	}
	if b.over {
		return false
	}
	*due--
	return true
}

// made counts what was taken.
func (b *bustle) made(n *int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	*n++
	b.turn.Broadcast()
}

func (b *bustle) round(s *local.Store, rng *rand.Rand, collections int) {
	var wg sync.WaitGroup
	b.over, b.writes, b.reads = false, 0, 0
	for w := range 3 {
		mine := rand.New(rand.NewPCG(rng.Uint64(), 0))
		wg.Go(func() {
			for b.take(&b.writes) {
				b.write(s, mine, w)
				b.made(&b.changes)
			}
		})
	}
	for range 2 {
		mine := rand.New(rand.NewPCG(rng.Uint64(), 0))
		wg.Go(func() {
			for b.take(&b.reads) {
				b.read(s, mine)
				b.made(&b.looks)
			}
		})
	}
	for range collections {
		b.mu.Lock()
		writes, reads := b.changes+beside/2, b.looks+beside/2
		b.writes, b.reads = b.writes+beside, b.reads+beside
		b.turn.Broadcast()
		b.mu.Unlock()
		if err := s.Collect(context.Background()); err != nil {
			b.t.Errorf("collect: %v", err)
		}
		b.collections++
		b.mu.Lock()
		for b.changes < writes || b.looks < reads {
			b.turn.Wait()
		}
		b.mu.Unlock()
	}
	b.mu.Lock()
	b.over = true
	b.turn.Broadcast()
	b.mu.Unlock()
	wg.Wait()
}

func nameOf(rng *rand.Rand, worker int) string { return fmt.Sprintf("w%d/%d/", worker, rng.IntN(12)) }

// write does one change. A copy takes the chunks of another writer's object, which may be gone by the time that it is made: that is all
// that may go wrong.
func (b *bustle) write(s *local.Store, rng *rand.Rand, worker int) {
	name := nameOf(rng, worker)
	o := object{seed: rng.Uint64() | 1}
	var err error
	switch rng.IntN(10) {
	case 0, 1, 2, 3:
		for i := range 1 + rng.IntN(3) {
			o.sizes[i] = 1 + rng.IntN(1<<(8+rng.IntN(9)))
		}
		if err = put(s, &o); err == nil {
			err = store(s, name, &o)
		}
		s.Forget(o.refs[:]...)
	case 4, 5, 6:
		from := nameOf(rng, rng.IntN(3))
		err = s.View(background, []byte(from), func(r engine.Reader) (err error) {
			o, err = load(r, from)
			return err
		})
		if err == nil && (o.seed == 0 || from == name) {
			return
		}
		if err != nil {
			break
		}
		if err = store(s, name, &o); errors.Is(err, engine.ErrReleased) {
			return
		}
	default:
		o = object{}
		err = remove(s, name)
	}
	if err != nil {
		b.t.Errorf("%s: %v", name, err)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.acked[name] = o.seed
}

// read reads an object whole. It may be replaced meanwhile, and its chunks be gone.
func (b *bustle) read(s *local.Store, rng *rand.Rand) {
	name := nameOf(rng, rng.IntN(3))
	var o object
	err := s.View(background, []byte(name), func(r engine.Reader) (err error) {
		o, err = load(r, name)
		return err
	})
	if err == nil && o.seed != 0 {
		err = verify(s, name, o)
	}
	if err != nil && !errors.Is(err, engine.ErrReleased) {
		b.t.Errorf("read %s: %v", name, err)
	}
}

func (b *bustle) check(s *local.Store) {
	found, err := consistent(s)
	require.NoError(b.t, err)
	for name, seed := range b.acked {
		require.Equal(b.t, seed, found[name].seed, name)
	}
}
