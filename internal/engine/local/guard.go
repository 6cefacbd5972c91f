package local

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/minio/crc64nvme"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/diskio"
	"github.com/blobd/blobd/internal/engine/local/mirror"
)

// Pebble reads a damaged chunk of a manifest, or of the last blocks of a log, as the end of the file: that is what a crash leaves.
// Damage to what was synced must not pass for it, or a flipped bit would undo acknowledged writes without a word. So the end that
// is found is compared with what is known to have been synced:
//
//   - of a manifest, by a companion file that names the length and sum of each synced prefix. Edits are rare enough for that;
//   - of a log, by the offsets that Pebble writes into each chunk of what was synced before it. What is missing to that is the very
//     last sync, which is followed by a record of no content when the store falls idle (Store.runConfirm).
//
// Pebble panics, with a mutex in a state that ends the process, where a log cannot be made, synced or closed. So it is not told:
// the store has failed by then (state.fail), which every commit looks at after its sync and before its acknowledgement, and a log
// that failed is not touched again. From then on no manifest is synced, no log made and no file removed: what is on the disks stays as it is.

const companionSuffix = ".synced"

// guardFS is the file system that Pebble gets. It keeps the companions of manifests, and it syncs a directory before a marker is
// made in it: a marker names the manifest in use, and Pebble syncs the directory only when both are there, so that a power cut
// could keep the marker alone.
//
// It gathers what is written to tables: see tableFile.
//
// Pebble tries a flush that failed again at once. guardFS makes it wait a little, so that a full disk does not cost a core as well.
type guardFS struct {
	vfs.FS
	state *state
}

// flushPause slows down Pebble's flushes while they fail: it tries again at once, and a full disk would cost a core.
const flushPause = 50 * time.Millisecond

// Create implements vfs.FS.
func (fs guardFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	base := fs.PathBase(name)
	if strings.HasPrefix(base, "marker.") {
		if err := syncDir(fs.FS, fs.PathDir(name)); err != nil {
			return nil, err
		}
	}
	if strings.HasSuffix(base, ".sst") && fs.state.stuck.Load() != nil {
		time.Sleep(flushPause)
	}
	if strings.HasSuffix(base, ".log") {
		return fs.guardLog(func() (vfs.File, error) { return fs.FS.Create(name, category) }), nil
	}
	f, err := fs.FS.Create(name, category)
	switch {
	case err == nil && strings.HasSuffix(base, ".sst"):
		return newTableFile(f), nil
	case err != nil || !strings.HasPrefix(base, "MANIFEST-"):
		return f, err
	}
	c, err := fs.FS.Create(name+companionSuffix, category)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &manifest{File: f, companion: c, state: fs.state}, nil
}

// ReuseForWrite implements vfs.FS.
func (fs guardFS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.guardLog(func() (vfs.File, error) { return fs.FS.ReuseForWrite(oldname, newname, category) }), nil
}

// OpenDir implements vfs.FS.
func (fs guardFS) OpenDir(name string) (vfs.File, error) {
	f, err := fs.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &logFile{File: f, state: fs.state}, nil
}

// Remove implements vfs.FS.
func (fs guardFS) Remove(name string) error {
	if err := fs.state.failed(); err != nil {
		return err
	}
	if strings.HasPrefix(fs.PathBase(name), "MANIFEST-") {
		if err := fs.FS.Remove(name + companionSuffix); err != nil && !oserror.IsNotExist(err) {
			return err
		}
	}
	return fs.FS.Remove(name)
}

// Unwrap implements vfs.FS.
func (fs guardFS) Unwrap() vfs.FS { return fs.FS }

// guardLog makes a log. Once the store has failed there is none: the one that failed may have no proper end, and Pebble forgives that
// only the newest.
func (fs guardFS) guardLog(create func() (vfs.File, error)) vfs.File {
	l := &logFile{state: fs.state}
	if fs.state.failed() != nil {
		l.dead.Store(true)
		return l
	}
	var err error
	l.File, err = create()
	for pause := time.Millisecond; diskio.Busy(err); pause = min(2*pause, busyPause) {
		// Without a log nothing can be written, and Pebble cannot be told to come again: its writers wait here.
		fs.state.setStuck(err)
		time.Sleep(pause)
		l.File, err = create()
	}
	fs.state.unstick()
	_ = l.note(err) // it is the state's now
	return l
}

// busyPause is the longest pause between two tries to make a log while the process is short of descriptors or memory.
const busyPause = 100 * time.Millisecond

// logFile is a log, or the directory that it is in. Its errors are the state's; the first ends its use.
type logFile struct {
	vfs.File
	state *state
	dead  atomic.Bool
}

// note takes an error away and gives nil.
func (l *logFile) note(err error) error {
	if err != nil {
		l.state.fail(err)
		l.dead.Store(true)
	}
	return nil
}

// Write implements vfs.File.
func (l *logFile) Write(p []byte) (int, error) {
	if !l.dead.Load() {
		_, err := l.File.Write(p)
		_ = l.note(err)
	}
	return len(p), nil
}

// Sync implements vfs.File.
func (l *logFile) Sync() error {
	if l.dead.Load() {
		return nil
	}
	return l.note(l.File.Sync())
}

// SyncData implements vfs.File.
func (l *logFile) SyncData() error {
	if l.dead.Load() {
		return nil
	}
	return l.note(l.File.SyncData())
}

// SyncTo implements vfs.File.
func (l *logFile) SyncTo(length int64) (bool, error) {
	if l.dead.Load() {
		return false, nil
	}
	full, err := l.File.SyncTo(length)
	return full, l.note(err)
}

// Preallocate implements vfs.File.
func (l *logFile) Preallocate(offset, length int64) error {
	if l.dead.Load() {
		return nil
	}
	return l.note(l.File.Preallocate(offset, length))
}

// Stat implements vfs.File.
func (l *logFile) Stat() (vfs.FileInfo, error) {
	if l.File != nil {
		info, err := l.File.Stat()
		if err == nil {
			return info, nil
		}
		_ = l.note(err)
	}
	return noInfo{}, nil
}

// noInfo describes a log that could not be made.
type noInfo struct{}

func (noInfo) Name() string           { return "" }
func (noInfo) Size() int64            { return 0 }
func (noInfo) Mode() os.FileMode      { return 0 }
func (noInfo) ModTime() time.Time     { return time.Time{} }
func (noInfo) IsDir() bool            { return false }
func (noInfo) Sys() any               { return nil }
func (noInfo) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }

// Fd implements vfs.File. There is none, so that no sync goes past this type.
func (l *logFile) Fd() uintptr { return vfs.InvalidFd }

// Close implements vfs.File.
func (l *logFile) Close() error {
	if l.File == nil {
		return nil
	}
	return l.note(l.File.Close())
}

// manifest is a manifest being written. Pebble uses it from one goroutine at a time.
type manifest struct {
	vfs.File
	companion vfs.File
	state     *state
	length    int64
	sum       uint64
}

// A record of a companion: length, sum of the manifest up to it, sum of the record. docs/format.md, "Companion".
const companionRecord = 24

// Write implements vfs.File.
func (m *manifest) Write(p []byte) (int, error) {
	m.sum = crc64nvme.Update(m.sum, p)
	m.length += int64(len(p))
	return m.File.Write(p)
}

// Sync implements vfs.File: when it returns, the companion vouches for what was synced.
func (m *manifest) Sync() error {
	if err := m.state.failed(); err != nil {
		return err
	}
	if err := m.File.Sync(); err != nil {
		return err
	}
	var b [companionRecord]byte
	binary.BigEndian.PutUint64(b[:], uint64(m.length))
	binary.BigEndian.PutUint64(b[8:], m.sum)
	binary.BigEndian.PutUint64(b[16:], crc64nvme.Checksum(b[:16]))
	if _, err := m.companion.Write(b[:]); err != nil {
		return err
	}
	return m.companion.Sync()
}

// SyncData implements vfs.File.
func (m *manifest) SyncData() error { return m.Sync() }

// Close implements vfs.File.
func (m *manifest) Close() error { return errors.Join(m.File.Close(), m.companion.Close()) }

// checkMeta verifies that the manifest in use and the newest log hold all that is known to have been synced.
func checkMeta(fs vfs.FS, dir string) error {
	names, err := fs.List(dir)
	if err != nil {
		if oserror.IsNotExist(err) {
			return nil
		}
		return err
	}
	var newest, manifest string
	var number, iteration uint64
	for _, name := range names {
		if n, ok := logNumber(name); ok && n >= number {
			newest, number = name, n
		}
		if rest, ok := strings.CutPrefix(name, "marker.manifest."); ok {
			iter, target, _ := strings.Cut(rest, ".")
			if n, err := strconv.ParseUint(iter, 10, 64); err == nil && n >= iteration {
				manifest, iteration = target, n
			}
		}
	}
	if slices.Contains(names, manifest) && slices.Contains(names, manifest+companionSuffix) {
		if err := checkManifest(fs, fs.PathJoin(dir, manifest)); err != nil {
			return fmt.Errorf("%s: %w", manifest, err)
		}
	}
	if newest == "" {
		return nil
	}
	b, err := readFile(fs, fs.PathJoin(dir, newest))
	if err != nil {
		return err
	}
	if at, ok := checkLog(b, uint32(number)); !ok {
		return fmt.Errorf("%s: damaged at %d, before the end of what was synced: %w", newest, at, engine.ErrCorrupt)
	}
	return nil
}

// damagedLogs names the logs, but for the newest, that are not whole. What Pebble says of one that it cannot replay does not.
func damagedLogs(fs vfs.FS, dir string) (damaged []string) {
	names, err := fs.List(dir)
	if err != nil {
		return nil
	}
	numbers := make(map[uint64]string)
	for _, name := range names {
		if n, ok := logNumber(name); ok {
			numbers[n] = name
		}
	}
	all := slices.Sorted(maps.Keys(numbers))
	for _, n := range all[:max(0, len(all)-1)] {
		b, err := readFile(fs, fs.PathJoin(dir, numbers[n]))
		if at, _ := checkLog(b, uint32(n)); err != nil || at < len(b) && !trailerAt(b, at, uint32(n)) {
			damaged = append(damaged, numbers[n])
		}
	}
	return damaged
}

// logNumber returns the number of a log from its file name.
func logNumber(name string) (uint64, bool) {
	base, ok := strings.CutSuffix(name, ".log")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(base, 10, 32)
	return n, err == nil
}

func checkManifest(fs vfs.FS, name string) error {
	c, err := readFile(fs, name+companionSuffix)
	if err != nil {
		return err
	}
	var length int64
	var sum uint64
	for _, r := range companionRecords(c) {
		length, sum = int64(binary.BigEndian.Uint64(r)), binary.BigEndian.Uint64(r[8:])
	}
	b, err := readFile(fs, name)
	if err != nil {
		return err
	}
	if int64(len(b)) < length || crc64nvme.Checksum(b[:length]) != sum {
		return fmt.Errorf("the first %d bytes are not what was synced: %w", length, engine.ErrCorrupt)
	}
	return nil
}

// companionRecords returns the records of a companion that verify. One that does not is the tail that a crash left, or damaged: the
// others are enough.
func companionRecords(c []byte) (good [][]byte) {
	for ; len(c) >= companionRecord; c = c[companionRecord:] {
		if binary.BigEndian.Uint64(c[16:]) == crc64nvme.Checksum(c[:16]) {
			good = append(good, c[:companionRecord])
		}
	}
	return good
}

// validBytes tells the mirror how many bytes of a file are good.
func validBytes(name string, b []byte) int64 {
	if strings.HasSuffix(name, companionSuffix) {
		return int64(companionRecord * len(companionRecords(b)))
	}
	return mirror.ValidPrefix(name, b)
}

// Pebble's log: blocks of 32 KiB, and in them chunks of a header and a payload that does not cross a block's end. The header is
// sum (4 bytes, little-endian as all of it), length (2), kind (1), number of the log (4), and how much of the log was synced when
// the chunk was written (8). (Public format of github.com/cockroachdb/pebble/v2/record, "WAL sync chunks".)
const (
	logBlock      = 32 << 10
	logHeader     = 19
	logMark       = 7 // of the number in the header
	logKindFirst  = 9 // to 12: full, first, middle, last
	logKindLast   = 12
	logShortTypes = 8 // kinds up to here have shorter headers; of them only the trailer is in such a log
	logShort      = 11
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// chunkAt reads the chunk that begins at an offset: where it ends, and what was synced before it.
func chunkAt(b []byte, at int, number uint32) (end int, synced uint64, ok bool) {
	limit := min(len(b), (at/logBlock+1)*logBlock)
	if at+logHeader > limit {
		return 0, 0, false
	}
	h := b[at:limit]
	if h[6] < logKindFirst || h[6] > logKindLast || binary.LittleEndian.Uint32(h[7:]) != number {
		return 0, 0, false
	}
	n := logHeader + int(binary.LittleEndian.Uint16(h[4:]))
	if n > len(h) {
		return 0, 0, false
	}
	c := crc32.Checksum(h[6:n], castagnoli)
	if (c>>15|c<<17)+0xa282ead8 != binary.LittleEndian.Uint32(h) {
		return 0, 0, false
	}
	return at + n, binary.LittleEndian.Uint64(h[11:]), true
}

// trailerAt tells whether the trailer of a log that was closed is at an offset: an empty chunk with the number that follows.
func trailerAt(b []byte, at int, number uint32) bool {
	return at+logShort <= len(b) && b[at+6] > 0 && b[at+6] <= logShortTypes && binary.LittleEndian.Uint32(b[at+7:]) == number+1
}

// checkLog walks over the chunks of a log to the first that is not whole, and looks beyond it for one that says that it was synced.
// at is where the walk ended.
func checkLog(b []byte, number uint32) (at int, ok bool) {
	for at < len(b) {
		if rest := logBlock - at%logBlock; rest < logHeader {
			at += rest // too short for a header: filled up
			continue
		}
		end, _, whole := chunkAt(b, at, number)
		if !whole {
			break
		}
		at = end
	}
	if at >= len(b) || trailerAt(b, at, number) {
		return at, true
	}
	// Every chunk has the number of the log in its header. A log that was made of an old one is full of others.
	mark := binary.LittleEndian.AppendUint32(nil, number)
	for i := at + 1; i+logHeader <= len(b); i++ {
		n := bytes.Index(b[i+logMark:], mark)
		if n < 0 {
			break
		}
		i += n
		if _, synced, whole := chunkAt(b, i, number); whole && synced > uint64(at) {
			return at, false
		}
	}
	return at, true
}
