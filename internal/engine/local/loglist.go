package local

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/minio/crc64nvme"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/diskio"
)

// The log list vouches for what Pebble does not miss: a log that is gone, or cut off, is to it one that was never written. The list names
// the logs and a length that each of their files has reached, so that what was acknowledged lies before it. It is kept when a log is made,
// has grown or goes, and never for a write as such: the room for a log is made in steps, ahead of what is written.
//
// It also has the number of the start that wrote it, so that a folder of metadata that was put back from an older copy is not taken
// for the one that belongs to the disk.
//
// docs/format.md, "Log list", has its bytes.
const (
	logListName    = "LOGS"
	logListMagic   = "BLOBDLOG"
	logListVersion = 1
	logListHeader  = 64
	logListRecord  = 24
	logListFull    = 4096 // bytes at which it is written anew: a block of the file system, so that more of it takes no room

	logIsThere = 1
	logIsGone  = 2
)

// logList is the list of a store that is open.
type logList struct {
	fs    vfs.FS
	dir   string
	store [16]byte
	start uint64

	mu   sync.Mutex
	logs map[uint64]int64 // by number: bytes that the file has at least
	file vfs.File         // nil after a failure: the next change writes the list anew
	size int
}

// logName is the name of a log's file.
func logName(number uint64) string { return fmt.Sprintf("%06d.log", number) }

// readLogList reads a list.
func readLogList(b []byte) (store [16]byte, start uint64, logs map[uint64]int64, err error) {
	if len(b) < logListHeader || string(b[:8]) != logListMagic ||
		binary.BigEndian.Uint64(b[logListHeader-8:]) != crc64nvme.Checksum(b[:logListHeader-8]) {
		return store, 0, nil, engine.ErrCorrupt
	}
	if v := binary.BigEndian.Uint32(b[8:]); v != logListVersion {
		return store, 0, nil, fmt.Errorf("version %d, known is %d: %w", v, logListVersion, errFormatVersion)
	}
	copy(store[:], b[16:])
	start = binary.BigEndian.Uint64(b[32:])
	logs = make(map[uint64]int64)
	records, whole := logListRecords(b)
	if !whole {
		return store, 0, nil, engine.ErrCorrupt
	}
	for _, r := range records {
		number, length := uint64(binary.BigEndian.Uint32(r)), int64(binary.BigEndian.Uint64(r[8:]))
		if binary.BigEndian.Uint32(r[4:]) == logIsGone {
			delete(logs, number)
		} else {
			logs[number] = max(logs[number], length)
		}
	}
	return store, start, logs, nil
}

// logListRecords returns the records that verify. One that does not is the tail that a crash left, if none follows that does.
func logListRecords(b []byte) (good [][]byte, whole bool) {
	whole, bad := true, false
	for b = b[logListHeader:]; len(b) >= logListRecord; b = b[logListRecord:] {
		if binary.BigEndian.Uint64(b[16:]) != crc64nvme.Checksum(b[:16]) {
			bad = true
			continue
		}
		whole = whole && !bad
		good = append(good, b[:logListRecord])
	}
	return good, whole
}

// validMeta tells the mirror how many bytes of a file are good.
func validMeta(frames *logFrames) func(name string, b []byte) int64 {
	return func(name string, b []byte) int64 {
		if path.Base(name) != logListName {
			return frames.valid(name, b)
		}
		if _, _, _, err := readLogList(b); err != nil {
			return 0
		}
		records, _ := logListRecords(b)
		return int64(logListHeader + logListRecord*len(records))
	}
}

func logRecord(number uint64, kind uint32, length int64) []byte {
	b := make([]byte, 16, logListRecord)
	binary.BigEndian.PutUint32(b, uint32(number))
	binary.BigEndian.PutUint32(b[4:], kind)
	binary.BigEndian.PutUint64(b[8:], uint64(length))
	return binary.BigEndian.AppendUint64(b, crc64nvme.Checksum(b))
}

// encode returns the whole file.
func (l *logList) encode() []byte {
	b := make([]byte, logListHeader-8, logListFull)
	copy(b, logListMagic)
	binary.BigEndian.PutUint32(b[8:], logListVersion)
	copy(b[16:], l.store[:])
	binary.BigEndian.PutUint64(b[32:], l.start)
	b = binary.BigEndian.AppendUint64(b, crc64nvme.Checksum(b))
	for _, n := range slices.Sorted(maps.Keys(l.logs)) {
		b = append(b, logRecord(n, logIsThere, l.logs[n])...)
	}
	return b
}

// openLogList holds the folder against its list; rewrite then writes the list of this start. since is the start of which the list must be, or of a
// later one; 0 for a store that has none yet. What is missing is an error that names it, unless it was accepted.
func openLogList(fs vfs.FS, dir string, store [16]byte, since, start uint64, accepted []string, log *zap.Logger) (_ *logList, err error) {
	l := &logList{fs: fs, dir: dir, store: store, start: start}
	name := fs.PathJoin(dir, logListName)
	if l.logs, err = readListOf(fs, name, store, since); err != nil && slices.Contains(accepted, logListName) {
		log.Error("the store goes on with the logs that are there, as --accept-missing says", zap.Error(err))
		since, l.logs, err = 0, nil, nil
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w. Put back the newest files of %s; if they are lost for good, start once with --accept-missing %s: "+
			"acknowledged writes may be given up", err, dir, logListName)
	case l.logs == nil:
		if err := l.learn(); err != nil {
			return nil, err
		}
	}
	if err := l.check(accepted, log); err != nil {
		return nil, err
	}
	return l, nil
}

// readListOf reads the list of a store, nil if it has none yet.
func readListOf(fs vfs.FS, name string, store [16]byte, since uint64) (map[uint64]int64, error) {
	b, err := diskio.ReadFile(fs, name)
	switch {
	case errors.Is(err, os.ErrNotExist) && since == 0:
		return nil, nil
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("%s is missing: %w", name, engine.ErrCorrupt)
	case err != nil:
		return nil, err
	}
	owner, start, logs, err := readLogList(b)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", name, err)
	case owner != store:
		return nil, fmt.Errorf("%s is of another store: %w", name, engine.ErrCorrupt)
	case start < since:
		return nil, fmt.Errorf("%s is of start %d, but the disk has seen start %d, so that older files were put back: %w", name, start, since, engine.ErrCorrupt)
	}
	return logs, nil
}

// learn lists what is there, for a store that has no list yet.
func (l *logList) learn() error {
	l.logs = make(map[uint64]int64)
	names, err := l.fs.List(l.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if n, ok := logNumber(name); ok {
			info, err := l.fs.Stat(l.fs.PathJoin(l.dir, name))
			if err != nil {
				return err
			}
			l.logs[n] = info.Size()
		}
	}
	return nil
}

// check finds what is missing of the logs.
func (l *logList) check(accepted []string, log *zap.Logger) error {
	for _, n := range slices.Sorted(maps.Keys(l.logs)) {
		name := l.fs.PathJoin(l.dir, logName(n))
		info, err := l.fs.Stat(name)
		var problem string
		switch {
		case errors.Is(err, os.ErrNotExist):
			problem = "is missing"
		case err != nil:
			return err
		case info.Size() < l.logs[n]:
			problem = fmt.Sprintf("has %d bytes of %d", info.Size(), l.logs[n])
		default:
			continue
		}
		if slices.Contains(accepted, logName(n)) {
			log.Error("the store goes on without acknowledged writes, as --accept-missing says", zap.String("file", name), zap.String("problem", problem))
			delete(l.logs, n)
			continue
		}
		return fmt.Errorf("%s, which "+logListName+" names, %s, and with it acknowledged writes; put it back. If it is lost for good, start once with --accept-missing %s: "+
			"what it alone held is given up: %w", name, problem, logName(n), engine.ErrCorrupt)
	}
	return nil
}

// rewrite replaces the list.
func (l *logList) rewrite() error {
	if l.file != nil {
		err := l.file.Close()
		if l.file = nil; err != nil {
			return err
		}
	}
	b := l.encode()
	size := len(b)
	name := l.fs.PathJoin(l.dir, logListName)
	f, err := l.fs.Create(name+".tmp", vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if _, err = f.Write(b); err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = l.fs.Rename(name+".tmp", name)
	}
	if err == nil {
		err = diskio.SyncDir(l.fs, l.dir)
	}
	if err != nil {
		return errors.Join(kind(err), f.Close())
	}
	l.file, l.size = f, size
	return nil
}

// there notes durably that a log's file is there and has so many bytes.
func (l *logList) there(number uint64, length int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.logs[number] = length
	return l.add(logRecord(number, logIsThere, length))
}

// gone notes durably that a log's file is not needed any more.
func (l *logList) gone(number uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.logs[number]; !ok {
		return nil
	}
	delete(l.logs, number)
	return l.add(logRecord(number, logIsGone, 0))
}

// add appends a record, or writes the list anew if it is long.
func (l *logList) add(record []byte) error {
	if l.file == nil || l.size+len(record) > logListFull {
		return l.rewrite()
	}
	_, err := l.file.Write(record)
	if err == nil {
		err = l.file.SyncData()
	}
	if err != nil {
		err = errors.Join(err, l.file.Close())
		l.file = nil
		return err
	}
	l.size += len(record)
	return nil
}

func (l *logList) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}
