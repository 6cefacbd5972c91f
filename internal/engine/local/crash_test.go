package local_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local"
	"github.com/blobd/blobd/internal/engine/local/crashtest"
)

var (
	crashPoints = flag.Int("crashpoints", 10_000, "power cuts to make in all")
	crashSeed   = flag.Uint64("crashseed", 1, "first seed of the crash scripts")
)

var background = context.Background()

// object is the state of a name in the scripts: content made from a seed, inline or in chunks. The zero object is not there.
type object struct {
	seed  uint64
	sizes [3]int // of its chunks; only the first, at most engine.MaxInline, if inline
	refs  [3]engine.Ref
	stamp engine.Stamp
}

func (o object) inline() bool { return o.refs[0] == engine.Ref{} }

// Objects lie in partitions of their own: a record, and inline content in another space.
const (
	recordSpace = engine.SpaceBlob
	dataSpace   = engine.SpaceBlobData
	objects     = "objects" // counter of objects that are there
)

func (o object) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, o.seed)
	for i, n := range o.sizes {
		b = binary.BigEndian.AppendUint32(b, uint32(n))
		b = append(b, o.refs[i][:]...)
	}
	return binary.BigEndian.AppendUint64(b, uint64(o.stamp))
}

func decodeObject(b []byte) (o object) {
	o.seed, b = binary.BigEndian.Uint64(b), b[8:]
	for i := range o.sizes {
		o.sizes[i] = int(binary.BigEndian.Uint32(b))
		o.refs[i] = engine.Ref(b[4:28])
		b = b[28:]
	}
	o.stamp = engine.Stamp(binary.BigEndian.Uint64(b))
	return o
}

// content returns the bytes of part i.
func (o object) content(i int) []byte {
	b := make([]byte, o.sizes[i])
	rng := rand.NewPCG(o.seed, uint64(i))
	for j := 0; j < len(b); j += 8 {
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], rng.Uint64())
		copy(b[j:], word[:])
	}
	return b
}

// load reads the record of a name, the zero object if there is none.
func load(r engine.Reader, name string) (object, error) {
	v, err := r.Get(recordSpace, []byte(name))
	if err == engine.ErrNotFound {
		return object{}, nil
	}
	if err != nil {
		return object{}, err
	}
	return decodeObject(v), nil
}

// store replaces the object of a name. Its chunks are put by the caller.
func store(s engine.Store, name string, o *object) error {
	return s.Update(background, []byte(name), func(tx engine.Tx) error {
		old, err := load(tx, name)
		if err != nil {
			return err
		}
		o.stamp = tx.Stamp()
		release(tx, old)
		for _, ref := range o.refs {
			if ref != (engine.Ref{}) {
				tx.Retain(ref)
			}
		}
		tx.Set(recordSpace, []byte(name), o.encode())
		if o.inline() {
			tx.Set(dataSpace, []byte(name), o.content(0))
		} else {
			tx.Delete(dataSpace, []byte(name))
		}
		if old.seed == 0 {
			tx.Add([]byte(objects), engine.Amount{Objects: 1})
		}
		return nil
	})
}

func release(tx engine.Tx, o object) {
	for _, ref := range o.refs {
		if ref != (engine.Ref{}) {
			tx.Release(ref)
		}
	}
}

func remove(s engine.Store, name string) error {
	return s.Update(background, []byte(name), func(tx engine.Tx) error {
		old, err := load(tx, name)
		if err != nil || old.seed == 0 {
			return err
		}
		release(tx, old)
		tx.Delete(recordSpace, []byte(name))
		tx.DeleteRange(dataSpace, []byte(name), append([]byte(name), 0))
		tx.Add([]byte(objects), engine.Amount{Objects: -1})
		return nil
	})
}

// put puts the chunks of an object. The caller forgets them.
func put(s engine.Store, o *object) error {
	for i, n := range o.sizes {
		if n == 0 {
			break
		}
		c, err := s.Put(background, bytes.NewReader(o.content(i)), int64(n))
		if err != nil {
			return err
		}
		o.refs[i] = c.Ref
	}
	return nil
}

// write stores an object: its chunks, if it is more than is kept inline, and the record. It protects the chunks no longer.
func write(s engine.Store, name string, o *object) (err error) {
	if o.sizes[0] > engine.MaxInline {
		err = put(s, o)
	}
	if err == nil {
		err = store(s, name, o)
	}
	s.Forget(o.refs[:]...)
	return err
}

// reads holds what is read of the names whose state is known against that. An error that may is told of is none.
func reads(t *testing.T, s *local.Store, want map[string][]object, at int64, may func(error) bool) {
	t.Helper()
	for name, states := range want {
		if len(states) > 1 {
			continue
		}
		var got object
		err := s.View(background, []byte(name), func(r engine.Reader) (err error) {
			got, err = load(r, name)
			return err
		})
		switch {
		case err != nil && !may(err):
			t.Errorf("operation %d: read %s: %v", at, name, err)
		case err == nil && got.seed != states[0].seed:
			t.Errorf("operation %d: %s reads as %x instead of %x", at, name, got.seed, states[0].seed)
		}
	}
}

// script is one worker's part of a randomised script on names of its own.
func script(s *local.Store, j *crashtest.Journal[object], rng *rand.Rand, worker, steps int) error {
	last := map[string]object{}
	for range steps {
		name := fmt.Sprintf("w%d/%d/", worker, rng.IntN(6))
		o := object{seed: rng.Uint64() | 1}
		var err error
		switch what := rng.IntN(100); {
		case what < 40:
			o.sizes[0] = rng.IntN(engine.MaxInline)
			err = j.Do(name, o, func() error { return store(s, name, &o) })
		case what < 70:
			for i := range 1 + rng.IntN(3) {
				o.sizes[i] = 1 + rng.IntN(1<<(8+rng.IntN(10)))
			}
			err = j.Do(name, o, func() error {
				perr := put(s, &o)
				if perr == nil {
					perr = store(s, name, &o)
				}
				s.Forget(o.refs[:]...)
				return perr
			})
		case what < 80: // a copy shares the chunks of its source
			from := fmt.Sprintf("w%d/%d/", worker, rng.IntN(6))
			if o = last[from]; o.seed == 0 || from == name {
				continue
			}
			err = j.Do(name, o, func() error { return store(s, name, &o) })
		case what < 95:
			o = object{}
			err = j.Do(name, o, func() error { return remove(s, name) })
		default:
			if err := s.Collect(background); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		last[name] = o
	}
	return nil
}

// verify reads an object whole and compares it.
func verify(s engine.Store, name string, o object) error {
	for i, n := range o.sizes {
		if n == 0 && i > 0 {
			break
		}
		var got []byte
		var err error
		if o.inline() {
			err = s.View(background, []byte(name), func(r engine.Reader) error {
				v, err := r.Get(dataSpace, []byte(name))
				got = bytes.Clone(v)
				return err
			})
		} else {
			got, err = readChunk(s, o.refs[i], int64(n))
		}
		if err != nil {
			return fmt.Errorf("%s, part %d of %d bytes: %w", name, i, n, err)
		}
		if !bytes.Equal(got, o.content(i)) {
			return fmt.Errorf("%s, part %d of %d bytes: wrong bytes", name, i, n)
		}
	}
	return nil
}

func readChunk(s engine.Store, ref engine.Ref, n int64) ([]byte, error) {
	r, err := s.Open(background, ref, 0, n)
	if err != nil {
		return nil, err
	}
	b := make([]byte, n)
	_, err = io.ReadFull(r, b)
	return b, errors.Join(err, r.Close())
}

// consistent reads everything in the store and returns it by name: each object is whole, each chunk has exactly the owners that
// refer to it, the counter is right.
func consistent(s *local.Store) (map[string]object, error) {
	found := map[string]object{}
	owners := map[engine.Ref]int64{}
	var count, inline int64
	err := s.View(background, nil, func(r engine.Reader) error {
		it := r.Scan(recordSpace, nil, nil)
		for it.Next() {
			v, err := it.Value()
			if err != nil {
				return errors.Join(err, it.Close())
			}
			o := decodeObject(v)
			found[string(it.Key())] = o
			if o.inline() {
				inline++
			}
			for _, ref := range o.refs {
				if ref != (engine.Ref{}) {
					owners[ref]++
				}
			}
		}
		if err := it.Close(); err != nil {
			return err
		}
		data := r.Scan(dataSpace, nil, nil)
		for data.Next() {
			inline--
		}
		counted, err := r.Counter([]byte(objects))
		count = counted.Objects
		return errors.Join(err, data.Close())
	})
	if err != nil {
		return nil, err
	}
	if count != int64(len(found)) || inline != 0 {
		return nil, fmt.Errorf("%d objects are counted, %d are there; inline contents differ by %d", count, len(found), inline)
	}
	err = s.Owners(background, func(ref engine.Ref, n int64) error {
		if owners[ref] != n {
			return fmt.Errorf("chunk %x has %d owners but counts %d", ref, owners[ref], n)
		}
		delete(owners, ref)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(owners) > 0 {
		return nil, fmt.Errorf("%d chunks have owners but count none", len(owners))
	}
	for name, o := range found {
		if err := verify(s, name, o); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// checkCrash compares a store after a power cut with what its names may be.
func checkCrash(s *local.Store, want map[string][]object, n int) error {
	found, err := consistent(s)
	if err != nil {
		return err
	}
	var newest engine.Stamp
	for name, states := range want {
		got := found[name]
		if !slices.ContainsFunc(states, func(o object) bool { return o.seed == got.seed }) {
			return fmt.Errorf("%s is the object %x; %d states are possible, acknowledged is %x", name, got.seed, len(states), states[0].seed)
		}
		newest = max(newest, got.stamp)
	}
	for name := range found {
		if _, ok := want[name]; !ok {
			return fmt.Errorf("%s was never written", name)
		}
	}
	// Life goes on: now and then collect, write, and look again.
	if n%16 != 0 {
		return nil
	}
	if err := s.Collect(background); err != nil {
		return err
	}
	o := object{seed: uint64(n), sizes: [3]int{70_000}}
	if err := put(s, &o); err != nil {
		return err
	}
	if err := store(s, "after/", &o); err != nil {
		return err
	}
	s.Forget(o.refs[0])
	if o.stamp <= newest {
		return fmt.Errorf("the stamp %d is not later than %d, which was given before the cut", o.stamp, newest)
	}
	_, err = consistent(s)
	return err
}

// replicasAlike tells whether the metadata of a store that is closed is the same on all disks that are to have it, file by file. Sidecars of
// files that are gone take no part: nobody reads them.
func replicasAlike(o local.Options) error {
	var first map[string]string
	for _, dir := range o.Dirs[:local.Replicas(len(o.Dirs))] {
		meta := o.FS.PathJoin(dir, "meta")
		names, err := o.FS.List(meta)
		if err != nil {
			return err
		}
		files := make(map[string]string)
		for _, name := range names {
			if of, ok := strings.CutSuffix(name, ".sum"); ok && !slices.Contains(names, of) {
				continue
			}
			f, err := o.FS.Open(o.FS.PathJoin(meta, name))
			if err != nil {
				return err
			}
			b, err := io.ReadAll(f)
			if err := errors.Join(err, f.Close()); err != nil {
				return err
			}
			files[name] = string(b)
		}
		if first == nil {
			first = files
		}
		for name, b := range first {
			if other, ok := files[name]; !ok || other != b {
				return fmt.Errorf("%s/%s is there: %t, with %d bytes of %d as on the first disk", meta, name, ok, len(other), len(b))
			}
		}
		for name := range files {
			if _, ok := first[name]; !ok {
				return fmt.Errorf("%s/%s is not on the first disk", meta, name)
			}
		}
	}
	return nil
}

func TestPowerCutAtEveryFileOperation(t *testing.T) {
	layouts := []int{1, 2, 3, 6} // disks: 1, 1+1, 2+1, 4+2
	for _, n := range layouts {
		t.Run(fmt.Sprintf("%d disks", n), func(t *testing.T) {
			t.Parallel()
			crashtest.Run(t, crashtest.Config[object]{
				Store:  small(n),
				Seed:   *crashSeed,
				Points: (*crashPoints + len(layouts) - 1) / len(layouts),
				Script: func(s *local.Store, j *crashtest.Journal[object], rng *rand.Rand) error {
					var wg sync.WaitGroup
					errs := make([]error, 2)
					for w := range errs {
						mine := rand.New(rand.NewPCG(rng.Uint64(), 0))
						wg.Go(func() { errs[w] = script(s, j, mine, w, 40) })
					}
					wg.Wait()
					return errors.Join(errs...)
				},
				Check: func(s *local.Store, want map[string][]object, n int) error {
					if n := s.Lagging(); n > 0 {
						return fmt.Errorf("%d disks that had the metadata have it no more", n)
					}
					return checkCrash(s, want, n)
				},
				Closed: replicasAlike,
			})
		})
	}
}

// small returns the options of a store on n disks in which little data makes many tables and extents.
func small(n int) local.Options {
	o := local.Options{CacheSize: 1 << 20, MemTableSize: 64 << 10, ExtentSize: 512 << 10, SealGarbage: 64 << 10}
	for i := range n {
		o.Dirs = append(o.Dirs, fmt.Sprintf("d%d", i))
	}
	return o
}

// smallIn is small on the machine's own disk.
func smallIn(root string, n int) local.Options {
	o := small(n)
	for i, dir := range o.Dirs {
		o.Dirs[i] = filepath.Join(root, dir)
	}
	return o
}

// requireKept requires that a store holds these objects, and whatever else, whole.
func requireKept(t *testing.T, s *local.Store, want map[string]object, what string) {
	t.Helper()
	for name, o := range want {
		var got object
		require.NoError(t, s.View(background, []byte(name), func(r engine.Reader) (err error) {
			got, err = load(r, name)
			return err
		}), "%s: %s", what, name)
		require.Equal(t, o.seed, got.seed, "%s: %s", what, name)
	}
	_, err := consistent(s)
	require.NoError(t, err, what)
}

func TestObjectsEncode(t *testing.T) {
	o := object{seed: 7, sizes: [3]int{1, 2, 3}, refs: [3]engine.Ref{{1}, {2}, {3}}, stamp: 9}
	require.Equal(t, o, decodeObject(o.encode()))
}
