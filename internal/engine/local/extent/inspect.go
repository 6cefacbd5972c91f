package extent

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/blobd/blobd/internal/engine/inspect"
	"github.com/blobd/blobd/internal/engine/siphash"
)

// Keys are what tells a store's own bytes from those that clients chose.
type Keys struct {
	Store    [16]byte
	Secret   siphash.Key
	Version2 uint64 // extents with lower ids are of version 1
}

const (
	inspectWindow = 1 << 20 // bytes that are looked at together
	inspectTail   = maxHead + blockSize
)

// IsColumn tells whether a file of that name is a column of an extent.
func IsColumn(name string) bool {
	_, _, ok := parseColumnName(name)
	return ok
}

// Inspect tells of a column file of a name, of size bytes: its header, its frames, what lies between, and its footer. keys are nil if those of
// its store are not known: it is told then what looks like a frame.
func Inspect(ctx context.Context, r io.ReaderAt, size int64, name string, keys *Keys, visit inspect.Visit) error {
	id, column, ok := parseColumnName(name)
	if !ok {
		return errors.New("no column of an extent has that name")
	}
	w := &inspected{ctx: ctx, r: r, size: size, id: id, column: column, keys: keys, visit: visit}
	if err := w.header(); err != nil {
		return err
	}
	end, foot, err := w.footer()
	if err != nil {
		return err
	}
	if err := w.rows(end); err != nil {
		return err
	}
	sum := inspect.New("rows", headerSize, max(0, end-headerSize)).Add("frames", w.frames).Add("bytes of content and parity", w.bytes).Add("bytes between them that are zero", w.zeros)
	if keys == nil {
		sum.Add("", "the store's secret is not known: what looks like a frame may be a client's")
	}
	if w.bad > 0 {
		sum.Bad("%d parts are not as they should be, or garbage that nobody owns", w.bad)
	}
	if err := visit(sum); err != nil {
		return err
	}
	return visit(foot)
}

type inspected struct {
	ctx    context.Context
	r      io.ReaderAt
	size   int64
	id     uint64
	column int
	keys   *Keys
	visit  inspect.Visit

	frames, bad  int
	bytes, zeros int64
}

// read reads what there is of n bytes at an offset. What cannot be read is zero, and fails.
func (w *inspected) read(off int64, n int) ([]byte, error) {
	b := make([]byte, max(0, min(int64(n), w.size-off)))
	m, err := w.r.ReadAt(b, off)
	if m == len(b) {
		err = nil
	}
	return b, errors.Join(err, w.ctx.Err())
}

func (w *inspected) header() error {
	i := inspect.New("header", 0, headerSize)
	b, err := w.read(0, headerSize)
	if err != nil {
		return err
	}
	h, err := decodeFileHeader(b)
	if err != nil {
		return w.visit(i.Bad("%v", err))
	}
	kind := "data"
	if h.column >= h.k {
		kind = "parity"
	}
	i.Add("version", h.version).Add("store", h.store[:]).Add("disk", h.disk[:]).Add("extent", fmt.Sprintf("%016x", h.extent)).
		Add("column", int(h.column)).Add("of", kind).Add("layout", fmt.Sprintf("%d+%d", h.k, h.m)).Add("made by start", h.started)
	switch {
	case h.extent != w.id || int(h.column) != w.column:
		i.Bad("the file's name is that of column %d of extent %016x", w.column, w.id)
	case w.keys != nil && h.store != w.keys.Store:
		i.Bad("it is of another store")
	}
	return w.visit(i)
}

// footer tells of the footer, and where the rows end.
func (w *inspected) footer() (end int64, i *inspect.Item, err error) {
	end = w.size
	at := w.size - footerSize
	if at < headerSize {
		return end, inspect.New("no footer", end, 0), nil
	}
	b, err := w.read(at, footerSize)
	if err != nil {
		return end, nil, err
	}
	var f footer
	var ok bool
	i = inspect.New("footer", at, footerSize)
	switch {
	case w.keys != nil && w.id >= w.keys.Version2:
		f, ok = decodeFooter(b, &w.keys.Secret)
	case string(b[:8]) == magicFooter:
		if f, ok = decodeFormerFooter(b); !ok {
			f, ok = parseFooter(b)
		}
		i.Add("", "nothing tells whether the store made it")
	}
	if !ok || f.length != at {
		return end, inspect.New("no footer", end, 0).Add("", "the extent is open, or a crash left it so"), nil
	}
	i.Add("extent", fmt.Sprintf("%016x", f.extent)).Add("column", int(f.column)).Add("vouches for bytes", f.length).Add("chunks in all columns, bytes", f.data).Add("SHA-256", f.sha256[:])
	sum, err := w.sum(at)
	switch {
	case err != nil:
		return end, nil, err
	case f.extent != w.id || int(f.column) != w.column:
		i.Bad("it is that of another column")
	case sum != f.sha256:
		i.Bad("what is before it is not of that sum: that of what is there is %x", sum)
	}
	return at, i, nil
}

func (w *inspected) sum(length int64) (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	for off := int64(0); off < length; off += inspectWindow {
		b, err := w.read(off, int(min(inspectWindow, length-off)))
		if err != nil {
			return sum, err
		}
		h.Write(b)
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}

// rows tells of the frames up to an offset, and of what lies between them.
func (w *inspected) rows(end int64) error {
	at, gap := int64(headerSize), int64(headerSize)
	var b []byte // from the offset start on
	start := int64(0)
	for at < end {
		if have := start + int64(len(b)); b == nil || have < end && at+inspectTail > have {
			var err error
			if b, err = w.read(at, int(min(inspectWindow, end-at))); err != nil {
				return err
			}
			start = at
		}
		here := b[at-start:]
		f, ok := w.frame(here, at)
		if !ok {
			at += rowAlign
			continue
		}
		if err := w.between(gap, at); err != nil {
			return err
		}
		head := headSize(int(f.k), int(f.m))
		if err := w.visit(w.tell(&f, here, at, int64(head)+int64(f.length))); err != nil {
			return err
		}
		w.frames++
		at += int64(head + alignUp(int(f.rowLength)))
		gap = min(at, end)
		// What the row is longer by than the frame belongs to it.
		if payload := head + int(f.length); payload < len(here) && !allZero(here[payload:min(len(here), head+alignUp(int(f.rowLength)))]) {
			w.bad++
			if err := w.visit(inspect.New("padding", at, 0).Bad("it is not zero")); err != nil {
				return err
			}
		}
	}
	return w.between(gap, end)
}

// frame decodes a frame, if one of this column is there.
func (w *inspected) frame(b []byte, at int64) (frame, bool) {
	if len(b) < frameFixed || string(b[:4]) != magicFrame {
		return frame{}, false
	}
	tag := binary.BigEndian.Uint64(b[16:])
	if w.keys != nil {
		tag = makeTag(&w.keys.Store, &w.keys.Secret, w.keys.Version2, w.id, w.column, at)
	}
	f, err := decodeFrame(b, tag)
	return f, err == nil && f.extent == w.id && int(f.column) == w.column && int64(f.offset) == at
}

func (w *inspected) tell(f *frame, b []byte, at, length int64) *inspect.Item {
	kind := "striped"
	if f.kind == kindPacked {
		kind = "packed"
	}
	i := inspect.New("frame", at, length).Add("", kind)
	switch {
	case f.column >= f.k:
		i.Add("parity of bytes", f.rowLength)
	default:
		i.Add("chunk at", f.chunkOffset).Add("of bytes", f.chunkLength).Add("here", f.length)
	}
	if f.kind == kindPacked && f.column < f.k {
		p := place{extent: f.extent, offset: int64(f.chunkOffset)}
		p.shape.size, p.shape.packed, p.shape.column = int64(f.chunkLength), true, int(f.column)
		i.Add("reference", makeRef(p))
	} else if f.kind == kindStriped {
		p := place{extent: f.extent, offset: int64(f.chunkOffset)}
		p.shape.size = int64(f.chunkLength)
		i.Add("reference", makeRef(p))
	}
	i.Add("CRC-64", fmt.Sprintf("%016x", f.sum))
	if f.m > 0 {
		var lengths []string
		for c := range int(f.k) {
			lengths = append(lengths, fmt.Sprint(f.cell(c).length))
		}
		i.Add("data columns have", lengths)
	}
	if f.payload(b) == nil {
		w.bad++
		return i.Bad("its content is not of its sum")
	}
	w.bytes += int64(f.length)
	return i
}

// between tells of bytes that are no frame of the column: a hole, where it has no part in a row, or what nobody can tell.
func (w *inspected) between(from, to int64) error {
	for zero := true; from < to; {
		b, err := w.read(from, int(min(inspectWindow, to-from)))
		if err != nil {
			return err
		}
		if zero = allZero(b); zero {
			w.zeros += int64(len(b))
			from += int64(len(b))
			continue
		}
		w.bad++
		return w.visit(inspect.New("bytes of no frame", from, to-from).Bad("a frame that is damaged, or what a failed write or a crash left"))
	}
	return nil
}
