package local

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/inspect"
	"github.com/blobd/blobd/internal/engine/local/extent"
	"github.com/blobd/blobd/internal/engine/local/guard"
	"github.com/blobd/blobd/internal/engine/local/mirror"
	"github.com/blobd/blobd/internal/engine/local/scrub"
	"github.com/blobd/blobd/internal/engine/local/wal"
)

// Inspect tells of a file of a store, which it knows by its name, and only reads. What vouches for clients' bytes it finds in the data
// directory that the file lies in.
func Inspect(ctx context.Context, path string, visit inspect.Visit) error {
	f, size, err := openRegular(path)
	if err != nil {
		return err
	}
	defer f.Close() // nothing was written
	base := filepath.Base(path)
	if extent.IsColumn(base) {
		return extent.Inspect(ctx, f, size, base, columnKeys(path), visit)
	}
	b, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	return inspectFile(path, b, visit)
}

// inspectFile tells of a file that is no column.
func inspectFile(path string, b []byte, visit inspect.Visit) error {
	base := filepath.Base(path)
	switch {
	case base == formatName:
		return inspectFormat(b, visit)
	case base == wal.ListName:
		return wal.InspectList(b, visit)
	case strings.HasSuffix(base, ".log"):
		return logKeys(path).Inspect(base, b, visit)
	case strings.HasSuffix(base, mirror.SumSuffix):
		return besides(strings.TrimSuffix(path, mirror.SumSuffix), func(r io.ReaderAt, size int64) error { return mirror.Inspect(b, r, size, visit) })
	case strings.HasSuffix(base, guard.CompanionSuffix):
		manifest, err := readRegular(strings.TrimSuffix(path, guard.CompanionSuffix))
		return guard.Inspect(b, manifest, err == nil, visit)
	case strings.HasPrefix(base, "MANIFEST-"):
		companion, err := readRegular(path + guard.CompanionSuffix)
		if err != nil {
			return err
		}
		return guard.Inspect(companion, b, true, visit)
	case strings.HasSuffix(base, ".sst"), strings.HasPrefix(base, "OPTIONS-"):
		sums, err := readRegular(path + mirror.SumSuffix)
		if errors.Is(err, os.ErrNotExist) {
			return visit(inspect.New("file of Pebble", 0, int64(len(b))).Add("", "it has no sidecar: with one disk, Pebble's own sums vouch for it"))
		}
		if err != nil {
			return err
		}
		return besides(path, func(r io.ReaderAt, size int64) error { return mirror.Inspect(sums, r, size, visit) })
	}
	return fmt.Errorf("%s is no file of a store that can be told of: those are %s, columns (extents/*), logs (*.log), %s, sidecars (*%s), companions (*%s), MANIFEST-* and *.sst",
		path, formatName, wal.ListName, mirror.SumSuffix, guard.CompanionSuffix)
}

// besides runs fn on a file that lies beside, nil if it is not there.
func besides(path string, fn func(r io.ReaderAt, size int64) error) error {
	f, size, err := openRegular(path)
	if errors.Is(err, os.ErrNotExist) {
		return fn(nil, 0)
	}
	if err != nil {
		return err
	}
	return errors.Join(fn(f, size), f.Close())
}

func readRegular(path string) ([]byte, error) {
	f, _, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	return b, errors.Join(err, f.Close())
}

// openRegular opens a regular file. Another kind, as a named pipe, could keep whoever opens it waiting for ever.
func openRegular(path string) (*os.File, int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is no regular file", path)
	}
	f, err := os.Open(path)
	return f, info.Size(), err
}

// formatOf reads the format file of the data directory that a file of meta or extents lies in, nil if it cannot.
func formatOf(path string) *format {
	b, err := readRegular(filepath.Join(filepath.Dir(filepath.Dir(path)), formatName))
	if err != nil {
		return nil
	}
	f, _, err := decodeFormat(b)
	if err != nil {
		return nil
	}
	return f
}

func columnKeys(path string) *extent.Keys {
	f := formatOf(path)
	if f == nil {
		return nil
	}
	k := &extent.Keys{Store: f.store, Secret: f.secret, Version2: f.extent}
	if f.version < 2 {
		k.Version2 = 1<<64 - 1
	}
	return k
}

func logKeys(path string) *wal.Frames {
	f := formatOf(path)
	if f == nil {
		return nil
	}
	since := f.log
	if f.version < 2 {
		since = 1<<64 - 1
	}
	return wal.NewFrames(f.secret, since)
}

// inspectFormat tells of both copies of the record that says which disk of which store a directory is. The secret is not told.
func inspectFormat(b []byte, visit inspect.Visit) error {
	var good []*format
	for _, at := range []int{0, formatCopyAt} {
		i := inspect.New("record", int64(at), formatRecord)
		f, err := decodeRecord(b[min(at, len(b)):])
		if err != nil {
			i.Bad("%v", err)
		} else {
			good = append(good, f)
			f.tell(i)
		}
		if err := visit(i); err != nil {
			return err
		}
	}
	sum := inspect.New("file", 0, int64(len(b)))
	switch _, whole, err := decodeFormat(b); {
	case err != nil:
		sum.Bad("neither copy is good: the start asks the columns whose disk it is")
	case !whole && len(good) == 2 && *good[0] != *good[1]:
		sum.Bad("the copies differ, as after a crash: the first one counts, and the start writes the file anew")
	case !whole:
		sum.Bad("a part of it is another: the start writes it anew")
	}
	return visit(sum)
}

func (f *format) tell(i *inspect.Item) {
	i.Add("version", f.version).Add("store", f.store[:]).Add("disk", f.disk[:]).Add("index", int(f.index)).Add("layout", fmt.Sprintf("%d+%d", f.k, f.m)).
		Add("epoch", f.epoch).Add("metadata is current on disks", numbers(f.members))
	ids := make([]string, f.n())
	for n := range ids {
		ids[n] = inspect.Text(f.disks[n][:])
	}
	i.Add("disks", ids)
	if f.version < 2 {
		return
	}
	i.Add("first extent of version 2", f.extent).Add("first log of version 2", f.log).Add("list of logs since start", f.started).Add("promised", f.promised).
		Add("goes on without disks", numbers(f.left))
	if f.left != 0 {
		i.Add("said in epoch", f.leftEpoch)
	}
}

// numbers lists the numbers of the bits that are set.
func numbers(set uint32) []string {
	list := []string{}
	for n := range 32 {
		if set&(1<<n) != 0 {
			list = append(list, fmt.Sprint(n))
		}
	}
	return list
}

// TellSystem puts an entry of engine.SpaceSystem into words, as they follow the name of the space.
func TellSystem(key, value []byte) (words string, i *inspect.Item) {
	i = inspect.New("key", -1, int64(len(value)))
	if len(key) == 0 {
		return "", i.Bad("the key is empty")
	}
	rest := key[1:]
	ref := func() string {
		if len(rest) != len(engine.Ref{}) {
			i.Bad("the key has no reference of %d bytes", len(engine.Ref{}))
			return inspect.Text(rest)
		}
		r := engine.Ref(rest)
		return fmt.Sprintf("%016x/%x", extent.ID(r), rest)
	}
	number := func() string {
		if len(rest) != 8 {
			i.Bad("the key has no number of an extent")
			return inspect.Text(rest)
		}
		return fmt.Sprintf("%016x", binary.BigEndian.Uint64(rest))
	}
	integer := func(name string) {
		if n, err := decodeInt(value); err != nil {
			i.Bad("%v", err)
		} else {
			i.Add(name, n)
		}
	}
	switch key[0] {
	case sysCounter:
		words = fmt.Sprintf("counter/%q", rest)
		if a, err := decodeAmount(value); err != nil {
			i.Bad("%v", err)
		} else {
			i.Add("bytes", a.Bytes).Add("objects", a.Objects)
		}
	case sysDamaged:
		words = "damaged/"
		if len(rest) > 1 && (rest[0] != damagedChunk || len(rest) == 1+len(engine.Ref{})) {
			words += describe(string(rest))
		} else {
			i.Bad("the key is malformed")
		}
		i.Add("of", decodeNames(value))
	case sysForward:
		words = "moved chunk/" + ref()
		if len(value) == len(engine.Ref{}) {
			i.Add("now at", engine.Ref(value))
		} else {
			i.Bad("the value is no reference")
		}
	case sysLost:
		words = "lost extent/" + number()
	case sysIncomplete:
		words = "incomplete extent/" + number()
	case sysRef:
		words = "owners/" + ref()
		integer("owners")
	case sysStamp:
		words = "stamps"
		if n, err := decodeInt(value); err != nil {
			i.Bad("%v", err)
		} else {
			i.Add("all given are below", engine.Stamp(n))
		}
	case sysScrub:
		words = "scrub"
		if err := scrub.Tell(value, i); err != nil {
			i.Bad("%v", err)
		}
	default:
		words = inspect.Text(key)
		i.Bad("no key of this kind is known")
	}
	return words, i
}
