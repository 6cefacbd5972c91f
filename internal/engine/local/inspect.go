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
	"github.com/blobd/blobd/internal/engine/local/diskset"
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
	case base == diskset.FormatName:
		return diskset.Inspect(b, visit)
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
		path, diskset.FormatName, wal.ListName, mirror.SumSuffix, guard.CompanionSuffix)
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

// storeOf reads, from the data directory that a file of meta or extents lies in, which store it is of.
func storeOf(path string) (store [16]byte, since diskset.Since, ok bool) {
	b, err := readRegular(filepath.Join(filepath.Dir(filepath.Dir(path)), diskset.FormatName))
	if err != nil {
		return store, since, false
	}
	return diskset.StoreOf(b)
}

func columnKeys(path string) *extent.Keys {
	store, since, ok := storeOf(path)
	if !ok {
		return nil
	}
	return &extent.Keys{Store: store, Secret: since.Secret, Version2: since.Extent}
}

func logKeys(path string) *wal.Frames {
	_, since, ok := storeOf(path)
	if !ok {
		return nil
	}
	return wal.NewFrames(since.Secret, since.Log)
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
