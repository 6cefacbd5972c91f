package local

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"unsafe"

	"github.com/cockroachdb/pebble/v2"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/rowcache"
	"github.com/blobd/blobd/internal/invariants"
	"github.com/blobd/blobd/internal/speedup"
)

// source is what a reader reads from: a snapshot, or the store under a stripe's lock.
type source interface {
	Get(key []byte) ([]byte, io.Closer, error)
	NewIter(o *pebble.IterOptions) (*pebble.Iterator, error)
}

// reader implements engine.Reader over a source. What it handed out is let go by release.
type reader struct {
	src     source
	key     []byte      // scratch: the stored key
	closers []io.Closer // of values handed out

	rows  *rowcache.Cache // nil for none
	count uint64          // of batches that are visible, at least
	adds  bool            // what is read is kept

	lent [][]byte // values handed out, where they are copies: see checked
}

// release lets go of the values handed out.
func (r *reader) release() {
	for i, c := range r.closers {
		_ = c.Close() // a release of cache, without an outcome
		r.closers[i] = nil
	}
	r.closers = r.closers[:0]
	invariants.Overwrite(r.key)
	for _, b := range r.lent {
		invariants.Overwrite(b)
	}
	r.lent = nil
	r.src, r.rows, r.adds = nil, nil, false
}

func (r *reader) stored(space engine.Space, key []byte) []byte {
	r.key = append(append(r.key[:0], byte(space)), key...)
	return r.key
}

func (r *reader) get(key []byte) ([]byte, error) {
	v, c, err := r.src.Get(key)
	if err != nil {
		if errors.Is(err, pebble.ErrNotFound) {
			return nil, engine.ErrNotFound
		}
		return nil, fmt.Errorf("get: %w", kind(err))
	}
	r.closers = append(r.closers, c)
	return v, nil
}

// Get implements engine.Reader.
func (r *reader) Get(space engine.Space, key []byte) ([]byte, error) {
	if invariants.Enabled {
		return r.checked(space, key)
	}
	return r.find(space, key)
}

// checked is find of a value that is nonsense after its time, and that the key space, asked again, has too. What a transaction reads of
// other partitions may change between the two; then the row is not the same any more, or the filter has the name.
func (r *reader) checked(space engine.Space, key []byte) ([]byte, error) {
	lend := func(v []byte) []byte {
		v = bytes.Clone(v)
		r.lent = append(r.lent, v)
		return v
	}
	v, err := r.find(space, key)
	if r.rows == nil || err != nil && err != engine.ErrNotFound {
		return lend(v), err
	}
	stored := append([]byte{byte(space)}, key...)
	hash := r.rows.Hash(stored)
	real, realErr := r.get(stored)
	if space.Cached() && err == nil {
		row, ok := r.rows.Get(hash, stored, r.count)
		if ok && unsafe.SliceData(row) == unsafe.SliceData(v) && (realErr != nil || !bytes.Equal(row, real)) {
			invariants.Violated("the row cache has %x at %x, the key space %x (%v)", row, stored, real, realErr)
		}
	}
	if space.Filtered() && err == engine.ErrNotFound && realErr == nil && r.rows.Filter.Lacks(hash, r.count) {
		invariants.Violated("the Bloom filter lacks %x, which is there", stored)
	}
	return lend(v), err
}

func (r *reader) find(space engine.Space, key []byte) ([]byte, error) {
	k := r.stored(space, key)
	keeps := space.Cached()
	if r.rows == nil || !keeps && !space.Filtered() {
		return r.get(k)
	}
	hash := r.rows.Hash(k)
	if keeps {
		if v, ok := r.rows.Get(hash, k, r.count); ok {
			return v, nil
		}
	}
	filtered := space.Filtered()
	if filtered && r.rows.Filter.Lacks(hash, r.count) {
		speedup.FilterAbsent.Add(hash, 1)
		return nil, engine.ErrNotFound
	}
	v, err := r.get(k)
	if filtered && err == engine.ErrNotFound {
		speedup.FilterVain.Add(hash, 1)
	}
	if err == nil && keeps && r.adds {
		r.rows.Add(hash, k, v, r.count)
	}
	return v, err
}

// Counter implements engine.Reader.
func (r *reader) Counter(key []byte) (engine.Amount, error) {
	r.key = append(append(r.key[:0], byte(engine.SpaceSystem), sysCounter), key...)
	v, err := r.get(r.key)
	if err == engine.ErrNotFound {
		return engine.Amount{}, nil
	}
	if err != nil {
		return engine.Amount{}, err
	}
	return amount(v)
}

func amount(v []byte) (engine.Amount, error) {
	a, err := decodeAmount(v)
	if err != nil {
		return a, fmt.Errorf("%w: %w", engine.ErrCorrupt, err)
	}
	return a, nil
}

// Counters implements engine.Reader.
func (r *reader) Counters(prefix []byte, fn func(key []byte, n engine.Amount) error) error {
	lower := append([]byte{sysCounter}, prefix...)
	it := r.Scan(engine.SpaceSystem, lower, engine.PrefixEnd(lower))
	defer it.Close()
	for it.Next() {
		v, err := it.Value()
		if err != nil {
			return err
		}
		a, err := amount(v)
		if err == nil {
			err = fn(it.Key()[1:], a)
		}
		if err != nil {
			return err
		}
	}
	return it.Close()
}

// integer reads a merged integer of the system space, 0 if there is none.
func (r *reader) integer(family byte, key []byte) (int64, error) {
	r.key = append(append(r.key[:0], byte(engine.SpaceSystem), family), key...)
	v, err := r.get(r.key)
	if err != nil {
		if err == engine.ErrNotFound {
			return 0, nil
		}
		return 0, err
	}
	n, err := decodeInt(v)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", engine.ErrCorrupt, err)
	}
	if invariants.Enabled && family == sysRef && n < 0 {
		invariants.Violated("chunk %x has %d owners", key, n)
	}
	return n, nil
}

// Scan implements engine.Reader.
func (r *reader) Scan(space engine.Space, lower, upper []byte) engine.Iterator {
	buf := make([]byte, 0, 2+len(lower)+len(upper))
	buf = append(append(buf, byte(space)), lower...)
	n := len(buf)
	if upper == nil {
		buf = append(buf, byte(space)+1)
	} else {
		buf = append(append(buf, byte(space)), upper...)
	}
	it, err := r.src.NewIter(&pebble.IterOptions{LowerBound: buf[:n:n], UpperBound: buf[n:]})
	if err != nil {
		return &iterator{err: fmt.Errorf("scan: %w", kind(err))}
	}
	return &iterator{it: it, space: byte(space)}
}

// iterator implements engine.Iterator.
type iterator struct {
	it      *pebble.Iterator
	space   byte
	started bool
	key     []byte // scratch of seeks
	err     error

	lent [][]byte // keys and values handed out, where they are copies that end with the next move
}

// moves ends the life of what was handed out.
func (i *iterator) moves() {
	for _, b := range i.lent {
		invariants.Overwrite(b)
	}
	i.lent = i.lent[:0]
}

// lend hands out b, or a copy that is nonsense after the next move.
func (i *iterator) lend(b []byte) []byte {
	if !invariants.Enabled {
		return b
	}
	b = bytes.Clone(b)
	i.lent = append(i.lent, b)
	return b
}

func (i *iterator) Next() bool {
	if i.it == nil {
		return false
	}
	i.moves()
	if !i.started {
		i.started = true
		return i.it.First()
	}
	return i.it.Next()
}

func (i *iterator) SeekGE(key []byte) bool {
	if i.it == nil {
		return false
	}
	i.started = true
	i.key = append(append(i.key[:0], i.space), key...)
	i.moves() // key may be one that was handed out
	return i.it.SeekGE(i.key)
}

func (i *iterator) SeekLT(key []byte) bool {
	if i.it == nil {
		return false
	}
	i.started = true
	i.key = append(append(i.key[:0], i.space), key...)
	i.moves() // key may be one that was handed out
	return i.it.SeekLT(i.key)
}

func (i *iterator) Key() []byte { return i.lend(i.it.Key()[1:]) }

func (i *iterator) Value() ([]byte, error) {
	v, err := i.it.ValueAndErr()
	if err != nil {
		return nil, fmt.Errorf("scan: %w", kind(err))
	}
	return i.lend(v), nil
}

func (i *iterator) Close() error {
	if i.it == nil {
		return i.err
	}
	i.moves()
	err := i.it.Close()
	i.it = nil
	if err != nil {
		i.err = fmt.Errorf("scan: %w", kind(err))
	}
	return i.err
}
