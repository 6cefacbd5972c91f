package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/minio/crc64nvme"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/diskio"
)

// ListName is the name of the list's file.
const ListName = "LOGS"

const (
	listMagic   = "BLOBDLOG"
	listVersion = 1
	listHeader  = 64
	listRecord  = 24
	listFull    = 4096 // bytes at which it is written anew: a block of the file system, so that more of it takes no room

	isThere = 1
	isGone  = 2
)

// List is the list of the logs of a store that is open.
type List struct {
	fs    vfs.FS
	dir   string
	store [16]byte
	start uint64

	mu   sync.Mutex
	logs map[uint64]int64 // by number: bytes that the file has at least
	file vfs.File         // nil after a failure: the next change writes the list anew

	content []byte // of the file
}

// readList reads a list.
func readList(b []byte) (store [16]byte, start uint64, logs map[uint64]int64, err error) {
	if len(b) < listHeader || string(b[:8]) != listMagic ||
		binary.BigEndian.Uint64(b[listHeader-8:]) != crc64nvme.Checksum(b[:listHeader-8]) {
		return store, 0, nil, engine.ErrCorrupt
	}
	if v := binary.BigEndian.Uint32(b[8:]); v != listVersion {
		return store, 0, nil, fmt.Errorf("version %d, known is %d: made by a newer version of blobd", v, listVersion)
	}
	copy(store[:], b[16:])
	start = binary.BigEndian.Uint64(b[32:])
	logs = make(map[uint64]int64)
	records, whole := listRecords(b)
	if !whole {
		return store, 0, nil, engine.ErrCorrupt
	}
	for _, r := range records {
		number, length := uint64(binary.BigEndian.Uint32(r)), int64(binary.BigEndian.Uint64(r[8:]))
		if binary.BigEndian.Uint32(r[4:]) == isGone {
			delete(logs, number)
		} else {
			logs[number] = max(logs[number], length)
		}
	}
	return store, start, logs, nil
}

// listRecords returns the records that verify. One that does not is the tail that a crash left, if none follows that does.
func listRecords(b []byte) (good [][]byte, whole bool) {
	whole, bad := true, false
	for b = b[listHeader:]; len(b) >= listRecord; b = b[listRecord:] {
		if binary.BigEndian.Uint64(b[16:]) != crc64nvme.Checksum(b[:16]) {
			bad = true
			continue
		}
		whole = whole && !bad
		good = append(good, b[:listRecord])
	}
	return good, whole
}

func encodeRecord(number uint64, kind uint32, length int64) []byte {
	b := make([]byte, 16, listRecord)
	binary.BigEndian.PutUint32(b, uint32(number))
	binary.BigEndian.PutUint32(b[4:], kind)
	binary.BigEndian.PutUint64(b[8:], uint64(length))
	return binary.BigEndian.AppendUint64(b, crc64nvme.Checksum(b))
}

// encode returns the whole file.
func (l *List) encode() []byte {
	b := make([]byte, listHeader-8, listFull)
	copy(b, listMagic)
	binary.BigEndian.PutUint32(b[8:], listVersion)
	copy(b[16:], l.store[:])
	binary.BigEndian.PutUint64(b[32:], l.start)
	b = binary.BigEndian.AppendUint64(b, crc64nvme.Checksum(b))
	for _, n := range slices.Sorted(maps.Keys(l.logs)) {
		b = append(b, encodeRecord(n, isThere, l.logs[n])...)
	}
	return b
}

// ListOptions of OpenList.
type ListOptions struct {
	Store    [16]byte
	Start    uint64   // number of this start
	Since    uint64   // the list must be of this start or a later one; 0 for a store that has none yet
	Accepted []string // files that the operator has given up
	Logger   *zap.Logger
}

// OpenList holds a folder against its list; Rewrite then writes the list of this start. What is missing is an error that names it, unless
// it was accepted.
func OpenList(fs vfs.FS, dir string, o ListOptions) (_ *List, err error) {
	l := &List{fs: fs, dir: dir, store: o.Store, start: o.Start}
	name := fs.PathJoin(dir, ListName)
	if l.logs, err = readListOf(fs, name, o.Store, o.Since); err != nil && slices.Contains(o.Accepted, ListName) {
		o.Logger.Error("the store goes on with the logs that are there, as --accept-missing says", zap.Error(err))
		l.logs, err = nil, nil
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w. Put back the newest files of %s; if they are lost for good, start once with --accept-missing %s: "+
			"acknowledged writes may be given up", err, dir, ListName)
	case l.logs == nil:
		if err := l.learn(); err != nil {
			return nil, err
		}
	}
	if err := l.check(o.Accepted, o.Logger); err != nil {
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
	owner, start, logs, err := readList(b)
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
func (l *List) learn() error {
	l.logs = make(map[uint64]int64)
	names, err := l.fs.List(l.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if n, ok := Number(name); ok {
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
func (l *List) check(accepted []string, log *zap.Logger) error {
	for _, n := range slices.Sorted(maps.Keys(l.logs)) {
		name := l.fs.PathJoin(l.dir, Name(n))
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
		if slices.Contains(accepted, Name(n)) {
			log.Error("the store goes on without acknowledged writes, as --accept-missing says", zap.String("file", name), zap.String("problem", problem))
			delete(l.logs, n)
			continue
		}
		return fmt.Errorf("%s, which "+ListName+" names, %s, and with it acknowledged writes; put it back. If it is lost for good, start once with --accept-missing %s: "+
			"what it alone held is given up: %w", name, problem, Name(n), engine.ErrCorrupt)
	}
	return nil
}

// Start is the number of the start whose list it is.
func (l *List) Start() uint64 { return l.start }

// Rewrite replaces the file of the list.
func (l *List) Rewrite() error {
	if l.file != nil {
		err := l.file.Close()
		if l.file = nil; err != nil {
			return err
		}
	}
	b := l.encode()
	content := bytes.Clone(b)
	name := l.fs.PathJoin(l.dir, ListName)
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
		return errors.Join(err, f.Close())
	}
	l.file, l.content = f, content
	return nil
}

// there notes durably that a log's file is there and has so many bytes.
func (l *List) there(number uint64, length int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.logs[number] = length
	return l.add(encodeRecord(number, isThere, length))
}

// gone notes durably that a log's file is not needed any more.
func (l *List) gone(number uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.logs[number]; !ok {
		return nil
	}
	delete(l.logs, number)
	return l.add(encodeRecord(number, isGone, 0))
}

// add appends a record, or writes the list anew if it is long.
func (l *List) add(record []byte) error {
	if l.file == nil || len(l.content)+len(record) > listFull {
		return l.Rewrite()
	}
	written := len(l.content)
	l.content = append(l.content, record...)
	_, err := l.file.Write(record)
	if err == nil {
		err = l.file.SyncData()
	}
	if err != nil {
		err = errors.Join(err, l.file.Close())
		l.file, l.content = nil, l.content[:written]
		return err
	}
	return nil
}

// Scrub holds the list's file to what was written, in each of the folders of fs that are to have it, and writes it anew if it is another in
// any of them. read is how many bytes it read, found in how many folders the file was another.
func (l *List) Scrub(fs vfs.FS, dirs []string) (read int64, found int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return 0, 0, nil // the store has said so, and the next change writes it anew
	}
	for _, dir := range dirs {
		name := fs.PathJoin(dir, ListName)
		if f, err := fs.Open(name); err == nil {
			diskio.Uncache(f, 0, listFull)
			_ = f.Close() // nothing was written
		}
		b, err := diskio.ReadFile(fs, name)
		read += int64(len(b))
		if errors.Is(err, os.ErrNotExist) || err == nil && !bytes.Equal(b, l.content) {
			found++
		}
	}
	if found > 0 {
		err = l.Rewrite()
	}
	return read, found, err
}

// Close closes the file of the list.
func (l *List) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}
