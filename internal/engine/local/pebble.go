package local

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/diskspace"
	"github.com/blobd/blobd/internal/engine/local/guard"
	"github.com/blobd/blobd/internal/engine/local/wal"
)

// openPebble opens the key space.
func openPebble(fs vfs.FS, dir string, guarded vfs.FS, opts Options, st *state, frames *wal.Frames, fresh, readOnly bool) (*pebble.DB, error) {
	cache := pebble.NewCache(opts.CacheSize)
	defer cache.Unref()
	o := &pebble.Options{
		FS:               guarded,
		ReadOnly:         readOnly,
		ErrorIfNotExists: !fresh,
		// The newest format finds corruption in the middle of a log, which older ones read as its end.
		FormatMajorVersion:          pebble.FormatNewest,
		Merger:                      merger,
		Cache:                       cache,
		MemTableSize:                opts.MemTableSize,
		MemTableStopWritesThreshold: diskspace.Memtables,
		L0CompactionThreshold:       8,
		L0StopWritesThreshold:       1000,
		LBaseMaxBytes:               256 << 20,
		MaxOpenFiles:                opts.MaxFiles * 2 / 3,
		CompactionConcurrencyRange:  func() (int, int) { return 1, max(1, min(runtime.GOMAXPROCS(0)/2, 4)) },
		Logger:                      pebbleLogger{st},
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) {
				// On a full disk it is tried again many times a second, and diskspace says what there is to say.
				if !errors.Is(kind(err), engine.ErrNoSpace) {
					st.log.Warn("background work on metadata failed", zap.Error(err))
				}
			},
			FlushEnd: func(info pebble.FlushInfo) {
				// A flush of nothing but what cancels out makes no table, and Pebble calls that an error here.
				if info.Err != nil && info.Err.Error() == "pebble: empty table" {
					info.Err = nil
				}
				st.flushed(info.Err)
			},
			WriteStallBegin: func(pebble.WriteStallBeginInfo) { st.stalls.begin() },
			WriteStallEnd:   st.stalls.end,
			// The default ends in Fatalf. A block that does not verify fails the reads that need it, and no others.
			DataCorruption: func(info pebble.DataCorruptionInfo) {
				st.log.Error("a metadata file is corrupt", zap.String("path", info.Path), zap.Error(info.Details))
			},
		},
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		o.Levels[i].Compression = compression(i)
	}
	// A table of the first level spans ten tables of the next at most, and is compacted with these: on a small disk there is not room for much.
	o.TargetFileSizes[0] = min(max(int64(opts.MemTableSize)/16, 256<<10), 2<<20)
	if _, err := guard.CheckManifest(fs, dir); err != nil {
		return nil, err
	}
	if err := frames.Check(fs, dir); err != nil {
		return nil, err
	}
	if err := removeOptions(fs, dir); err != nil {
		return nil, err
	}
	db, err := pebble.Open(dir, o)
	if pebble.IsCorruptionError(err) {
		if logs := frames.Damaged(fs, dir); len(logs) > 0 {
			err = fmt.Errorf("%s: %w", strings.Join(logs, ", "), err)
		}
	}
	if err != nil {
		return nil, noteTables(dir, err)
	}
	return db, nil
}

// noteTables gives a kind to what Pebble says of tables that are gone or cut off: it has none.
func noteTables(dir string, err error) error {
	for _, words := range []string{"unknown to the objstorage provider", "object size mismatch"} {
		if strings.Contains(err.Error(), words) {
			return fmt.Errorf("tables in %s are missing or cut off; put them back: %w: %w", dir, engine.ErrCorrupt, err)
		}
	}
	return err
}

// compression is what a level's blocks are written with. Those of the first are soon written again, into a lower one.
func compression(level int) func() *sstable.CompressionProfile {
	profile := sstable.SnappyCompression
	if level == 0 {
		profile = sstable.NoCompression
	}
	return func() *sstable.CompressionProfile { return profile }
}

// removeOptions removes the file in which Pebble writes down its options at each start. The next start holds it against its own,
// which the versions of our formats and the tables do already, so a damaged one would only refuse a store that is whole.
func removeOptions(fs vfs.FS, dir string) error {
	names, err := fs.List(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, "OPTIONS-") {
			if err := fs.Remove(fs.PathJoin(dir, name)); err != nil {
				return fmt.Errorf("remove %s: %w", name, err)
			}
		}
	}
	return nil
}

// closePebble closes the key space. Pebble panics on what its log has failed at.
func closePebble(db *pebble.DB) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("close the key space: %v", r)
		}
	}()
	return db.Close()
}

// pebbleLogger takes Pebble's log. Pebble calls Fatalf where it cannot write any more: the store then takes no more writes, and
// lives.
type pebbleLogger struct{ st *state }

func (l pebbleLogger) Infof(format string, args ...any) {
	if l.st.log.Core().Enabled(zap.DebugLevel) {
		l.st.log.Debug(fmt.Sprintf(format, args...))
	}
}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.st.log.Error(fmt.Sprintf(format, args...))
}

func (l pebbleLogger) Fatalf(format string, args ...any) {
	cause := fmt.Errorf(format, args...)
	for _, a := range args {
		if err, ok := a.(error); ok {
			cause = errors.Join(cause, err)
		}
	}
	l.st.Fail(cause)
}
