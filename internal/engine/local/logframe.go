package local

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/minio/crc64nvme"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/diskio"
	"github.com/blobd/blobd/internal/engine/local/mirror"
	"github.com/blobd/blobd/internal/engine/siphash"
)

// What Pebble writes to a log lies on the disk in frames (docs/format.md, "Log"), one for each write, that carry the store's secret, the
// number of the log and their own offset. A log is full of bytes that clients chose, and so is what follows its end where Pebble made
// it of an old one: chunks of Pebble's, which only have a CRC and the number, cannot be told from a client's there, and would be
// replayed. A frame can: nobody can make one, nor use one of another log or place again.
//
// A frame also says how much of the log was synced when it was written. So damage to what was synced is told from the tail that a crash
// left: a later frame speaks for it. What is missing to that is the very last sync, which is followed by a frame of its own when the
// store falls idle (Store.runConfirm).

// logFrames makes and reads the frames of a store's logs.
type logFrames struct {
	secret siphash.Key
	since  uint64 // logs below this number have none
}

// Frame layout.
const (
	logFrameMagic  = "bdLG"
	logFrameLength = 4  // 4: of the payload
	logFrameSynced = 8  // 8: offset in the file up to which all is known to be on the disk
	logFrameSum    = 16 // 8: CRC-64 of the payload
	logFrameMark   = 24 // 8: keyed sum of number, offset and the 24 bytes before
	logFrameHead   = 32 // the payload follows
)

// framed returns the number of a log that lies in frames.
func (l *logFrames) framed(name string) (number uint64, ok bool) {
	number, ok = logNumber(name)
	return number, ok && l != nil && number >= l.since
}

// encode writes the header of the frame that holds p at an offset.
func (l *logFrames) encode(b *[logFrameHead]byte, number uint64, at, synced int64, p []byte) {
	copy(b[:], logFrameMagic)
	binary.BigEndian.PutUint32(b[logFrameLength:], uint32(len(p)))
	binary.BigEndian.PutUint64(b[logFrameSynced:], uint64(synced))
	binary.BigEndian.PutUint64(b[logFrameSum:], crc64nvme.Checksum(p))
	binary.BigEndian.PutUint64(b[logFrameMark:], l.mark(b[:], number, at))
}

func (l *logFrames) mark(b []byte, number uint64, at int64) uint64 {
	return siphash.Sum(&l.secret, number, uint64(at), binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:]))
}

// header tells whether a frame was written at an offset of a log, and what had been synced by then.
func (l *logFrames) header(b []byte, number uint64, at int) (synced uint64, ok bool) {
	if len(b)-at < logFrameHead {
		return 0, false
	}
	h := b[at : at+logFrameHead]
	return binary.BigEndian.Uint64(h[logFrameSynced:]),
		string(h[:4]) == logFrameMagic && binary.BigEndian.Uint64(h[logFrameMark:]) == l.mark(h, number, int64(at))
}

// content takes the payloads out of a log, for which it uses b. end is where the last whole frame ends. It fails with
// engine.ErrCorrupt if a later frame says that more was synced.
func (l *logFrames) content(b []byte, number uint64) (content []byte, end int, err error) {
	content = b[:0]
	for {
		if _, ok := l.header(b, number, end); !ok {
			break
		}
		from := end + logFrameHead
		to := from + int(binary.BigEndian.Uint32(b[end+logFrameLength:]))
		if to > len(b) || crc64nvme.Checksum(b[from:to]) != binary.BigEndian.Uint64(b[end+logFrameSum:]) {
			break
		}
		content = append(content, b[from:to]...)
		end = to
	}
	for at := end + 1; ; at++ {
		n := bytes.Index(b[min(at, len(b)):], []byte(logFrameMagic))
		if n < 0 {
			return content, end, nil
		}
		at += n
		if synced, ok := l.header(b, number, at); ok && synced > uint64(end) {
			return content, end, fmt.Errorf("damaged at %d, before the end of what was synced: %w", end, engine.ErrCorrupt)
		}
	}
}

// valid tells the mirror how many bytes of a file are good.
func (l *logFrames) valid(name string, b []byte) int64 {
	if strings.HasSuffix(name, companionSuffix) {
		return int64(companionRecord * len(companionRecords(b)))
	}
	if number, ok := l.framed(name[strings.LastIndexByte(name, '/')+1:]); ok {
		_, end, _ := l.content(bytes.Clone(b), number)
		return int64(end)
	}
	return mirror.ValidPrefix(name, b)
}

// check verifies that the logs hold all that is known to have been synced.
func (l *logFrames) check(fs vfs.FS, dir string, names []string) error {
	for _, name := range names {
		number, ok := l.framed(name)
		if !ok {
			continue
		}
		b, err := diskio.ReadFile(fs, fs.PathJoin(dir, name))
		if err == nil {
			_, _, err = l.content(b, number)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// open opens a log for reading what was written to it.
func (l *logFrames) open(fs vfs.FS, name string, number uint64, opts ...vfs.OpenOption) (vfs.File, error) {
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

// logNumber returns the number of a log from its file name.
func logNumber(name string) (uint64, bool) {
	base, ok := strings.CutSuffix(name, ".log")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(base, 10, 32)
	return n, err == nil
}

// trailer is what Pebble ends a log with when it closes it: an empty chunk of 11 bytes with the number that follows.
const trailer = 11

// closed tells whether a log was written to its end.
func closed(content []byte, number uint64) bool {
	return len(content) >= trailer && binary.LittleEndian.Uint32(content[len(content)-4:]) == uint32(number)+1
}
