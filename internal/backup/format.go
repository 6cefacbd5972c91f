package backup

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/crc64"
)

// The byte layouts of docs/format.md, section Backups. All numbers are big-endian.
const (
	formatVersion = 1

	headerSize = 64 // of every file but manifests; its sum is in the last 8 bytes
	magicFile  = "BLOBDBAK"

	kindContent = 'c'
	kindRecords = 'r'
	kindIndex   = 'i'

	blockSize = 256 << 10 // from which on a block of records or of the index ends
	blockMax  = blockSize + engine.MaxKey + engine.MaxValue + 64

	frameSize  = 48 // of what precedes a chunk; its sum is in the last 8 bytes
	magicFrame = "bdBK"

	entrySize = 64 // of the index
	flagLost  = 1  // the chunk could not be read

	recordEntry   = 'e'
	recordCounter = 'n'
)

// ErrDamaged: a file of a backup is not what was written.
var ErrDamaged = errors.New("the backup is damaged")

func damaged(name, format string, args ...any) error {
	return fmt.Errorf("%s: %s: %w", name, fmt.Sprintf(format, args...), ErrDamaged)
}

// Manifest is what makes files a backup. It is written last.
type Manifest struct {
	Format   int       `json:"format"`
	Number   uint64    `json:"number"`
	Store    string    `json:"store"` // id
	Stamp    uint64    `json:"stamp"`
	Taken    time.Time `json:"taken"`
	Complete bool      `json:"complete"`

	Entries int64 `json:"entries"` // of the key space, counters not among them
	Chunks  int64 `json:"chunks"`
	Bytes   int64 `json:"bytes"`  // of chunks
	Copied  int64 `json:"copied"` // bytes of chunks that no backup before it had

	Records File   `json:"records"`
	Index   File   `json:"index"`
	Packs   []Pack `json:"packs"` // that the index names

	Damaged int64    `json:"damaged"`          // chunks that could not be read
	Damage  []Damage `json:"damage,omitempty"` // the first of them
}

// File is the length and CRC-64 of a file.
type File struct {
	Size  int64  `json:"size"`
	CRC64 string `json:"crc64"`
}

// Pack is a file of content.
type Pack struct {
	Number uint64 `json:"number"`
	File
}

// Damage is a chunk that could not be read.
type Damage struct {
	Chunk string   `json:"chunk"`
	Error string   `json:"error"`
	Names []string `json:"names,omitempty"` // what is kept there
}

const (
	manifestEnd = ".backup"
	recordsEnd  = ".records"
	indexEnd    = ".index"
	packEnd     = ".pack"
	lockName    = "LOCK"
	tmpEnd      = ".tmp"
)

// name is the name of a file in the directory of backups.
func name(number uint64, end string) string { return fmt.Sprintf("%08d%s", number, end) }

// parseName reads a name; ok tells that it is of ours.
func parseName(s string) (number uint64, end string, ok bool) {
	s = strings.TrimSuffix(s, tmpEnd)
	i := strings.IndexByte(s, '.')
	if i < 8 {
		return 0, "", false
	}
	number, err := strconv.ParseUint(s[:i], 10, 64)
	end = s[i:]
	return number, end, err == nil && slices.Contains([]string{manifestEnd, recordsEnd, indexEnd, packEnd}, end)
}

func (m *Manifest) encode() ([]byte, error) {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, err
	}
	b = append(b, '\n')
	return fmt.Appendf(b, "%016x\n", crc64.Sum(b)), nil
}

func decodeManifest(file string, b []byte) (*Manifest, error) {
	const sum = 17
	if len(b) < sum || fmt.Sprintf("%016x\n", crc64.Sum(b[:len(b)-sum])) != string(b[len(b)-sum:]) {
		return nil, damaged(file, "it is not of its checksum")
	}
	m := &Manifest{}
	if err := json.Unmarshal(b[:len(b)-sum], &struct {
		Format *int `json:"format"`
	}{&m.Format}); err != nil || m.Format < 1 {
		return nil, damaged(file, "it is malformed")
	}
	if m.Format > formatVersion {
		return nil, fmt.Errorf("%s is of format %d, known are those up to %d: it was made by a newer blobd", file, m.Format, formatVersion)
	}
	if err := json.Unmarshal(b[:len(b)-sum], m); err != nil {
		return nil, damaged(file, "it is malformed: %v", err)
	}
	return m, nil
}

// header returns the beginning of a file.
func header(kind byte, store [16]byte, number uint64) []byte {
	b := make([]byte, headerSize)
	copy(b, magicFile)
	binary.BigEndian.PutUint32(b[8:], formatVersion)
	b[12] = kind
	copy(b[16:], store[:])
	binary.BigEndian.PutUint64(b[32:], number)
	binary.BigEndian.PutUint64(b[headerSize-8:], crc64.Sum(b[:headerSize-8]))
	return b
}

// writer writes a new file and sums it up.
type writer struct {
	name string
	file vfs.File
	buf  *bufio.Writer
	size int64
	sum  uint64
	seq  uint64 // of blocks
	tmp  []byte
}

func create(fs vfs.FS, dir, name string, head []byte) (*writer, error) {
	f, err := fs.Create(fs.PathJoin(dir, name), vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	w := &writer{name: name, file: f, buf: bufio.NewWriterSize(f, 1<<20)}
	if err := w.write(head); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return w, nil
}

func (w *writer) write(p []byte) error {
	w.size += int64(len(p))
	w.sum = crc64.Update(w.sum, p)
	_, err := w.buf.Write(p)
	return err
}

// block writes a block: its length, its bytes, and the sum of its number and of both.
func (w *writer) block(p []byte) error {
	w.tmp = binary.BigEndian.AppendUint64(w.tmp[:0], w.seq)
	w.tmp = binary.BigEndian.AppendUint32(w.tmp, uint32(len(p)))
	w.seq++
	sum := crc64.Update(crc64.Sum(w.tmp), p)
	if err := errors.Join(w.write(w.tmp[8:]), w.write(p)); err != nil {
		return err
	}
	return w.write(binary.BigEndian.AppendUint64(nil, sum))
}

// finish makes the file durable.
func (w *writer) finish() (File, error) {
	err := w.buf.Flush()
	if err == nil {
		err = w.file.Sync()
	}
	return File{w.size, sumText(w.sum)}, errors.Join(err, w.file.Close())
}

func sumText(sum uint64) string { return fmt.Sprintf("%016x", sum) }

// blocks reads a file of blocks, and holds it to its manifest.
type blocks struct {
	name string
	file vfs.File
	buf  *bufio.Reader
	want File
	size int64
	sum  uint64
	seq  uint64
	b    []byte
}

// openFile opens a file of a backup and checks its length.
func openFile(fs vfs.FS, dir, name string, want File, options ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.Open(fs.PathJoin(dir, name), options...)
	if err != nil {
		return nil, damaged(name, "it cannot be opened: %v", err)
	}
	info, err := f.Stat()
	if err == nil && info.Size() != want.Size {
		err = damaged(name, "it has %d bytes of %d", info.Size(), want.Size)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func openBlocks(fs vfs.FS, dir, name string, want File, head []byte) (*blocks, error) {
	f, err := openFile(fs, dir, name, want, vfs.SequentialReadsOption)
	if err != nil {
		return nil, err
	}
	r := &blocks{name: name, file: f, buf: bufio.NewReaderSize(f, 1<<20), want: want}
	got := make([]byte, headerSize)
	if err := r.full(got); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if string(got) != string(head) {
		return nil, errors.Join(damaged(name, "its header is not its own"), f.Close())
	}
	return r, nil
}

func (r *blocks) full(p []byte) error {
	n, err := io.ReadFull(r.buf, p)
	r.size += int64(n)
	r.sum = crc64.Update(r.sum, p[:n])
	if err != nil {
		return damaged(r.name, "at byte %d: %v", r.size, err)
	}
	return nil
}

// next returns a block that is valid until the next call; io.EOF at the end.
func (r *blocks) next() ([]byte, error) {
	if r.size == r.want.Size {
		if sumText(r.sum) != r.want.CRC64 {
			return nil, damaged(r.name, "it is not of the sum in the manifest")
		}
		return nil, io.EOF
	}
	at := r.size
	var head [12]byte
	binary.BigEndian.PutUint64(head[:], r.seq)
	r.seq++
	if err := r.full(head[8:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(head[8:]))
	if n > blockMax {
		return nil, damaged(r.name, "the block at byte %d is malformed", at)
	}
	r.b = slices.Grow(r.b[:0], n)[:n]
	var sum [8]byte
	if err := r.full(r.b); err != nil {
		return nil, err
	}
	if err := r.full(sum[:]); err != nil {
		return nil, err
	}
	if crc64.Update(crc64.Sum(head[:]), r.b) != binary.BigEndian.Uint64(sum[:]) {
		return nil, damaged(r.name, "the block at byte %d is not of its checksum", at)
	}
	return r.b, nil
}

func (r *blocks) close() error { return r.file.Close() }

// entry is a chunk in an index. An index is in the order of Refs.
type entry struct {
	ref    engine.Ref
	size   int64
	lost   bool
	owners int64
	sum    uint64
	pack   uint64
	offset int64 // of the frame
}

func (e *entry) appendTo(b []byte) []byte {
	b = append(b, e.ref[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(e.size))
	flags := uint32(0)
	if e.lost {
		flags = flagLost
	}
	b = binary.BigEndian.AppendUint32(b, flags)
	b = binary.BigEndian.AppendUint64(b, uint64(e.owners))
	b = binary.BigEndian.AppendUint64(b, e.sum)
	b = binary.BigEndian.AppendUint64(b, e.pack)
	return binary.BigEndian.AppendUint64(b, uint64(e.offset))
}

func (e *entry) decode(b []byte) bool {
	*e = entry{ref: engine.Ref(b), size: int64(binary.BigEndian.Uint32(b[24:])), owners: int64(binary.BigEndian.Uint64(b[32:])),
		sum: binary.BigEndian.Uint64(b[40:]), pack: binary.BigEndian.Uint64(b[48:]), offset: int64(binary.BigEndian.Uint64(b[56:]))}
	flags := binary.BigEndian.Uint32(b[28:])
	e.lost = flags == flagLost
	return flags <= flagLost && e.size > 0 && e.size <= engine.MaxChunk && e.owners > 0
}

// index reads the entries of an index, one after the other.
type index struct {
	blocks *blocks
	rest   []byte
}

func (x *index) next(e *entry) error {
	for len(x.rest) == 0 {
		b, err := x.blocks.next()
		if err != nil {
			return err
		}
		x.rest = b
	}
	if len(x.rest)%entrySize != 0 || !e.decode(x.rest) {
		return damaged(x.blocks.name, "an entry is malformed")
	}
	x.rest = x.rest[entrySize:]
	return nil
}

// appendFrame appends what precedes a chunk.
func appendFrame(b []byte, e *entry) []byte {
	from := len(b)
	b = append(b, magicFrame...)
	b = binary.BigEndian.AppendUint32(b, uint32(e.size))
	b = append(b, e.ref[:]...)
	b = binary.BigEndian.AppendUint64(b, e.sum)
	return binary.BigEndian.AppendUint64(b, crc64.Sum(b[from:]))
}

// appendRecord and appendCounter append to a block of records.
func appendRecord(b []byte, space engine.Space, key, value []byte) []byte {
	b = append(b, recordEntry, byte(space))
	b = binary.AppendUvarint(b, uint64(len(key)))
	b = append(b, key...)
	b = binary.AppendUvarint(b, uint64(len(value)))
	return append(b, value...)
}

func appendCounter(b []byte, name []byte, value engine.Amount) []byte {
	b = append(b, recordCounter)
	b = binary.AppendUvarint(b, uint64(len(name)))
	b = append(b, name...)
	return binary.AppendVarint(binary.AppendVarint(b, value.Bytes), value.Objects)
}

// records visits what is in a block. What it hands out aliases the block.
func visitRecords(b []byte, entry func(space engine.Space, key, value []byte) error, counter func(name []byte, value engine.Amount) error) error {
	text := func() ([]byte, bool) {
		n, k := binary.Uvarint(b)
		if k <= 0 || n > uint64(len(b)-k) {
			return nil, false
		}
		t := b[k : k+int(n)]
		b = b[k+int(n):]
		return t, true
	}
	for len(b) > 0 {
		kind := b[0]
		b = b[1:]
		var err error
		switch {
		case kind == recordEntry && len(b) > 0:
			space := engine.Space(b[0])
			b = b[1:]
			key, ok := text()
			value, ok2 := text()
			if !ok || !ok2 {
				return ErrDamaged
			}
			err = entry(space, key, value)
		case kind == recordCounter:
			name, ok := text()
			bytes, k := binary.Varint(b)
			objects, k2 := binary.Varint(b[max(k, 0):])
			if !ok || k <= 0 || k2 <= 0 {
				return ErrDamaged
			}
			b = b[k+k2:]
			err = counter(name, engine.Amount{Bytes: bytes, Objects: objects})
		default:
			return ErrDamaged
		}
		if err != nil {
			return err
		}
	}
	return nil
}
