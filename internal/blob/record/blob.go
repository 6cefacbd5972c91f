// Package record is the Blob service's form on disk: the keys of its spaces, the records of containers and blobs, chunk lists,
// uncommitted blocks, page maps, hints of the tag index and the sweeper's work items, with what can be told of a record alone
// (its tier now, whether it can be read). docs/format.md specifies the bytes and testdata/record.golden holds them.
//
// # Data model
//
// A container record lies under its account and name and carries a generation, a number that the store never gives again.
// Everything in the container is keyed by the generation, so a delete is one record, a create-again starts empty at once and
// the old contents are swept later. One blob name is one partition: its current blob, snapshots, versions, blocks and content
// change together or not at all.
//
//	SpaceContainer    account 00 name 00                   the container
//	                  account 00 name 00 deletion          a soft-deleted container
//	SpaceBlob         partition                            the current blob; List Blobs scans only this
//	SpaceBlobHistory  partition slot                       a snapshot, a version, or a soft-deleted blob
//	SpaceBlobData     partition [slot]                     inline content of the blob in that place
//	SpaceBlock        partition 'c' content offset         a page of a content's chunk list, by its first byte's offset
//	                  partition 'h' content                how many records share that list, if more than one
//	                  partition 'p'                        head of the uncommitted blocks
//	                  partition 'u' epoch id               an uncommitted block
//	SpacePage         partition …                          page maps
//	SpaceUncommitted  partition                            a name with uncommitted blocks and no blob
//	SpaceBlobQueue    partition kind …                     work for the sweeper
//
// where partition is generation, escaped name, terminator (see key.go) and slot is a stamp and a kind.
package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/blobd/blobd/internal/blob/lease"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

// Type is a blob's type.
type Type byte

// The types. Stored: never renumber.
const (
	BlockBlob  Type = 1
	PageBlob   Type = 2
	AppendBlob Type = 3
)

func (t Type) String() string {
	switch t {
	case PageBlob:
		return "PageBlob"
	case AppendBlob:
		return "AppendBlob"
	}
	return "BlockBlob"
}

// Blob is one blob as it is stored: the current one, a snapshot or a version. Its strings alias what it was decoded from.
type Blob struct {
	Type    Type
	Changed engine.Stamp // ETag and Last-Modified, which always change together
	Created engine.Stamp
	Size    int64 // bytes of content
	HTTP    HTTPProperties
	MD5     string // the stored Content-MD5: empty, 16 bytes, or whatever Set Blob Properties was given
	// CRC64 is the CRC-64/NVME of the content when HasCRC64 is set.
	CRC64    uint64
	HasCRC64 bool
	Content  Content
	Metadata []protocol.Pair // names in the case given
	Tags     []protocol.Pair // by key
	Lease    lease.Lease
	Tier     Tiering
	Copy     *Copy
	// Sequence is a page blob's sequence number.
	Sequence int64
	// Blocks is the number of committed blocks of an append blob.
	Blocks uint32
	Sealed bool
	// Version is the version id; 0 while versioning was off.
	Version engine.Stamp
	// EncryptionScope is empty for the account's own.
	EncryptionScope string
	// Deleted is set in the history by a soft delete.
	Deleted SoftDelete

	// extra holds fields of a later format as they were read, so that a rewrite keeps them.
	extra string
}

// HTTPProperties are the content headers that a client sets and gets back.
type HTTPProperties struct {
	ContentType, ContentEncoding, ContentLanguage, ContentDisposition, CacheControl string
}

// DefaultContentType is given to blobs that were put without one.
const DefaultContentType = "application/octet-stream"

// Content tells where the bytes are.
type Content struct {
	Kind ContentKind
	// ID names a chunk list or page map within the partition.
	ID engine.Stamp
	// Chunks are those of ContentChunks, at most maxDirect.
	Chunks []engine.Chunk
}

// ContentKind is where content lies.
type ContentKind byte

// The kinds of content. Stored: never renumber.
const (
	ContentEmpty  ContentKind = 0
	ContentInline ContentKind = 1 // in SpaceBlobData, in the record's own slot
	ContentChunks ContentKind = 2 // a few chunks named in the record
	ContentList   ContentKind = 3 // a chunk list in SpaceBlock
	ContentPages  ContentKind = 4 // a page map in SpacePage
)

// MaxDirect is the most chunks named in a record: more would thin out the scan of List Blobs.
const MaxDirect = 4

// Copy is the last copy into a blob.
type Copy struct {
	ID              [16]byte
	Status          CopyStatus
	Incremental     bool
	Source          string
	Progress, Total int64 // bytes
	Completed       engine.Stamp
	Description     string
	// Snapshot is the destination snapshot of an incremental copy.
	Snapshot engine.Stamp
}

// CopyStatus is how a copy stands. Stored: never renumber.
type CopyStatus byte

// The copy states.
const (
	CopyPending CopyStatus = 1
	CopySuccess CopyStatus = 2
	CopyAborted CopyStatus = 3
	CopyFailed  CopyStatus = 4
)

// SoftDelete is when a blob was deleted and until when it can be had back; the zero value is a blob that is not deleted.
type SoftDelete struct{ At, Until engine.Stamp }

// A record is a version byte, a type byte, two stamps, the size and then fields: a tag byte, a length and that many bytes, in
// ascending order of tags. A reader keeps fields that it does not know, so a later version may add some without rewriting
// anything. docs/format.md specifies them.
const blobVersion = 1

const (
	fieldContent = iota + 1
	fieldContentType
	fieldContentEncoding
	fieldContentLanguage
	fieldContentDisposition
	fieldCacheControl
	fieldMD5
	fieldCRC64
	fieldMetadata
	fieldTags
	fieldLease
	fieldTier
	fieldCopy
	fieldSequence
	fieldBlocks
	fieldSealed
	fieldVersion
	fieldEncryptionScope
	fieldDeleted
	fieldsKnown // the first tag of a later format
)

// ErrBlob is a stored record that cannot be read: a defect, as the engine has verified its bytes.
var ErrBlob = errors.New("blob record is malformed")

// AppendTo appends the stored form.
func (r *Blob) AppendTo(b []byte) []byte {
	b = append(b, blobVersion, byte(r.Type))
	b = binary.LittleEndian.AppendUint64(b, uint64(r.Changed))
	b = binary.LittleEndian.AppendUint64(b, uint64(r.Created))
	b = binary.AppendUvarint(b, uint64(r.Size))
	b = r.Content.appendField(b)
	if r.HTTP.ContentType != DefaultContentType {
		b = appendField(b, fieldContentType, r.HTTP.ContentType)
	}
	b = appendText(b, fieldContentEncoding, r.HTTP.ContentEncoding)
	b = appendText(b, fieldContentLanguage, r.HTTP.ContentLanguage)
	b = appendText(b, fieldContentDisposition, r.HTTP.ContentDisposition)
	b = appendText(b, fieldCacheControl, r.HTTP.CacheControl)
	b = appendText(b, fieldMD5, r.MD5)
	if r.HasCRC64 {
		b = append(b, fieldCRC64, 8)
		b = binary.LittleEndian.AppendUint64(b, r.CRC64)
	}
	b = appendPairs(b, fieldMetadata, r.Metadata)
	b = appendPairs(b, fieldTags, r.Tags)
	if r.Lease.State != lease.Available {
		b = append(b, fieldLease, leaseSize)
		b = appendStoredLease(b, &r.Lease)
	}
	if r.Tier != (Tiering{}) {
		b = append(b, fieldTier, 11, byte(r.Tier.Tier))
		b = binary.LittleEndian.AppendUint64(b, uint64(r.Tier.Changed))
		b = append(b, byte(r.Tier.Pending), flag(r.Tier.High))
	}
	if r.Copy != nil {
		b = r.Copy.appendField(b)
	}
	if r.Sequence != 0 {
		b = appendUint(b, fieldSequence, uint64(r.Sequence))
	}
	if r.Blocks != 0 {
		b = appendUint(b, fieldBlocks, uint64(r.Blocks))
	}
	if r.Sealed {
		b = append(b, fieldSealed, 0)
	}
	if r.Version != 0 {
		b = append(b, fieldVersion, 8)
		b = binary.LittleEndian.AppendUint64(b, uint64(r.Version))
	}
	b = appendText(b, fieldEncryptionScope, r.EncryptionScope)
	b = appendDeleted(b, fieldDeleted, r.Deleted)
	return append(b, r.extra...)
}

// appendDeleted adds the field of a soft delete, if it is one.
func appendDeleted(b []byte, field byte, d SoftDelete) []byte {
	if d == (SoftDelete{}) {
		return b
	}
	b = append(b, field, 16)
	b = binary.LittleEndian.AppendUint64(b, uint64(d.At))
	return binary.LittleEndian.AppendUint64(b, uint64(d.Until))
}

// Decode reads the stored form. The record's strings alias v; slices that the record already has are used again.
func (r *Blob) Decode(v string) error {
	*r = Blob{Metadata: r.Metadata[:0], Tags: r.Tags[:0], Content: Content{Chunks: r.Content.Chunks[:0]}}
	r.HTTP.ContentType = DefaultContentType
	d := decoder{v: v}
	if version := d.byte(); version != blobVersion {
		return fmt.Errorf("%w: version %d", ErrBlob, version)
	}
	r.Type = Type(d.byte())
	r.Changed = engine.Stamp(d.uint64())
	r.Created = engine.Stamp(d.uint64())
	r.Size = d.size()
	if r.Type < BlockBlob || r.Type > AppendBlob {
		d.fail()
	}
	for last := byte(0); d.more(); {
		start := len(v) - len(d.v)
		tag := d.byte()
		if tag <= last {
			d.fail()
			break
		}
		if tag >= fieldsKnown {
			r.extra = v[start:]
			d.skipFields()
			break
		}
		last = tag
		f := decoder{v: d.text()}
		r.decodeField(tag, &f)
		if f.bad || f.more() {
			d.fail()
		}
	}
	if d.bad {
		return ErrBlob
	}
	return nil
}

func (r *Blob) decodeField(tag byte, f *decoder) {
	switch tag {
	case fieldContent:
		r.Content.decode(f)
	case fieldContentType:
		r.HTTP.ContentType = f.rest()
	case fieldContentEncoding:
		r.HTTP.ContentEncoding = f.rest()
	case fieldContentLanguage:
		r.HTTP.ContentLanguage = f.rest()
	case fieldContentDisposition:
		r.HTTP.ContentDisposition = f.rest()
	case fieldCacheControl:
		r.HTTP.CacheControl = f.rest()
	case fieldMD5:
		r.MD5 = f.rest()
	case fieldCRC64:
		r.CRC64, r.HasCRC64 = f.uint64(), true
	case fieldMetadata:
		r.Metadata = f.pairs(r.Metadata)
	case fieldTags:
		r.Tags = f.pairs(r.Tags)
	case fieldLease:
		r.Lease = f.lease()
	case fieldTier:
		r.Tier = Tiering{Tier(f.byte()), engine.Stamp(f.uint64()), Tier(f.byte()), f.byte() != 0}
		if r.Tier.Tier >= tierEnd || r.Tier.Pending >= tierEnd {
			f.fail()
		}
	case fieldCopy:
		r.Copy = &Copy{}
		r.Copy.decode(f)
	case fieldSequence:
		r.Sequence = f.size()
	case fieldBlocks:
		n := f.uvarint()
		if n > math.MaxUint32 {
			f.fail()
		}
		r.Blocks = uint32(n)
	case fieldSealed:
		r.Sealed = true
	case fieldVersion:
		r.Version = engine.Stamp(f.uint64())
	case fieldEncryptionScope:
		r.EncryptionScope = f.rest()
	case fieldDeleted:
		r.Deleted = SoftDelete{engine.Stamp(f.uint64()), engine.Stamp(f.uint64())}
	}
}

func (c *Content) appendField(b []byte) []byte {
	switch c.Kind {
	case ContentEmpty:
		return b
	case ContentInline:
		return append(b, fieldContent, 1, byte(c.Kind))
	case ContentList, ContentPages:
		b = append(b, fieldContent, 9, byte(c.Kind))
		return binary.LittleEndian.AppendUint64(b, uint64(c.ID))
	}
	var tmp [1 + MaxDirect*chunkSize]byte
	f := append(tmp[:0], byte(c.Kind))
	for i := range c.Chunks {
		f = appendChunk(f, &c.Chunks[i])
	}
	b = append(b, fieldContent)
	b = binary.AppendUvarint(b, uint64(len(f)))
	return append(b, f...)
}

func (c *Content) decode(f *decoder) {
	c.Kind = ContentKind(f.byte())
	switch c.Kind {
	case ContentInline:
	case ContentChunks:
		for f.more() {
			c.Chunks = append(c.Chunks, f.chunk())
		}
	case ContentList, ContentPages:
		c.ID = engine.Stamp(f.uint64())
	default:
		f.fail()
	}
}

// chunkSize bounds the stored form of a chunk: Ref, size (a varint of at most 4 bytes, as MaxChunk is below 2^28), CRC-64.
const chunkSize = len(engine.Ref{}) + 4 + 8

func appendChunk(b []byte, c *engine.Chunk) []byte {
	b = append(b, c.Ref[:]...)
	b = binary.AppendUvarint(b, uint64(c.Size))
	return binary.LittleEndian.AppendUint64(b, c.CRC64)
}

const leaseSize = 1 + 16 + 4 + 8

func appendStoredLease(b []byte, l *lease.Lease) []byte {
	b = append(b, byte(l.State))
	b = append(b, l.ID[:]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(l.Duration))
	return binary.LittleEndian.AppendUint64(b, uint64(l.Until))
}

func (d *decoder) lease() (l lease.Lease) {
	l.State = lease.State(d.byte())
	copy(l.ID[:], d.next(16))
	l.Duration = int32(d.uint32())
	l.Until = engine.Stamp(d.uint64())
	if l.State < lease.Leased || l.State > lease.Broken {
		d.fail()
	}
	return l
}

func (c *Copy) appendField(b []byte) []byte {
	f := append(make([]byte, 0, 64+len(c.Source)+len(c.Description)), c.ID[:]...)
	f = append(f, byte(c.Status), flag(c.Incremental))
	f = binary.AppendUvarint(f, uint64(c.Progress))
	f = binary.AppendUvarint(f, uint64(c.Total))
	f = binary.LittleEndian.AppendUint64(f, uint64(c.Completed))
	f = binary.LittleEndian.AppendUint64(f, uint64(c.Snapshot))
	f = appendString(f, c.Source)
	f = appendString(f, c.Description)
	b = append(b, fieldCopy)
	b = binary.AppendUvarint(b, uint64(len(f)))
	return append(b, f...)
}

func (c *Copy) decode(f *decoder) {
	copy(c.ID[:], f.next(16))
	c.Status = CopyStatus(f.byte())
	c.Incremental = f.byte() != 0
	c.Progress = f.size()
	c.Total = f.size()
	c.Completed = engine.Stamp(f.uint64())
	c.Snapshot = engine.Stamp(f.uint64())
	c.Source = f.text()
	c.Description = f.text()
	if c.Status < CopyPending || c.Status > CopyFailed {
		f.fail()
	}
}

// VersionSlot is where the current blob goes as a version. One that was made before versioning was switched on is known by the
// time of its last change.
func (r *Blob) VersionSlot() Slot {
	if r.Version != 0 {
		return Slot{r.Version, SlotVersion}
	}
	return Slot{r.Changed, SlotVersion}
}

// Incremental refuses what may not be done with the destination of incremental copies, which is used by its snapshots only.
func (rec *Blob) Incremental() error {
	if rec.Copy != nil && rec.Copy.Incremental {
		return protocol.ErrOperationNotAllowedOnIncrementalCopyBlob
	}
	return nil
}

// NotCopying refuses writes to the destination of a copy that is under way.
func (rec *Blob) NotCopying() error {
	if rec.Copy != nil && rec.Copy.Status == CopyPending {
		return protocol.ErrPendingCopyOperation
	}
	return nil
}

// Day is 24 hours in stamps.
const Day = 24 * 3600 * 10_000_000

// DaysLeft is how long a soft-deleted thing can still be had back, in whole days.
func (d *SoftDelete) DaysLeft(now engine.Stamp) int64 {
	if d.Until <= now {
		return 0
	}
	return int64((d.Until - now) / Day)
}

// ProgressText is x-ms-copy-progress: bytes done and bytes in all.
func (c *Copy) ProgressText() string {
	return strconv.FormatInt(c.Progress, 10) + "/" + strconv.FormatInt(c.Total, 10)
}

func (s CopyStatus) String() string {
	switch s {
	case CopyPending:
		return "pending"
	case CopySuccess:
		return "success"
	case CopyAborted:
		return "aborted"
	}
	return "failed"
}
