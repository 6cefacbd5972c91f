package record

import (
	"encoding/binary"

	"github.com/blobd/blobd/internal/engine"
)

// WorkKind is what the sweeper has to do. Stored: never renumber.
type WorkKind byte

const (
	// workContainer: the contents of a deleted container. Lies under the container's partition; the stamp is the generation, the
	// value the stamp of the deletion.
	WorkContainer WorkKind = 1
	// workContent: a chunk list or page map without an owner; the stamp is its id. The value of this and all that follow is one
	// byte of detail, here the ContentKind, and the account.
	WorkContent WorkKind = 2
	// workPending: uncommitted blocks; the stamp is their epoch. It is there from the first block on.
	WorkPending WorkKind = 3
	// workExpiry: a soft-deleted blob in the slot with this stamp, whose retention may end. The detail is the slot's kind; 00 and the
	// stamp of the end follow the account.
	WorkExpiry WorkKind = 4
	// workCopy: a copy under way; the stamp is when it began.
	WorkCopy WorkKind = 5
	// workFold: a page map with layers that can be folded into one; the stamp is its id.
	WorkFold WorkKind = 7
	// workContainerExpiry: a soft-deleted container, whose retention may end. Lies under the container's partition; the stamp is the
	// generation.
	WorkContainerExpiry WorkKind = 8
)

// workSize is what follows the partition in a key of SpaceBlobQueue: kind and stamp.
const workSize = 1 + 8

func AppendWorkKey(b, partition []byte, kind WorkKind, stamp engine.Stamp) []byte {
	b = append(append(b, partition...), byte(kind))
	return binary.BigEndian.AppendUint64(b, uint64(stamp))
}

// Work is one item of the queue.
type Work struct {
	Key       []byte
	Partition []byte
	Kind      WorkKind
	Stamp     engine.Stamp
	Value     []byte
}

func ParseWork(key, value []byte) (Work, bool) {
	w := Work{Key: append([]byte(nil), key...), Value: append([]byte(nil), value...)}
	n := len(w.Key) - workSize
	if n < 1 {
		return w, false
	}
	w.Partition, w.Kind, w.Stamp = w.Key[:n:n], WorkKind(w.Key[n]), engine.Stamp(binary.BigEndian.Uint64(w.Key[n+1:]))
	return w, true
}

func CutZero(b []byte) (head, rest []byte, ok bool) {
	for i, c := range b {
		if c == 0 {
			return b[:i], b[i+1:], true
		}
	}
	return b, nil, false
}
