package local

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/diskio"
	"github.com/blobd/blobd/internal/engine/local/extent"
	"github.com/blobd/blobd/internal/engine/local/guard"
	"github.com/blobd/blobd/internal/engine/local/scrub"
	"github.com/blobd/blobd/internal/engine/local/wal"
)

// DefaultScrubRate is how many bytes a second a scrub reads of all disks together: 4 TiB in three days, for two hundredths of a core.
const DefaultScrubRate = 16 << 20

// quiesceTries is how often a scrub looks whether an extent that it sealed is written to no more, quiescePause what lies between.
const (
	quiesceTries = 100
	quiescePause = 100 * time.Millisecond
)

// scrubTarget is the store as its scrubber sees it; docs/design/008-scrub.md.
type scrubTarget struct{ *Store }

var _ scrub.Target = scrubTarget{}

func (s *Store) openScrub() (err error) {
	rate := s.opts.ScrubRate
	if rate < 0 {
		rate = 0
	}
	if err = s.damage.load(s); err != nil {
		return err
	}
	s.scrubber, err = scrub.New(scrub.Options{Rate: rate, Now: s.opts.Now, Log: s.log}, scrubTarget{s})
	if err != nil { // nothing but how far it was is lost
		s.log.Warn("the scrub begins anew", zap.Error(err))
		err = nil
	}
	return err
}

// StartScrub implements engine.Scrubber.
func (s *Store) StartScrub() error { return s.steer((*scrub.Scrubber).Start) }

// PauseScrub implements engine.Scrubber.
func (s *Store) PauseScrub() error { return s.steer((*scrub.Scrubber).Pause) }

func (s *Store) steer(do func(*scrub.Scrubber) error) error {
	if !s.gate.enter() {
		return engine.ErrClosed
	}
	defer s.gate.leave()
	return do(s.scrubber)
}

// scrubHealth is what an operator has to know of the scrub.
func (s *Store) scrubHealth() engine.Scrub {
	st := s.scrubber.Status()
	h := engine.Scrub{State: st.State, Rate: st.Rate, Pass: st.Pass, Started: st.Started, Finished: st.Finished, Read: st.Read.Bytes, Total: st.Total,
		Found: st.Read.Found, Healed: st.Read.Healed, Lost: st.Read.Lost, ReadBytes: st.Since.Bytes, FoundAll: st.Since.Found, HealedAll: st.Since.Healed}
	h.Damaged, h.DamagedAll = s.damage.list()
	return h
}

// Load implements scrub.Target.
func (s scrubTarget) Load() ([]byte, error) {
	v, c, err := s.db.Get(systemKey(sysScrub, nil))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, kind(err)
	}
	return slices.Clone(v), c.Close()
}

// Save implements scrub.Target. A store that cannot be written to is scrubbed all the same.
func (s scrubTarget) Save(b []byte) error {
	if s.state.working() != nil {
		return nil
	}
	batch := s.db.NewBatch()
	return errors.Join(batch.Set(systemKey(sysScrub, nil), b, nil), s.commit(batch), batch.Close())
}

// Size implements scrub.Target.
func (s scrubTarget) Size() int64 {
	width := int64(s.disks.K + s.disks.M)
	n := int64(s.db.Metrics().DiskSpaceUsage()) * int64(max(1, len(s.replicas)))
	for _, info := range s.extents.Extents() {
		n += info.Data * width / int64(s.disks.K)
	}
	return n
}

// Next implements scrub.Target.
func (s scrubTarget) Next(id uint64) uint64 {
	for _, info := range s.extents.Extents() {
		if info.ID >= id {
			return info.ID
		}
	}
	return 0
}

// Extent implements scrub.Target.
func (s scrubTarget) Extent(ctx context.Context, id uint64, pace scrub.Pace) (f scrub.Found, err error) {
	got, err := s.scrubExtent(ctx, id, pace)
	f = scrub.Found{Bytes: got.Bytes, Found: int64(got.Found), Healed: int64(got.Healed)}
	if errors.Is(err, engine.ErrNotFound) {
		return f, nil
	}
	if err != nil {
		return f, err
	}
	if got.Doubt || s.damage.in(id) {
		n, lost, err := s.lostIn(ctx, id, pace)
		f.Bytes += n
		f.Lost += lost
		return f, err
	}
	return f, nil
}

// scrubExtent scrubs an extent. One that is written to, and has something that may be bad or on its way, is sealed first: then it is
// one or the other.
func (s scrubTarget) scrubExtent(ctx context.Context, id uint64, pace scrub.Pace) (got extent.Scrubbed, err error) {
	for try := range 2 {
		more, err := s.extents.Scrub(ctx, id, extent.Pace(pace))
		more.Bytes += got.Bytes
		got = more
		if err != nil || !got.Open || try > 0 {
			return got, err
		}
		if err := s.extents.Seal(id); err != nil {
			return got, err
		}
		for range quiesceTries {
			if s.extents.Settled(id) {
				break
			}
			select {
			case <-ctx.Done():
				return got, ctx.Err()
			case <-time.After(quiescePause):
			}
		}
	}
	return got, nil
}

// lostIn reads the chunks of an extent that have owners, and notes those that nothing can bring back.
func (s scrubTarget) lostIn(ctx context.Context, id uint64, pace scrub.Pace) (bytes, lost int64, err error) {
	var refs []engine.Ref
	snap := s.db.NewSnapshot()
	err = s.eachRefIn(ctx, snap, id, func(ref engine.Ref, v []byte) error {
		n, err := decodeInt(v)
		if err != nil {
			return fmt.Errorf("owners of chunk %x: %w: %w", ref, engine.ErrCorrupt, err)
		}
		if n > 0 {
			refs = append(refs, ref)
		}
		return nil
	})
	if err = errors.Join(err, snap.Close()); err != nil {
		return 0, 0, err
	}
	var bad []engine.Ref
	buf := make([]byte, engine.MaxChunk)
	for _, ref := range refs {
		if _, moved, err := s.forward(ref); err != nil || moved {
			continue
		}
		size := extent.Size(ref)
		err := s.readWhole(ctx, ref, buf[:min(size, engine.MaxChunk)])
		bytes += size
		pace(ctx, int(size))
		switch {
		case ctx.Err() != nil:
			return bytes, lost, ctx.Err()
		case errors.Is(err, engine.ErrCorrupt):
			if gone, gerr := s.gone(ref); gerr == nil && !gone {
				bad = append(bad, ref)
			}
		case err != nil && !errors.Is(err, engine.ErrUnavailable) && !errors.Is(err, engine.ErrNotFound):
			return bytes, lost, err
		}
	}
	return bytes, int64(len(bad)), s.damage.chunks(ctx, s.Store, id, bad)
}

// eachRefIn runs fn on the counts of the chunks of an extent.
func (s *Store) eachRefIn(ctx context.Context, src source, id uint64, fn func(ref engine.Ref, v []byte) error) error {
	lower := systemKey(sysRef, binary.BigEndian.AppendUint64(nil, id))
	upper := systemKey(sysRef, binary.BigEndian.AppendUint64(nil, id+1))
	it, err := src.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return kind(err)
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		v, verr := it.ValueAndErr()
		switch key := it.Key()[2:]; {
		case verr != nil:
			err = kind(verr)
		case ctx.Err() != nil:
			err = ctx.Err()
		case len(key) == len(engine.Ref{}):
			err = fn(engine.Ref(key), v)
		}
	}
	return errors.Join(err, kind(it.Close()))
}

// Metadata implements scrub.Target.
func (s scrubTarget) Metadata(ctx context.Context, pace scrub.Pace) (f scrub.Found, err error) {
	var lost []string
	if s.meta != nil {
		got, err := s.meta.Scrub(ctx, pace)
		f = scrub.Found{Bytes: got.Bytes, Found: int64(got.Found), Healed: int64(got.Healed)}
		lost = got.Lost
		if err != nil {
			return f, err
		}
	} else if lost, err = s.scrubTables(ctx, pace, &f); err != nil {
		return f, err
	}
	fs, dir := s.metaFS()
	if name, err := guard.CheckManifest(fs, dir); errors.Is(err, engine.ErrCorrupt) {
		f.Found++
		lost = append(lost, metaDir+"/"+name)
	}
	if err := s.scrubLogs(ctx, pace, &f); err != nil {
		return f, err
	}
	s.scrubLogList(ctx, pace, &f)
	s.scrubFormats(&f)
	slices.Sort(lost)
	lost = slices.Compact(lost)
	f.Lost += int64(len(lost))
	return f, errors.Join(s.damage.files(s.Store, lost), s.damage.sweep(s.Store))
}

// metaFS returns where the key space lies.
func (s *Store) metaFS() (vfs.FS, string) {
	if s.meta != nil {
		return s.meta, metaDir
	}
	return s.opts.FS, s.opts.FS.PathJoin(s.disks.Disks[0].Dir, metaDir)
}

// scrubTables reads the tables of a store that has its metadata once. Pebble's own sums are all that guards them.
func (s scrubTarget) scrubTables(ctx context.Context, pace scrub.Pace, f *scrub.Found) (lost []string, err error) {
	fs, dir := s.metaFS()
	names, err := fs.List(dir)
	if err != nil {
		return nil, kind(err)
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err := s.readTable(ctx, fs, fs.PathJoin(dir, name), pace)
		f.Bytes += n
		if err = kind(err); !errors.Is(err, engine.ErrCorrupt) {
			continue // it has gone, or its disk does not answer
		}
		if _, err := fs.Stat(fs.PathJoin(dir, name)); err != nil {
			continue
		}
		s.log.Error("a metadata file is damaged", zap.String("file", fs.PathJoin(dir, name)), zap.Error(err))
		f.Found++
		lost = append(lost, metaDir+"/"+name)
	}
	return lost, ctx.Err()
}

// readTable reads every block of a table.
func (s scrubTarget) readTable(ctx context.Context, fs vfs.FS, name string, pace scrub.Pace) (n int64, err error) {
	file, err := fs.Open(name)
	if err != nil {
		return 0, err
	}
	p := &pacedFile{File: file, ctx: ctx, pace: pace}
	readable, err := sstable.NewSimpleReadable(p)
	if err != nil {
		return p.n, errors.Join(err, file.Close())
	}
	if info, err := file.Stat(); err == nil {
		diskio.Uncache(file, 0, info.Size())
	}
	policy := bloom.FilterPolicy(10)
	r, err := sstable.NewReader(ctx, readable, sstable.ReaderOptions{Merger: merger, Filters: map[string]sstable.FilterPolicy{policy.Name(): policy}})
	if err != nil {
		return p.n, errors.Join(err, readable.Close())
	}
	return p.n, errors.Join(r.ValidateBlockChecksums(), r.Close())
}

// pacedFile is a file that is read no faster than its pace.
type pacedFile struct {
	vfs.File
	ctx  context.Context
	pace scrub.Pace
	n    int64
}

func (p *pacedFile) ReadAt(b []byte, off int64) (int, error) {
	if err := p.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := p.File.ReadAt(b, off)
	p.n += int64(n)
	p.pace(p.ctx, n)
	return n, err
}

// scrubLogs reads the logs that Pebble needs and does not write to any more, on every disk. What is damaged in one is in memory still: it
// is flushed, and then nobody needs the log.
func (s scrubTarget) scrubLogs(ctx context.Context, pace scrub.Pace, f *scrub.Found) error {
	damaged, frames := 0, s.disks.LogFrames()
	for _, log := range s.closedLogs() {
		b, err := diskio.ReadFile(s.opts.FS, log)
		f.Bytes += int64(len(b))
		pace(ctx, len(b))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			continue // its disk tells
		}
		if frames.Whole(s.opts.FS.PathBase(log), b) || !slices.Contains(s.closedLogs(), log) {
			continue
		}
		s.log.Warn("a log is damaged; what it holds is flushed", zap.String("file", log))
		damaged++
	}
	if damaged == 0 || s.state.working() != nil {
		return nil
	}
	f.Found += int64(damaged)
	if err := s.flush(); err != nil {
		return kind(err)
	}
	f.Healed += int64(damaged)
	return nil
}

// closedLogs lists the logs that hold what no table has, but for the newest, on each disk.
func (s *Store) closedLogs() (logs []string) {
	live := int(s.db.Metrics().WAL.Files)
	fs, dir := s.metaFS()
	names, err := fs.List(dir)
	if err != nil {
		return nil
	}
	var numbers []uint64
	for _, name := range names {
		if n, ok := wal.Number(name); ok {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	numbers = numbers[max(0, len(numbers)-live):]
	dirs := s.metaDirs()
	for _, n := range numbers[:max(0, len(numbers)-1)] {
		for _, dir := range dirs {
			logs = append(logs, s.opts.FS.PathJoin(dir, wal.Name(n)))
		}
	}
	return logs
}

// metaDirs lists the folders that hold the key space.
func (s *Store) metaDirs() (dirs []string) {
	for i, d := range s.disks.Disks {
		if s.meta == nil && i == 0 || s.meta != nil && s.members()&(1<<i) != 0 {
			dirs = append(dirs, s.opts.FS.PathJoin(d.Dir, metaDir))
		}
	}
	return dirs
}

// scrubLogList looks at the list of the logs on each disk.
func (s scrubTarget) scrubLogList(ctx context.Context, pace scrub.Pace, f *scrub.Found) {
	if s.logs == nil || s.state.working() != nil {
		return
	}
	n, found, err := s.logs.Scrub(s.opts.FS, s.metaDirs())
	f.Bytes += n
	pace(ctx, int(n))
	f.Found += int64(found)
	switch {
	case err != nil:
		s.log.Error("the list of logs was not repaired", zap.Error(err))
	case found > 0:
		f.Healed += int64(found)
		s.log.Info("the list of logs was repaired", zap.Int("disks", found))
	}
}

// scrubFormats looks at both copies of what says which disk a directory is.
func (s scrubTarget) scrubFormats(f *scrub.Found) {
	for i, d := range s.disks.Disks {
		if !d.Usable() {
			continue
		}
		n, mended, err := s.disks.Mend(i)
		f.Bytes += n
		if err != nil {
			f.Found++
			s.log.Error("a format file was not repaired", zap.String("dir", d.Dir), zap.Error(err))
		} else if mended {
			f.Found++
			f.Healed++
			s.log.Info("a format file was repaired", zap.String("dir", d.Dir))
		}
	}
}
