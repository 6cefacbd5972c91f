package blob

import (
	"encoding/binary"

	"github.com/blobd/blobd/internal/engine"
)

// workKind is what the sweeper has to do. Stored: never renumber.
type workKind byte

const (
	// workContainer: the contents of a deleted container. Lies under the container's partition; the stamp is the generation, the
	// value the stamp of the deletion.
	workContainer workKind = 1
	// workContent: a chunk list or page map without an owner; the stamp is its id. The value of this and all that follow is one
	// byte of detail, here the ContentKind, and the account.
	workContent workKind = 2
	// workPending: uncommitted blocks; the stamp is their epoch. It is there from the first block on.
	workPending workKind = 3
	// workExpiry: a soft-deleted blob in the slot with this stamp, whose retention may end. The detail is the slot's kind; 00 and the
	// stamp of the end follow the account.
	workExpiry workKind = 4
	// workCopy: a copy under way; the stamp is when it began.
	workCopy workKind = 5
	// workFold: a page map with layers that can be folded into one; the stamp is its id.
	workFold workKind = 7
	// workContainerExpiry: a soft-deleted container, whose retention may end. Lies under the container's partition; the stamp is the
	// generation.
	workContainerExpiry workKind = 8
)

// workSize is what follows the partition in a key of SpaceBlobQueue: kind and stamp.
const workSize = 1 + 8

func appendWorkKey(b, partition []byte, kind workKind, stamp engine.Stamp) []byte {
	b = append(append(b, partition...), byte(kind))
	return binary.BigEndian.AppendUint64(b, uint64(stamp))
}

// enqueue leaves work for the sweeper, which is told after the transaction.
func (t *Txn) enqueue(kind workKind, stamp engine.Stamp, detail ContentKind) {
	t.Set(engine.SpaceBlobQueue, appendWorkKey(nil, t.key, kind, stamp), append([]byte{byte(detail)}, t.account.Name...))
	t.wake = true
}
