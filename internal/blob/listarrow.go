package blob

import (
	"encoding/base64"
	"strconv"
	"strings"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/blobd/blobd/internal/blob/lease"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// arrowStream is the media type of a listing in columns. A client that asks for it names XML too and takes what comes.
const arrowStream = "application/vnd.apache.arrow.stream"

// wantsArrow tells whether a listing is to be answered in columns: a line of Accept names them, and does not say with a weight of zero
// that they are not wanted.
func wantsArrow(r *rest.Request) (wants bool) {
	if r.Version < protocol.V20261006 {
		return false
	}
	r.Headers("accept", func(_, lower, value string) {
		if lower != "accept" || wants {
			return
		}
		for item := range strings.SplitSeq(value, ",") {
			media, params, _ := strings.Cut(item, ";")
			wants = wants || strings.EqualFold(strings.TrimSpace(media), arrowStream) && !zeroWeight(params)
		}
	})
	return wants
}

// zeroWeight tells whether the parameters of a media type give it the weight 0 (RFC 9110, section 12.4.2).
func zeroWeight(params string) bool {
	for p := range strings.SplitSeq(params, ";") {
		if name, q, _ := strings.Cut(p, "="); strings.EqualFold(strings.TrimSpace(name), "q") {
			n, err := strconv.ParseFloat(strings.TrimSpace(q), 64)
			return err == nil && n == 0
		}
	}
	return false
}

// The columns of a listing, in the order in which they are sent. Their names are those of the elements in XML.
const (
	colName = iota
	colCreated
	colModified
	colType
	colResource
	colETag
	colLength
	colContentType
	colEncoding
	colLanguage
	colMD5
	colDisposition
	colCache
	colSequence
	colTier
	colTierInferred
	colTierChanged
	colLeaseState
	colLeaseStatus
	colLeaseDuration
	colIncremental
	colEncrypted
	colScope
	colPriority
	colSealed
	colArchive
	colCopyID
	colCopyStatus
	colCopySource
	colCopyProgress
	colCopyCompleted
	colCopyDescription
	colCopySnapshot
	colVersion
	colCurrent
	colSnapshot
	colDeleted
	colVersionsOnly
	colDeletedTime
	colDaysLeft
	colTags
	colTagCount
	colMetadata
	columnCount
)

var columns = [columnCount]struct {
	name string
	kind kind
}{
	colName: {"Name", textKind}, colCreated: {"Creation-Time", momentKind}, colModified: {"Last-Modified", momentKind},
	colType: {"BlobType", textKind}, colResource: {"ResourceType", textKind}, colETag: {"Etag", textKind},
	colLength: {"Content-Length", numberKind}, colContentType: {"Content-Type", textKind}, colEncoding: {"Content-Encoding", textKind},
	colLanguage: {"Content-Language", textKind}, colMD5: {"Content-MD5", textKind}, colDisposition: {"Content-Disposition", textKind},
	colCache: {"Cache-Control", textKind}, colSequence: {"x-ms-blob-sequence-number", numberKind},
	colTier: {"AccessTier", textKind}, colTierInferred: {"AccessTierInferred", flagKind}, colTierChanged: {"AccessTierChangeTime", momentKind},
	colLeaseState: {"LeaseState", textKind}, colLeaseStatus: {"LeaseStatus", textKind}, colLeaseDuration: {"LeaseDuration", textKind},
	colIncremental: {"IncrementalCopy", flagKind}, colEncrypted: {"ServerEncrypted", flagKind}, colScope: {"EncryptionScope", textKind},
	colPriority: {"RehydratePriority", textKind}, colSealed: {"Sealed", flagKind}, colArchive: {"ArchiveStatus", textKind},
	colCopyID: {"CopyId", textKind}, colCopyStatus: {"CopyStatus", textKind}, colCopySource: {"CopySource", textKind},
	colCopyProgress: {"CopyProgress", textKind}, colCopyCompleted: {"CopyCompletionTime", momentKind},
	colCopyDescription: {"CopyStatusDescription", textKind}, colCopySnapshot: {"CopyDestinationSnapshot", textKind},
	colVersion: {"VersionId", textKind}, colCurrent: {"IsCurrentVersion", flagKind}, colSnapshot: {"Snapshot", textKind},
	colDeleted: {"Deleted", flagKind}, colVersionsOnly: {"HasVersionsOnly", flagKind}, colDeletedTime: {"DeletedTime", momentKind},
	colDaysLeft: {"RemainingRetentionDays", numberKind}, colTags: {"Tags", pairsKind}, colTagCount: {"TagCount", numberKind},
	colMetadata: {"Metadata", pairsKind},
}

// arrowPage is a page of a listing on its way into columns. The marker of the next page stands at the head of the stream, so
// the page is gathered whole, as in XML.
type arrowPage struct {
	rows    int
	texts   int // bytes of names, metadata and tags
	include store.Include
	now     record.Stamp
	entry   store.Entry
	r       *rest.Request // nil for none that is answered
	err     error         // there is no memory for it
	columns [columnCount]column
}

var arrowPages = sync.Pool{New: func() any { return &arrowPage{} }}

func newArrowPage() *arrowPage {
	p := arrowPages.Get().(*arrowPage)
	p.rows, p.texts, p.r, p.err = 0, 0, nil, nil
	for i := range p.columns {
		p.columns[i].kind = columns[i].kind
		p.columns[i].reset()
	}
	return p
}

// free gives the page back unless it is too large to keep.
func (p *arrowPage) free() {
	size := 0
	for i := range p.columns {
		c := &p.columns[i]
		size += cap(c.valid) + 4*cap(c.ends) + cap(c.data)
		if c.entries != nil {
			size += cap(c.entries[0].data) + cap(c.entries[1].data) + 8*cap(c.entries[0].ends)
		}
	}
	if size <= keepPage {
		arrowPages.Put(p)
	}
}

// Prefix implements Listing: a row of which a name is all there is.
func (p *arrowPage) Prefix(name string) {
	p.columns[colName].text(p.rows, name)
	p.columns[colResource].text(p.rows, "blobprefix")
	p.rows++
	p.texts += len(name)
}

func (p *arrowPage) count(pairs []protocol.Pair) {
	for _, m := range pairs {
		p.texts += len(m.Name) + len(m.Value)
	}
}

// Full implements Listing. What is of a bounded size beside the texts is not counted.
func (p *arrowPage) Full() bool {
	p.err = p.r.HoldAnswer(2*p.texts + p.rows*arrowRow) // in columns, and then in the stream
	return p.err != nil || p.texts >= fullPage
}

// arrowRow is about what a row takes beside its texts, in bytes.
const arrowRow = 1024

// Blob implements Listing. What stands in a row is what the <Blob> element has (page.Blob).
func (p *arrowPage) Blob(name string, e *store.Entry) {
	rec, row, cols := &e.Blob, p.rows, &p.columns
	p.rows++
	p.texts += len(name)
	cols[colName].text(row, name)
	if rec.Deleted.At != 0 {
		cols[colDeleted].flag(row, true)
		cols[colDeletedTime].moment(row, rec.Deleted.At)
		cols[colDaysLeft].number(row, int64(rec.Deleted.DaysLeft(p.now)))
	}
	if e.Slot.Kind == record.SlotSnapshot {
		cols[colSnapshot].stamp(row, e.Slot.Stamp)
	}
	if rec.Version != 0 && (p.include&store.IncludeVersions != 0 || e.Slot.Kind == record.SlotCurrent) && e.Slot.Kind != record.SlotSnapshot {
		cols[colVersion].stamp(row, rec.Version)
		if e.Slot.Kind == record.SlotCurrent && rec.Deleted.At == 0 {
			cols[colCurrent].flag(row, true)
		}
	}
	if !e.Uncommitted {
		cols[colCreated].moment(row, rec.Created)
		cols[colModified].moment(row, rec.Changed)
		cols[colETag].begin(row)
		cols[colETag].end(protocol.AppendETag(cols[colETag].data, rec.Changed))
		h := &rec.HTTP
		cols[colContentType].text(row, h.ContentType)
		cols[colEncoding].text(row, h.ContentEncoding)
		cols[colLanguage].text(row, h.ContentLanguage)
		cols[colDisposition].text(row, h.ContentDisposition)
		cols[colCache].text(row, h.CacheControl)
	}
	cols[colLength].number(row, rec.Size)
	p.tier(row, rec)
	if rec.MD5 != "" {
		var buf [16]byte
		cols[colMD5].begin(row)
		cols[colMD5].end(base64.StdEncoding.AppendEncode(cols[colMD5].data, append(buf[:0], rec.MD5...)))
	}
	if rec.Type == record.PageBlob {
		cols[colSequence].number(row, rec.Sequence)
	}
	cols[colType].text(row, rec.Type.String())
	if e.Slot.Kind == record.SlotCurrent && rec.Deleted.At == 0 {
		p.lease(row, &rec.Lease)
	}
	if rec.Copy != nil && p.include&store.IncludeCopy != 0 {
		p.copy(row, rec.Copy)
	}
	cols[colEncrypted].flag(row, !e.Uncommitted)
	cols[colScope].text(row, rec.EncryptionScope)
	if n := len(rec.Tags); n > 0 {
		cols[colTagCount].number(row, int64(n))
		if p.include&store.IncludeTags != 0 {
			cols[colTags].pairs(row, rec.Tags)
			p.count(rec.Tags)
		}
	}
	if rec.Sealed {
		cols[colSealed].flag(row, true)
	}
	if p.include&store.IncludeMetadata != 0 {
		cols[colMetadata].pairs(row, rec.Metadata)
		p.count(rec.Metadata)
	}
	if e.VersionsOnly {
		cols[colVersionsOnly].flag(row, true)
	}
}

// stamp sets a row to a snapshot's or a version's id.
func (c *column) stamp(row int, s record.Stamp) {
	c.begin(row)
	c.end(protocol.AppendSnapshotID(c.data, s))
}

func (p *arrowPage) tier(row int, rec *record.Blob) {
	t := rec.Tier.At(p.now)
	tier, inferred := t.Effective(rec.Type)
	if tier == record.TierUnset {
		return
	}
	p.columns[colTier].text(row, tier.String())
	if inferred {
		p.columns[colTierInferred].flag(row, true)
	}
	if t.Changed != 0 && rec.Type == record.BlockBlob {
		p.columns[colTierChanged].moment(row, t.Changed)
	}
	if t.Pending != record.TierUnset {
		p.columns[colArchive].text(row, t.ArchiveStatus())
		p.columns[colPriority].text(row, t.Priority())
	}
}

func (p *arrowPage) lease(row int, l *lease.Lease) {
	state := lease.Available
	if l.State != lease.Available {
		state = l.At(p.now)
	}
	p.columns[colLeaseStatus].text(row, state.Status())
	p.columns[colLeaseState].text(row, state.String())
	if state == lease.Leased {
		p.columns[colLeaseDuration].text(row, l.DurationName())
	}
}

func (p *arrowPage) copy(row int, c *record.Copy) {
	cols := &p.columns
	cols[colCopyID].text(row, lease.ID(c.ID).String())
	cols[colCopySource].text(row, c.Source)
	cols[colCopyStatus].text(row, c.Status.String())
	cols[colCopyProgress].text(row, c.ProgressText())
	if c.Completed != 0 {
		cols[colCopyCompleted].moment(row, c.Completed)
	}
	cols[colCopyDescription].text(row, c.Description)
	if c.Incremental {
		cols[colIncremental].flag(row, true)
		if c.Snapshot != 0 {
			cols[colCopySnapshot].stamp(row, c.Snapshot)
		}
	}
}

// encode appends the page to a body as a stream of one record batch. A column without any value is left out, which clients
// take as they take a missing element; it would cost what a full one does.
func (p *arrowPage) encode(to *page, marker string) error {
	fields, arrays := make([]arrow.Field, 0, columnCount), make([]arrow.Array, 0, columnCount)
	for i := range p.columns {
		if c := &p.columns[i]; c.values > 0 || i == colName {
			fields = append(fields, arrow.Field{Name: columns[i].name, Type: arrowTypes[c.kind], Nullable: i != colName})
			arrays = append(arrays, array.MakeFromData(c.array(p.rows)))
		}
	}
	head := arrow.NewMetadata([]string{"NumberOfRecords", "NextMarker"}, []string{strconv.Itoa(p.rows), marker})
	schema := arrow.NewSchema(fields, &head)
	w := ipc.NewWriter(to, ipc.WithSchema(schema))
	if err := w.Write(array.NewRecordBatch(schema, arrays, int64(p.rows))); err != nil {
		return err
	}
	return w.Close()
}

// listArrow is List Blobs answered in columns.
func (s *Service) listArrow(r *rest.Request, c *record.Container, q *store.ListRequest) error {
	rows := newArrowPage()
	rows.r = r
	defer rows.free()
	rows.include, rows.now, q.Entry = q.Include, q.Now, &rows.entry
	next, err := s.blobs.List(r.Context, c, q, rows)
	if err == nil {
		err = rows.err
	}
	if err != nil {
		return err
	}
	marker := ""
	if next != nil {
		marker = string(appendMarker(nil, next))
	}
	body := newPage()
	if err := rows.encode(body, marker); err != nil {
		_ = body.Close()
		return err
	}
	return body.reply(r, arrowStream)
}
