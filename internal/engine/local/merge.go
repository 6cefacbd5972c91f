package local

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/invariants"
)

// mergerName is kept by Pebble on disk. Operands and values are zigzag varints (docs/format.md, "Key space").
const mergerName = "blobd.merge.1"

// Keys of engine.SpaceSystem, after the space byte.
const (
	sysCounter    = 'c' // + counter name: sums of what was added, bytes and objects
	sysDamaged    = 'd' // + 'c' and Ref, or 'f' and a file: what a scrub could not bring back; value: names of what is kept there
	sysForward    = 'f' // + Ref: the Ref that its chunk was moved to; written by Set and Delete
	sysLost       = 'l' // + extent id, 8 bytes: the operator has accepted that its files are lost; no value
	sysIncomplete = 'h' // + extent id, 8 bytes: a disk was missing when a chunk in it was stored; no value
	sysRef        = 'r' // + Ref: number of owners of a chunk; absent means zero
	sysStamp      = 's' // every stamp given is below its value
	sysScrub      = 'v' // how far the scrub is; written by Set
)

// merger sums the operands of counters and reference counts and takes the maximum for the stamp limit. An entry whose sum is zero
// stays. To let it vanish (pebble.DeletableValueMerger) is no way out: when a compaction of Pebble 2.1 merges operands with an
// older value that an earlier compaction had already made of some, and the outcome is to be deleted, it goes on with that older
// value as if it had not met it, and writes it out again or panics ("skip=true"). TestZeroSumIsCompacted holds to that.
var merger = &pebble.Merger{
	Name: mergerName,
	Merge: func(key, value []byte) (pebble.ValueMerger, error) {
		m := &valueMerger{}
		if len(key) < 2 {
			return nil, fmt.Errorf("merge operand under the key %x", key)
		}
		switch key[1] {
		case sysStamp:
			m.max = true
		case sysCounter:
			m := &amountMerger{}
			return m, m.MergeNewer(value)
		case sysRef:
		default:
			return nil, fmt.Errorf("merge operand under the key %x", key)
		}
		return m, m.MergeNewer(value)
	},
}

type valueMerger struct {
	v   int64
	max bool
}

func (m *valueMerger) MergeNewer(value []byte) error {
	invariants.Look(1)
	v, err := decodeInt(value)
	if err != nil {
		return err
	}
	if m.max {
		m.v = max(m.v, v)
	} else {
		m.v += v
	}
	return nil
}

// MergeOlder is MergeNewer: both operations commute.
func (m *valueMerger) MergeOlder(value []byte) error { return m.MergeNewer(value) }

func (m *valueMerger) Finish(bool) ([]byte, io.Closer, error) { return appendInt(nil, m.v), nil, nil }

// amountMerger sums the operands of a counter.
type amountMerger struct{ engine.Amount }

func (m *amountMerger) MergeNewer(value []byte) error {
	invariants.Look(1)
	v, err := decodeAmount(value)
	m.Amount = m.Plus(v)
	return err
}

func (m *amountMerger) MergeOlder(value []byte) error { return m.MergeNewer(value) }

func (m *amountMerger) Finish(bool) ([]byte, io.Closer, error) {
	return appendAmount(nil, m.Amount), nil, nil
}

// appendAmount leaves objects out if there are none.
func appendAmount(b []byte, a engine.Amount) []byte {
	b = binary.AppendVarint(b, a.Bytes)
	if a.Objects != 0 {
		b = binary.AppendVarint(b, a.Objects)
	}
	return b
}

func decodeAmount(b []byte) (a engine.Amount, err error) {
	v, n := binary.Varint(b)
	if n <= 0 {
		return a, fmt.Errorf("malformed amount %x", b)
	}
	if a.Bytes = v; n == len(b) {
		return a, nil
	}
	a.Objects, err = decodeInt(b[n:])
	return a, err
}

func appendInt(b []byte, v int64) []byte { return binary.AppendVarint(b, v) }

func decodeInt(b []byte) (int64, error) {
	v, n := binary.Varint(b)
	if n <= 0 || n != len(b) {
		return 0, fmt.Errorf("malformed integer %x", b)
	}
	return v, nil
}
