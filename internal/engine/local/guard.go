package local

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/minio/crc64nvme"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/diskio"
)

// Pebble reads a damaged chunk of a manifest, or of the last blocks of a log, as the end of the file: that is what a crash leaves.
// Damage to what was synced must not pass for it, or a flipped bit would undo acknowledged writes without a word. So the end that
// is found is compared with what is known to have been synced: of a manifest, by a companion file that names the length and sum of
// each synced prefix, as edits are rare enough for that; of a log, by its frames (logFrames).
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
// Compactions end where they would take the room that the log and the flushes need: see room. Pebble tries them, and flushes, again at
// once. guardFS makes it wait a little, so that a full disk does not cost a core as well.
//
// It tells the log list of logs that come and go.
type guardFS struct {
	vfs.FS
	state  *state
	frames *logFrames // of the logs; nil for none
	logs   *logList   // may be nil
	room   *room
}

// flushPause slows down Pebble's flushes and compactions while they fail.
const flushPause = 50 * time.Millisecond

// compactionCategory is what Pebble calls the writes of compactions.
const compactionCategory = "pebble-compaction"

// Create implements vfs.FS.
func (fs guardFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	base := fs.PathBase(name)
	if strings.HasPrefix(base, "marker.") {
		if err := diskio.SyncDir(fs.FS, fs.PathDir(name)); err != nil {
			return nil, err
		}
	}
	var spare func() bool
	if strings.HasSuffix(base, ".sst") {
		if category == compactionCategory && fs.room != nil {
			spare = func() bool { return fs.room.fits(tableBuffer) }
		}
		if fs.state.stuck.Load() != nil || spare != nil && !spare() {
			time.Sleep(flushPause) // Pebble tries again at once, and tells nobody
		}
	}
	if strings.HasSuffix(base, ".log") {
		return fs.guardLog(name, func() (vfs.File, error) { return fs.FS.Create(name, category) }), nil
	}
	f, err := fs.FS.Create(name, category)
	switch {
	case err == nil && strings.HasSuffix(base, ".sst"):
		return newTableFile(f, spare), nil
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
	return fs.guardLog(newname, func() (vfs.File, error) {
		if err := fs.forgetLog(oldname); err != nil {
			return nil, err
		}
		return fs.FS.ReuseForWrite(oldname, newname, category)
	}), nil
}

// Open implements vfs.FS.
func (fs guardFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if number, ok := fs.frames.framed(fs.PathBase(name)); ok {
		return fs.frames.open(fs.FS, name, number, opts...)
	}
	return fs.FS.Open(name, opts...)
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
	base := fs.PathBase(name)
	if err := fs.forgetLog(name); err != nil {
		return err
	}
	if strings.HasPrefix(base, "marker.") { // the new one, before the old one goes
		if err := diskio.SyncDir(fs.FS, fs.PathDir(name)); err != nil {
			return err
		}
	}
	if strings.HasPrefix(base, "MANIFEST-") {
		if err := fs.FS.Remove(name + companionSuffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return fs.FS.Remove(name)
}

// Unwrap implements vfs.FS.
func (fs guardFS) Unwrap() vfs.FS { return fs.FS }

// guardLog makes a log. Once the store has failed there is none: the one that failed may have no proper end, and Pebble forgives that
// only the newest.
func (fs guardFS) guardLog(name string, create func() (vfs.File, error)) vfs.File {
	l := &logFile{state: fs.state}
	if number, ok := fs.frames.framed(fs.PathBase(name)); ok {
		l.frames, l.number = fs.frames, number
	}
	if fs.state.failed() != nil {
		l.dead.Store(true)
		return l
	}
	err := fs.state.outwait(func() (err error) {
		l.File, err = create()
		return err
	})
	if number, ok := logNumber(fs.PathBase(name)); ok && err == nil && fs.logs != nil {
		// The list may name it once a power cut cannot take it away.
		l.logs, l.number = fs.logs, number
		if err = fs.state.outwait(func() error { return diskio.SyncDir(fs.FS, fs.PathDir(name)) }); err == nil {
			err = l.noteRoom()
		}
	}
	_ = l.note(err) // it is the state's now
	return l
}

// outwait does what opens files until it meets no shortage of descriptors or memory. Without a log nothing can be written, and Pebble cannot
// be told to come again: its writers wait here, and others are refused meanwhile. It ends with the store.
func (s *state) outwait(op func() error) error {
	err := op()
	if !diskio.Busy(err) {
		return err
	}
	for pause := time.Millisecond; diskio.Busy(err); pause = min(2*pause, busyPause) {
		s.setStuck(err)
		select {
		case <-s.ending: // whoever waits gets an error, and what comes after the log's last sync was not acknowledged
			return err
		case <-time.After(pause):
		}
		err = op()
	}
	s.unstick()
	return err
}

// busyPause is the longest pause between two tries of outwait.
const busyPause = 100 * time.Millisecond

// forgetLog has the list no longer name a log, before it goes.
func (fs guardFS) forgetLog(name string) error {
	if number, ok := logNumber(fs.PathBase(name)); ok && fs.logs != nil {
		return fs.logs.gone(number)
	}
	return nil
}

// logFile is a log, or the directory that it is in. Its errors are the state's; the first ends its use.
type logFile struct {
	vfs.File
	state *state
	dead  atomic.Bool

	// Of a log. Pebble writes and syncs it from one goroutine at a time.
	frames *logFrames
	logs   *logList // nil if there is none to be kept
	number uint64
	head   [logFrameHead]byte
	end    int64 // offset behind what was written
	synced int64 // of it, so much is on the disk
	room   int64 // length of the file that the list knows of
}

// noteRoom tells the list how long the file is.
func (l *logFile) noteRoom() error {
	info, err := l.File.Stat()
	if err != nil {
		return err
	}
	l.room = info.Size()
	return l.state.outwait(func() error { return l.logs.there(l.number, l.room) })
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
	if l.dead.Load() {
		return len(p), nil
	}
	if l.frames != nil {
		l.frames.encode(&l.head, l.number, l.end, l.synced, p)
		l.end += logFrameHead + int64(len(p))
		if _, err := l.File.Write(l.head[:]); err != nil {
			return len(p), l.note(err)
		}
	}
	_, err := l.File.Write(p)
	return len(p), l.note(err)
}

// Sync implements vfs.File.
func (l *logFile) Sync() error { return l.sync(vfs.File.Sync) }

// SyncData implements vfs.File.
func (l *logFile) SyncData() error { return l.sync(vfs.File.SyncData) }

func (l *logFile) sync(sync func(vfs.File) error) error {
	if l.dead.Load() {
		return nil
	}
	err := sync(l.File)
	if err == nil && l.frames != nil { // a directory is one too, and is synced by several at a time
		l.synced = l.end
	}
	if err == nil && l.logs != nil && l.end > l.room {
		err = l.noteRoom() // what was synced lies within the room that the list knows of
	}
	return l.note(err)
}

// SyncTo implements vfs.File.
func (l *logFile) SyncTo(length int64) (bool, error) {
	if l.dead.Load() {
		return false, nil
	}
	full, err := l.File.SyncTo(max(length, l.end))
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

// checkMeta verifies that the manifest in use and the logs hold all that is known to have been synced.
func checkMeta(fs vfs.FS, dir string, frames *logFrames) error {
	names, err := fs.List(dir)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	var manifest string
	var iteration uint64
	for _, name := range names {
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
	return frames.check(fs, dir, names)
}

// damagedLogs names the logs, but for the newest, that were not written to their end. What Pebble says of one that it cannot replay
// does not.
func damagedLogs(fs vfs.FS, dir string, frames *logFrames) (damaged []string) {
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
		if _, ok := frames.framed(numbers[n]); !ok {
			continue
		}
		b, err := diskio.ReadFile(fs, fs.PathJoin(dir, numbers[n]))
		if err == nil {
			b, _, err = frames.content(b, n)
		}
		if err != nil || !closed(b, n) {
			damaged = append(damaged, numbers[n])
		}
	}
	return damaged
}

func checkManifest(fs vfs.FS, name string) error {
	c, err := diskio.ReadFile(fs, name+companionSuffix)
	if err != nil {
		return err
	}
	var length int64
	var sum uint64
	for _, r := range companionRecords(c) {
		length, sum = int64(binary.BigEndian.Uint64(r)), binary.BigEndian.Uint64(r[8:])
	}
	b, err := diskio.ReadFile(fs, name)
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
