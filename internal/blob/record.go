package blob

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

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

// Record is one blob as it is stored: the current one, a snapshot or a version. Its strings alias what it was decoded from.
type Record struct {
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
	Copy     *CopyState
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

// maxDirect is the most chunks named in a record: more would thin out the scan of List Blobs.
const maxDirect = 4

// Tiering is the access tier and its history.
type Tiering struct {
	Tier    Tier // TierUnset: inferred
	Changed engine.Stamp
	// Pending is the tier that an archived blob is being rehydrated to, and High the priority.
	Pending Tier
	High    bool
}

// Tier is an access tier. Stored: never renumber.
type Tier byte

// The tiers.
const (
	TierUnset Tier = iota
	TierHot
	TierCool
	TierCold
	TierArchive
	TierSmart
	TierP4
	TierP6
	TierP10
	TierP15
	TierP20
	TierP30
	TierP40
	TierP50
	TierP60
	TierP70
	TierP80
	tierEnd
)

// CopyState is the last copy into a blob.
type CopyState struct {
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
const recordVersion = 1

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

// errRecord is a stored record that cannot be read: a defect, as the engine has verified its bytes.
var errRecord = errors.New("blob record is malformed")

// AppendTo appends the stored form.
func (r *Record) AppendTo(b []byte) []byte {
	b = append(b, recordVersion, byte(r.Type))
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
	if r.Deleted != (SoftDelete{}) {
		b = append(b, fieldDeleted, 16)
		b = binary.LittleEndian.AppendUint64(b, uint64(r.Deleted.At))
		b = binary.LittleEndian.AppendUint64(b, uint64(r.Deleted.Until))
	}
	return append(b, r.extra...)
}

// Decode reads the stored form. The record's strings alias v; slices that the record already has are used again.
func (r *Record) Decode(v string) error {
	*r = Record{Metadata: r.Metadata[:0], Tags: r.Tags[:0], Content: Content{Chunks: r.Content.Chunks[:0]}}
	r.HTTP.ContentType = DefaultContentType
	d := decoder{v: v}
	if version := d.byte(); version != recordVersion {
		return fmt.Errorf("%w: version %d", errRecord, version)
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
		return errRecord
	}
	return nil
}

func (r *Record) decodeField(tag byte, f *decoder) {
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
		r.Copy = &CopyState{}
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
	var tmp [1 + maxDirect*chunkSize]byte
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
	copy(l.ID[:], d.take(16))
	l.Duration = int32(d.uint32())
	l.Until = engine.Stamp(d.uint64())
	if l.State < lease.Leased || l.State > lease.Broken {
		d.fail()
	}
	return l
}

func (c *CopyState) appendField(b []byte) []byte {
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

func (c *CopyState) decode(f *decoder) {
	copy(c.ID[:], f.take(16))
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
