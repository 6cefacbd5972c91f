package engine

import (
	"context"
	"io"
)

// Snapshotter is implemented by stores that can be backed up while they serve.
type Snapshotter interface {
	// Snapshot holds everything as it is at one moment, which is durable. Its owner closes it.
	Snapshot(ctx context.Context) (Snapshot, error)
}

// Snapshot is a store at one moment: keys, counters and chunks. A chunk that has an owner in it can be opened by the store's Open until
// Close, also if its last owner lets go of it meanwhile: what is deleted keeps its room until then. It is used by one goroutine at a time.
type Snapshot interface {
	// Store is the id of the store, which no other one has. A Ref of it names the same bytes for good.
	Store() [16]byte
	// Stamp is above every stamp that what the snapshot shows was given.
	Stamp() Stamp
	// Entries runs fn on every entry of the services' spaces, by space and key. Key and value are valid until it returns.
	Entries(ctx context.Context, fn func(space Space, key, value []byte) error) error
	// Counters runs fn on every counter that is not 0, by name.
	Counters(ctx context.Context, fn func(name []byte, value Amount) error) error
	// Chunks runs fn on every chunk that has owners, by Ref, with its size in bytes.
	Chunks(ctx context.Context, fn func(ref Ref, size, owners int64) error) error

	io.Closer
}

// Restorer is a new store that is filled from what a Snapshot showed. Until Finish it is of no use for anything else, also after a crash:
// it is opened for nothing but to be thrown away.
type Restorer interface {
	Store
	Snapshotter
	// Load is Update of any keys.
	Load(ctx context.Context, fn func(Tx) error) error
	// Lost returns a Ref for a chunk of which the bytes are lost: it can be owned, and to open it fails with ErrCorrupt. It is protected
	// as after Put, until Forget.
	Lost(size int64) Ref
	// Finish empties SpaceRestore and makes it a store like any other, whose stamps are above the given one.
	Finish(ctx context.Context, stamp Stamp) error
}
