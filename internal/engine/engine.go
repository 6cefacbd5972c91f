// Package engine is the contract of blobd's durable storage. It names no file and no Pebble, so that another engine can serve
// the same services later; the suite in enginetest holds every implementation to it.
//
// It offers two things:
//
//   - an ordered key space, read in snapshots (View) and written in transactions on one partition (Update);
//   - chunks: immutable runs of bytes, too large for the key space, that a transaction comes to own by reference count.
//
// # Partitions
//
// A partition is a key prefix chosen by the service: one blob name with its snapshots, versions and blocks, or one table
// PartitionKey (Calder et al., Windows Azure Storage, SOSP 2011, section 5). It is the unit of atomicity: a transaction writes
// keys of exactly one. The service encodes partitions prefix-free: no partition is a prefix of another.
//
// # Durability
//
// What Update and Put acknowledged survives a power cut at any later moment. A transaction is all or nothing. Chunks are made
// durable before the transaction that retains them, so bytes without an owner are garbage and an owner without bytes is
// corruption. A View on one partition returns only what is durable; a View over several may show a write whose
// acknowledgement is still on its way.
//
// # Verified reads
//
// Every byte read is checked against the checksum made when it was written. What cannot be verified or rebuilt is ErrCorrupt,
// never returned.
package engine

import (
	"context"
	"errors"
	"io"
	"time"
)

// Kinds of failure. Implementations wrap them with what failed; callers use errors.Is.
var (
	// ErrNotFound: there is no entry at the key. Returned bare, as it is no failure of the store.
	ErrNotFound = errors.New("not found")
	// ErrCorrupt: stored bytes do not match their checksum and cannot be rebuilt.
	ErrCorrupt = errors.New("stored data is corrupt")
	// ErrNoSpace: a disk is full. Nothing was written; reads go on, and so do small transactions that delete or release and
	// retain nothing: they make room.
	ErrNoSpace = errors.New("no space left on the data disks")
	// ErrUnavailable: too few disks are there to write (or to read) safely.
	ErrUnavailable = errors.New("too few data disks are available")
	// ErrBusy: the process or the machine is short of file descriptors or memory just now. Nothing was written; to try again helps.
	ErrBusy = errors.New("short of file descriptors or memory")
	// ErrTooLarge: a value, a transaction or a chunk is over its limit. A defect of the caller.
	ErrTooLarge = errors.New("over the engine's limit")
	// ErrReleased: a chunk was let go of by its last owner between the look-up of its Ref and its use. Look again.
	ErrReleased = errors.New("the chunk has no owner any more")
	// ErrClosed: the store is closed or closing.
	ErrClosed = errors.New("the store is closed")
)

// Limits that every implementation keeps, chosen so that known distributed engines can keep them too.
const (
	// MaxKey is the longest key, in bytes.
	MaxKey = 8 << 10
	// MaxValue is the largest value, in bytes.
	MaxValue = 64 << 10
	// MaxTransaction bounds the sum of keys and values that one transaction writes, in bytes.
	MaxTransaction = 8 << 20
	// MaxInline is the size up to which content is better kept in the key space than in a chunk, in bytes.
	MaxInline = 16 << 10
	// MaxChunk is the largest chunk, in bytes. Longer content is a list of chunks.
	MaxChunk = 8 << 20
)

// Space is a family of keys. Entries of one partition in several spaces are written atomically but lie apart, so that a scan
// of one (the properties of blobs) does not read past the other (their inline content). Spaces are numbered in spaces.go.
type Space byte

// Ref names a chunk. It is opaque, fixed in size and never reused while owned; the zero Ref names nothing.
type Ref [24]byte

// Chunk is what Put stored.
type Chunk struct {
	Ref   Ref
	Size  int64  // bytes
	CRC64 uint64 // CRC-64/NVME of the content, the sum that the wire calls x-ms-content-crc64
}

// Store is durable storage. All methods may be called concurrently.
type Store interface {
	// View runs fn on one snapshot of the keys under scope (a partition, or a prefix of several). What fn got from the
	// Reader is valid until it returns. Keep it short: one page of a listing, one look-up.
	View(ctx context.Context, scope []byte, fn func(Reader) error) error

	// Update runs fn as a transaction on one partition and returns when its writes are durable. Transactions on one
	// partition are serial. If fn returns an error nothing is written and that error is returned as it is. fn may be run
	// again after a conflict, so it has no side effect but on its Tx. No lock is held by the caller's doing while a socket
	// is read: take the body first.
	Update(ctx context.Context, partition []byte, fn func(Tx) error) error

	// Put stores exactly size bytes of r as a chunk, 1 to MaxChunk. They are durable when it returns but owned by nobody: a
	// transaction must retain the Ref, and the caller must then Forget it, also when no transaction came of it. If r ends
	// early or fails, the error is r's (io.ErrUnexpectedEOF for an early end) and nothing is kept.
	Put(ctx context.Context, r io.Reader, size int64) (Chunk, error)

	// Forget ends the protection that Put gave to chunks not yet owned. What no transaction has retained by then is garbage.
	Forget(refs ...Ref)

	// Open reads length bytes of a chunk from offset, each verified before it is handed out. The reader also implements
	// io.WriterTo. The chunk stays readable until Close even if its last owner lets go of it meanwhile. ErrReleased if it was
	// collected before.
	Open(ctx context.Context, ref Ref, offset, length int64) (io.ReadCloser, error)

	// OpenWhole is Open of all of a chunk, and holds it to the CRC-64 that Put gave: the last bytes are handed out only if all before
	// them and they are what was put, and not what a misplaced file has there. Otherwise it is ErrCorrupt.
	OpenWhole(ctx context.Context, c Chunk) (io.ReadCloser, error)

	// Health tells what an operator has to know of the disks.
	Health() Health

	// Collect frees the space of chunks without owner now. Implementations do it by themselves in time; this is for who cannot wait.
	Collect(ctx context.Context) error

	// Close waits for what is under way and leaves the store clean. Calls after it return ErrClosed.
	Close() error
}

// Reader reads one snapshot. It is used by one goroutine at a time.
type Reader interface {
	// Get returns the value at key, ErrNotFound if there is none.
	Get(space Space, key []byte) ([]byte, error)
	// GetEach calls fn with the values at those of keys that have one, by their index; keys ascend. A value is valid until fn
	// returns, and an error of fn ends it. Keys that lie close together cost less than as many Gets.
	GetEach(space Space, keys [][]byte, fn func(i int, value []byte) error) error
	// Scan iterates over the entries with lower <= key < upper in byte order; the caller closes the Iterator. A nil upper
	// means the end of the space.
	Scan(space Space, lower, upper []byte) Iterator
	// Counter returns the value of a counter, zero if nothing was ever added.
	Counter(key []byte) (Amount, error)
	// Counters calls fn with the counters whose keys begin with prefix, in the order of their keys, until it fails. A key is valid until
	// fn returns.
	Counters(prefix []byte, fn func(key []byte, n Amount) error) error
}

// Amount is what a counter counts.
type Amount struct{ Bytes, Objects int64 }

// Plus returns the sum of two amounts.
func (a Amount) Plus(b Amount) Amount { return Amount{a.Bytes + b.Bytes, a.Objects + b.Objects} }

// Minus returns what is left of an amount without b.
func (a Amount) Minus(b Amount) Amount { return Amount{a.Bytes - b.Bytes, a.Objects - b.Objects} }

// Tx is a transaction on one partition. Its reads show the state before the transaction, not its own writes. Every key given
// to Set, Delete and DeleteRange begins with the partition; another one is a defect and fails the transaction. Within the
// partition its reads are one snapshot; what it reads elsewhere (its container's record) may change before it commits.
type Tx interface {
	Reader
	// Stamp is the transaction's time: later than every stamp given before it by this store, also after a restart with a
	// clock set back. ETag, Last-Modified, snapshot and version ids and Timestamp are made of it.
	Stamp() Stamp
	Set(space Space, key, value []byte)
	Delete(space Space, key []byte)
	// DeleteRange deletes the entries with lower <= key < upper.
	DeleteRange(space Space, lower, upper []byte)
	// Add adds to a counter. Counters lie outside the partitions and commute; they change with the transaction.
	Add(counter []byte, delta Amount)
	// Drop takes a counter away, which is zero then. Nobody adds to it meanwhile.
	Drop(counter []byte)
	// Retain makes the transaction one more owner of a chunk, Release one fewer; the last owner's release frees it. A Ref that
	// neither has an owner nor is protected since its Put fails the transaction with ErrReleased.
	Retain(ref Ref)
	Release(ref Ref)
}

// Iterator walks a Scan. It starts before the first entry. Key and Value are valid until the next move. After a move returned
// false, Close tells whether that was the end or a failure.
type Iterator interface {
	Next() bool
	// SeekGE moves to the first entry with key >= the given one, forwards or backwards.
	SeekGE(key []byte) bool
	// SeekLT moves to the last entry with key < the given one.
	SeekLT(key []byte) bool
	Key() []byte
	Value() ([]byte, error)
	Close() error
}

// Health is the state of the store as an operator needs it.
type Health struct {
	Writable bool   // writes are accepted
	Degraded bool   // some data has less redundancy than configured
	Detail   string // one line a person can act on; empty when all is well
	Disks    []DiskHealth
	Healing  int   // extents that have less redundancy than configured and wait to be healed
	Garbage  int64 // bytes of chunks without owner that the last collection left on the disks
	Stuck    int   // file operations that nobody waits for any more, as their disk does not answer
	Files    int   // content files open for reading
	MaxFiles int   // and how many may be
	Scrub    Scrub
}

// Scrub is how far the store has read itself to find damage before it is too late to heal it.
type Scrub struct {
	State    string    // off, waiting, running, paused; empty: the store does not scrub
	Rate     int64     // bytes a second
	Pass     uint64    // number of the pass under way, or of the last
	Started  time.Time // of that pass
	Finished time.Time // of the last pass that came to its end; zero if none did
	Read     int64     // bytes that the pass has read
	Total    int64     // bytes that it reads in all, about
	Found    int64     // things that the pass found not as they were written
	Healed   int64     // of them, so many are again
	Lost     int64     // and so many nothing can bring back

	ReadBytes, FoundAll, HealedAll int64    // since the process began
	Damaged                        []Damage // what is damaged for good as far as is known, the first of it
	DamagedAll                     int      // how much there is of that
}

// Damage is something stored that cannot be read and that nothing is left to rebuild from.
type Damage struct {
	What  string   // a chunk, or a file of the metadata
	Names []string // what is kept there, as the services name it, some of it
}

// Scrubber is implemented by stores that read themselves.
type Scrubber interface {
	// StartScrub begins a pass now, or goes on with the one that was paused.
	StartScrub() error
	// PauseScrub ends the reading until StartScrub, also over restarts.
	PauseScrub() error
}

// DiskHealth is the state of one data directory.
type DiskHealth struct {
	Path   string
	OK     bool
	Detail string // why it is not
	Free   uint64 // bytes
	Total  uint64 // bytes
	// Rebuilt counts the blocks that it did not give as they were written and that were rebuilt for readers, since the start.
	Rebuilt int64
}
