package mirror

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/diskio"
)

// Scrubbed is what a scrub of the replicas read and found.
type Scrubbed struct {
	Bytes  int64
	Found  int      // files of a replica that are not what was written
	Healed int      // of them, so many are again, and were read back
	Lost   []string // files that no replica has whole
}

// Scrub reads every file but logs and their list on every replica in use, and heals what is not as it was written. What Verify does for
// files with a sidecar it does for the sidecars, for files that are gone, markers and manifests too. Logs are their owner's: they
// are written to past the page cache, and are gone as soon as what they hold is flushed.
func (fs *FS) Scrub(ctx context.Context, pace func(ctx context.Context, bytes int)) (got Scrubbed, err error) {
	names, err := fs.names()
	if err != nil {
		return got, err
	}
	b := &scrub{fs: fs, pace: pace, buf: make([]byte, 16*sumBlock)}
	for _, base := range names {
		name := fs.opts.Dir + "/" + base
		switch {
		case ctx.Err() != nil:
			return b.got, ctx.Err()
		case growing(name) || strings.HasSuffix(base, ".tmp"):
		case strings.HasPrefix(base, "marker."):
			err = b.marker(name)
		case sealed(name):
			err = b.sealed(ctx, name)
		default:
			err = b.appended(ctx, name)
		}
		if err != nil {
			return b.got, fmt.Errorf("scrub %s: %w", name, err)
		}
	}
	return b.got, nil
}

// growing tells whether a file is a log, or the list of them.
func growing(name string) bool {
	base := path.Base(name)
	return strings.HasSuffix(base, ".log") || strings.HasPrefix(base, "LOGS")
}

// names lists the files that any replica in use has.
func (fs *FS) names() ([]string, error) {
	names, err := fs.union(fs.alive())
	shown := names[:0]
	for _, name := range names {
		if !strings.HasSuffix(name, tmpSuffix) {
			shown = append(shown, name)
		}
	}
	return shown, err
}

type scrub struct {
	fs   *FS
	pace func(context.Context, int)
	buf  []byte
	got  Scrubbed
}

// gone tells whether a file is there no more: what a replica lacks then is nothing to heal.
func (b *scrub) gone(name string) bool {
	_, err := b.fs.Stat(name)
	return err != nil
}

// found heals a file, unless it is whole when nobody changes the folder.
func (b *scrub) found(r *replica, name string, cause error, heal func() error, whole func() bool) error {
	b.fs.entries.Lock()
	defer b.fs.entries.Unlock()
	if b.gone(name) || whole() {
		return nil
	}
	b.got.Found++
	b.fs.log.Warn("a metadata file is damaged", zap.String("file", r.path(name)), zap.Error(cause))
	err := heal()
	switch {
	case err == nil && whole():
		b.got.Healed++
		b.fs.log.Info("a metadata file was repaired", zap.String("file", r.path(name)))
	case errors.Is(err, engine.ErrCorrupt):
		b.got.Lost = append(b.got.Lost, name)
	default:
		b.fs.log.Error("a metadata file was not repaired", zap.String("file", r.path(name)), zap.Error(err))
	}
	return nil
}

// sealed scrubs a file with a sidecar.
func (b *scrub) sealed(ctx context.Context, name string) error {
	s := b.fs.sidecar(name)
	if s == nil {
		return nil // it is being written, or has just been removed
	}
	for _, r := range b.fs.alive() {
		cause := b.check(ctx, r, name, s, b.pace)
		if cause == nil || ctx.Err() != nil || diskio.Busy(cause) || errors.Is(cause, engine.ErrUnavailable) {
			continue
		}
		whole := func() bool { return b.check(ctx, r, name, s, func(context.Context, int) {}) == nil }
		err := b.found(r, name, cause, func() error { return b.fs.restore(r, name, s) }, whole)
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// check returns what is wrong with a file and its sidecar on a replica.
func (b *scrub) check(ctx context.Context, r *replica, name string, s *sums, pace func(context.Context, int)) error {
	side, err := diskio.ReadFile(r.FS, r.path(name+sumSuffix))
	if err != nil {
		return err
	}
	if own, err := decodeSums(side); err != nil || own.size != s.size || !bytes.Equal(own.raw, s.raw) {
		return errors.Join(errors.New("its sidecar is not what was written"), err)
	}
	if f, err := r.FS.Open(r.path(name)); err == nil {
		diskio.Uncache(f, 0, s.size)
		_ = f.Close() // nothing was written
	}
	whole, err := verify(ctx, r, name, s, b.buf, func(ctx context.Context, n int) {
		b.got.Bytes += int64(n)
		pace(ctx, n)
	})
	if err == nil && !whole && ctx.Err() == nil {
		err = errors.New("checksum mismatch")
	}
	return err
}

// marker sees that a marker, which says what it says by its name, is on every replica.
func (b *scrub) marker(name string) error {
	for _, r := range b.fs.alive() {
		_, cause := r.FS.Stat(r.path(name))
		if !errors.Is(cause, os.ErrNotExist) {
			continue
		}
		there := func() bool { _, err := r.FS.Stat(r.path(name)); return err == nil }
		if err := b.found(r, name, cause, func() error { return replace(r, name, nil) }, there); err != nil {
			return err
		}
	}
	return nil
}

// appended scrubs a file that is appended to, in which every record has a sum of its own. It is repaired where it lies, as its writer has it
// open; what is written there is what was, or is about to be. A replica that has lost such a file lacks what is written to it from now on.
func (b *scrub) appended(ctx context.Context, name string) error {
	alive := b.fs.alive()
	var best []byte
	valid := make([]int64, len(alive))
	var longest int64
	for i, r := range alive {
		c, err := b.read(ctx, r, name)
		if errors.Is(err, os.ErrNotExist) {
			if err := b.lacks(r, name); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			continue // its disk has told
		}
		if valid[i] = b.fs.opts.Valid(name, c); valid[i] > longest || best == nil {
			longest, best = valid[i], c[:valid[i]]
		}
	}
	for i, r := range alive {
		if valid[i] >= longest || r.gone.Load() {
			continue
		}
		whole := func() bool {
			c, err := b.read(ctx, r, name)
			return err == nil && b.fs.opts.Valid(name, c) >= longest
		}
		// A record may have been on its way to it: found looks again.
		cause := fmt.Errorf("damaged at %d of %d", valid[i], longest)
		if err := b.found(r, name, cause, func() error { return b.overwrite(r, name, best) }, whole); err != nil {
			return err
		}
	}
	return nil
}

// lacks drops a replica that has lost a file that is written to, unless the file is not lost but on its way: it comes and goes on one replica
// after the other.
func (b *scrub) lacks(r *replica, name string) error {
	b.fs.entries.Lock()
	defer b.fs.entries.Unlock()
	if _, err := r.FS.Stat(r.path(name)); !errors.Is(err, os.ErrNotExist) || b.gone(name) {
		return nil
	}
	b.got.Found++
	return b.fs.drop(r, fmt.Errorf("%s, which is being written, is missing", r.path(name)))
}

func (b *scrub) read(ctx context.Context, r *replica, name string) ([]byte, error) {
	f, err := r.FS.Open(r.path(name))
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	diskio.Uncache(f, 0, info.Size())
	c, err := io.ReadAll(f)
	b.got.Bytes += int64(len(c))
	b.pace(ctx, len(c))
	return c, errors.Join(err, f.Close())
}

// overwrite writes the beginning of a file again.
func (b *scrub) overwrite(r *replica, name string, p []byte) error {
	f, err := r.FS.OpenReadWrite(r.path(name), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(bytes.Clone(p), 0)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
