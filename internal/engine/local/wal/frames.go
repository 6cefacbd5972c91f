package wal

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/minio/crc64nvme"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/diskio"
	"github.com/blobd/blobd/internal/engine/siphash"
)

// Frames makes and reads the frames of a store's logs.
type Frames struct {
	secret siphash.Key
	since  uint64 // logs below this number have none
}

// NewFrames returns what makes and reads frames under a store's secret. Logs with numbers below since have none.
func NewFrames(secret siphash.Key, since uint64) *Frames { return &Frames{secret, since} }

// Frame layout.
const (
	frameMagic  = "bdLG"
	frameLength = 4  // 4: of the payload
	frameSynced = 8  // 8: offset in the file up to which all is known to be on the disk
	frameSum    = 16 // 8: CRC-64 of the payload
	frameMark   = 24 // 8: keyed sum of number, offset and the 24 bytes before
	frameHead   = 32 // the payload follows
)

// framed returns the number of a log that lies in frames.
func (l *Frames) framed(name string) (number uint64, ok bool) {
	number, ok = Number(name)
	return number, ok && l != nil && number >= l.since
}

// encode writes the header of the frame that holds p at an offset.
func (l *Frames) encode(b *[frameHead]byte, number uint64, at, synced int64, p []byte) {
	copy(b[:], frameMagic)
	binary.BigEndian.PutUint32(b[frameLength:], uint32(len(p)))
	binary.BigEndian.PutUint64(b[frameSynced:], uint64(synced))
	binary.BigEndian.PutUint64(b[frameSum:], crc64nvme.Checksum(p))
	binary.BigEndian.PutUint64(b[frameMark:], l.mark(b[:], number, at))
}

func (l *Frames) mark(b []byte, number uint64, at int64) uint64 {
	return siphash.Sum(&l.secret, number, uint64(at), binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:]))
}

// header tells whether a frame was written at an offset of a log, and what had been synced by then.
func (l *Frames) header(b []byte, number uint64, at int) (synced uint64, ok bool) {
	if len(b)-at < frameHead {
		return 0, false
	}
	h := b[at : at+frameHead]
	return binary.BigEndian.Uint64(h[frameSynced:]),
		string(h[:4]) == frameMagic && binary.BigEndian.Uint64(h[frameMark:]) == l.mark(h, number, int64(at))
}

// next returns the payload of the frame at an offset of a log, where the next one begins, and what had been synced when it was written. If
// there is no whole one the next begins at the same place.
func (l *Frames) next(b []byte, number uint64, at int) (payload []byte, next int, synced uint64) {
	synced, ok := l.header(b, number, at)
	if !ok {
		return nil, at, 0
	}
	from := at + frameHead
	to := from + int(binary.BigEndian.Uint32(b[at+frameLength:]))
	if to > len(b) || crc64nvme.Checksum(b[from:to]) != binary.BigEndian.Uint64(b[at+frameSum:]) {
		return nil, at, 0
	}
	return b[from:to], to, synced
}

// content takes the payloads out of a log, for which it uses b. end is where the last whole frame ends. It fails with
// engine.ErrCorrupt if a later frame says that more was synced.
func (l *Frames) content(b []byte, number uint64) (content []byte, end int, err error) {
	content = b[:0]
	for {
		payload, next, _ := l.next(b, number, end)
		if next == end {
			return content, end, l.later(b, number, end)
		}
		content = append(content, payload...)
		end = next
	}
}

// later fails with engine.ErrCorrupt if a frame behind the last whole one, which ends at end, says that more was synced.
func (l *Frames) later(b []byte, number uint64, end int) error {
	for at := end + 1; ; at++ {
		n := bytes.Index(b[min(at, len(b)):], []byte(frameMagic))
		if n < 0 {
			return nil
		}
		at += n
		if synced, ok := l.header(b, number, at); ok && synced > uint64(end) {
			return fmt.Errorf("damaged at %d, before the end of what was synced: %w", end, engine.ErrCorrupt)
		}
	}
}

// open opens a log for reading what was written to it.
func (l *Frames) open(fs vfs.FS, name string, number uint64, opts ...vfs.OpenOption) (vfs.File, error) {
	b, err := diskio.ReadFile(fs, name)
	if err != nil {
		return nil, err
	}
	content, _, err := l.content(b, number)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	f, err := fs.Open(name, opts...)
	if err != nil {
		return nil, err
	}
	return &logReader{f, bytes.NewReader(content)}, nil
}

// logReader is a log that was read. Its information is that of the file.
type logReader struct {
	vfs.File
	content *bytes.Reader
}

func (r *logReader) Read(p []byte) (int, error)              { return r.content.Read(p) }
func (r *logReader) ReadAt(p []byte, off int64) (int, error) { return r.content.ReadAt(p, off) }
