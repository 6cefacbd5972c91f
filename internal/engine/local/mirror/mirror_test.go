package mirror

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
)

// disks are the replicas of a test, each a file system of its own.
type disks struct {
	fs      []vfs.FS
	stale   map[int]bool
	dropped []int
}

func newDisks(n int) *disks {
	d := &disks{stale: make(map[int]bool)}
	for range n {
		d.fs = append(d.fs, vfs.NewMem())
	}
	return d
}

func (d *disks) open(t *testing.T) *FS {
	t.Helper()
	o := Options{Dir: "meta", Drop: func(i int, cause error) error {
		d.dropped = append(d.dropped, i)
		return nil
	}}
	for i, fs := range d.fs {
		o.Replicas = append(o.Replicas, Replica{FS: fs, Dir: "disk", Current: !d.stale[i]})
	}
	fs, err := Open(o)
	require.NoError(t, err)
	return fs
}

func write(t *testing.T, fs vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.Write(bytes.Clone(b))
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
}

func read(t *testing.T, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
	require.NoError(t, err)
	b, err := io.ReadAll(f)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	return b
}

// flip turns one bit of a file.
func flip(t *testing.T, fs vfs.FS, name string, at int) {
	t.Helper()
	b := read(t, fs, name)
	b[at] ^= 0x10
	write(t, fs, name, b)
}

func random(n int) []byte {
	b := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{byte(n)})
	rng.Read(b) // never fails
	return b
}

func TestABadByteIsReadFromAnotherReplicaAndRepaired(t *testing.T) {
	d := newDisks(2)
	fs := d.open(t)
	b := random(5*sumBlock + 100)
	write(t, fs, "meta/000001.sst", b)
	for _, at := range []int{0, sumBlock, len(b) - 1} {
		flip(t, d.fs[0], "disk/meta/000001.sst", at)
		assert.True(t, bytes.Equal(b, read(t, fs, "meta/000001.sst")))
		fs.Wait()
		assert.True(t, bytes.Equal(b, read(t, d.fs[0], "disk/meta/000001.sst")), "repaired at %d", at)
	}
	assert.Empty(t, d.dropped)
}

// TestScrubRepairsEveryReplica: also those that no read comes to while the first is well.
func TestScrubRepairsEveryReplica(t *testing.T) {
	d := newDisks(3)
	fs := d.open(t)
	want := random(5*sumBlock + 100)
	write(t, fs, "meta/000001.sst", want)
	for i, at := range []int{0, 3 * sumBlock, 5*sumBlock + 99} {
		flip(t, d.fs[i], "disk/meta/000001.sst", at)
	}
	paced := 0
	_, err := fs.Scrub(t.Context(), func(_ context.Context, n int) { paced += n })
	require.NoError(t, err)
	assert.Positive(t, paced)
	for _, replica := range d.fs {
		assert.Equal(t, want, read(t, replica, "disk/meta/000001.sst"))
	}
	paced = 0
	_, err = fs.Scrub(t.Context(), func(_ context.Context, n int) { paced += n })
	require.NoError(t, err)
	assert.Equal(t, 3*len(want), paced, "all that is whole is read, and paced")
	assert.Empty(t, d.dropped)
}

// TestScrubEndsWithItsContext: while it waits to go on as well.
func TestScrubEndsWithItsContext(t *testing.T) {
	d := newDisks(2)
	fs := d.open(t)
	write(t, fs, "meta/000001.sst", random(100*sumBlock))
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	_, err := fs.Scrub(ctx, func(ctx context.Context, _ int) {
		calls++
		cancel()
		<-ctx.Done()
	})
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, 1, calls)
}

func TestABadByteOnEveryReplicaIsCorrupt(t *testing.T) {
	d := newDisks(2)
	fs := d.open(t)
	b := random(3 * sumBlock)
	write(t, fs, "meta/000001.sst", b)
	flip(t, d.fs[0], "disk/meta/000001.sst", 100)
	flip(t, d.fs[1], "disk/meta/000001.sst", 200)
	f, err := fs.Open("meta/000001.sst")
	require.NoError(t, err)
	_, err = f.ReadAt(make([]byte, 10), 50)
	assert.ErrorIs(t, err, engine.ErrCorrupt)
	got := make([]byte, sumBlock)
	_, err = f.ReadAt(got, sumBlock)
	require.NoError(t, err, "the rest is still read")
	assert.True(t, bytes.Equal(b[sumBlock:2*sumBlock], got))
	require.NoError(t, f.Close())
	fs.Wait()
}

func TestReadsHaveTheSemanticsOfAFile(t *testing.T) {
	d := newDisks(2)
	fs := d.open(t)
	b := random(2*sumBlock + 10)
	for _, name := range []string{"meta/000001.sst", "meta/000002.log", "meta/empty.sst"} {
		content := b
		if strings.Contains(name, "empty") {
			content = nil
		}
		write(t, fs, name, content)
		f, err := fs.Open(name)
		require.NoError(t, err)
		for _, rg := range [][2]int{{0, 5}, {sumBlock - 1, 2}, {2 * sumBlock, 10}, {2 * sumBlock, 11}, {2*sumBlock + 10, 1}, {1 << 20, 1}} {
			p := make([]byte, rg[1])
			n, err := f.ReadAt(p, int64(rg[0]))
			want := make([]byte, rg[1])
			wantN, wantErr := bytes.NewReader(content).ReadAt(want, int64(rg[0]))
			assert.Equal(t, wantN, n, "%s %v", name, rg)
			assert.Equal(t, wantErr, err, "%s %v", name, rg)
			assert.Equal(t, want[:n], p[:n])
		}
		require.NoError(t, f.Close())
	}
	names, err := fs.List("meta")
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{"000001.sst", "000002.log", "empty.sst"}, names, "sidecars are not shown")
}

func TestAFailingReplicaIsDroppedBeforeTheSyncReturns(t *testing.T) {
	d := newDisks(3)
	broken := errors.New("broken cable")
	fail := false
	d.fs[1] = errorfs.Wrap(d.fs[1], errorfs.InjectorFunc(func(op errorfs.Op) error {
		if fail && op.Kind == errorfs.OpFileSyncData {
			return broken
		}
		return nil
	}))
	fs := d.open(t)
	f, err := fs.Create("meta/000001.log", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.Write([]byte("one"))
	require.NoError(t, err)
	fail = true
	require.NoError(t, f.SyncData(), "two replicas are left")
	assert.Equal(t, []int{1}, d.dropped)
	assert.Equal(t, []bool{true, false, true}, fs.Members())
	_, err = f.Write([]byte("two"))
	require.NoError(t, err)
	require.NoError(t, f.SyncData())
	require.NoError(t, f.Close())
	assert.Equal(t, "one", string(read(t, d.fs[1], "disk/meta/000001.log")), "a dropped replica gets no more writes")
	assert.Equal(t, "onetwo", string(read(t, d.fs[2], "disk/meta/000001.log")))

	fail = false
	d.stale[1] = true
	fs = d.open(t)
	assert.Equal(t, "onetwo", string(read(t, d.fs[1], "disk/meta/000001.log")), "it is filled when it comes back")
	assert.Equal(t, []bool{true, true, true}, fs.Members())
}

// TestATableWithoutRoomDropsNoReplica: the table is written again when there is room, on all of them.
func TestATableWithoutRoomDropsNoReplica(t *testing.T) {
	for _, kind := range []errorfs.OpKind{errorfs.OpCreate, errorfs.OpFileWrite, errorfs.OpFileSync} {
		d := newDisks(2)
		full := false
		d.fs[1] = errorfs.Wrap(d.fs[1], errorfs.InjectorFunc(func(op errorfs.Op) error {
			if full && op.Kind == kind {
				return syscall.ENOSPC
			}
			return nil
		}))
		fs := d.open(t)
		table := func() error {
			f, err := fs.Create("meta/000001.sst", vfs.WriteCategoryUnspecified)
			if err != nil {
				return err
			}
			_, err = f.Write([]byte("one"))
			return errors.Join(err, f.Sync(), f.Close())
		}
		full = true
		require.ErrorIs(t, table(), engine.ErrNoSpace)
		require.Empty(t, d.dropped)
		full = false
		require.NoError(t, table())
		for i := range d.fs {
			require.Equal(t, "one", string(read(t, d.fs[i], "disk/meta/000001.sst")))
		}
	}
}

func TestTheLastReplicaIsNotDropped(t *testing.T) {
	d := newDisks(2)
	broken := errors.New("broken cable")
	for i := range d.fs {
		d.fs[i] = errorfs.Wrap(d.fs[i], errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpFileSync && strings.HasSuffix(op.Path, ".log") {
				return broken
			}
			return nil
		}))
	}
	fs := d.open(t)
	f, err := fs.Create("meta/000001.log", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	assert.ErrorIs(t, f.Sync(), broken)
	assert.Empty(t, d.dropped)
	require.NoError(t, f.Close())
}

func TestNoWriteIsAcknowledgedWhenADropIsNotRecorded(t *testing.T) {
	d := newDisks(2)
	broken, unrecorded := errors.New("broken cable"), errors.New("not recorded")
	d.fs[0] = errorfs.Wrap(d.fs[0], errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileWrite && strings.HasSuffix(op.Path, ".log") {
			return broken
		}
		return nil
	}))
	fs, err := Open(Options{Dir: "meta", Drop: func(int, error) error { return unrecorded },
		Replicas: []Replica{{d.fs[0], "disk", true}, {d.fs[1], "disk", true}}})
	require.NoError(t, err)
	f, err := fs.Create("meta/000001.log", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.Write([]byte("one"))
	assert.ErrorIs(t, err, unrecorded)
	_, err = f.Write([]byte("one"))
	assert.ErrorIs(t, err, unrecorded, "it stays so")
	require.NoError(t, f.Close())
}

// logOf returns a log with the records, the last of them cut by n bytes.
func logOf(t *testing.T, cut int, records ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := record.NewWriter(&b)
	for _, r := range records {
		_, err := w.WriteRecord([]byte(r))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()[:b.Len()-cut]
}

func TestOpenKeepsTheLongestValidLog(t *testing.T) {
	long := logOf(t, 0, "one", "two", "three")
	rotten := bytes.Clone(long)
	rotten[len(rotten)/2] ^= 1
	tests := []struct {
		name string
		logs [][]byte // by replica; nil: there is none
		want int
	}{
		{"alike", [][]byte{long, long}, 0},
		{"a shorter one", [][]byte{logOf(t, 0, "one", "two"), long}, 1},
		{"a torn one", [][]byte{logOf(t, 2, "one", "two", "three"), logOf(t, 0, "one", "two")}, 0},
		{"a rotten one", [][]byte{rotten, long}, 1},
		{"a rotten one, longer", [][]byte{append(bytes.Clone(rotten), make([]byte, 100)...), long}, 1},
		{"one missing", [][]byte{nil, long}, 1},
		{"an empty one", [][]byte{{}, long}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			const name = "disk/meta/MANIFEST-000001"
			d := newDisks(2)
			for i, b := range tt.logs {
				require.NoError(t, d.fs[i].MkdirAll("disk/meta", 0o755))
				if b != nil {
					write(t, d.fs[i], name, b)
				}
			}
			d.open(t)
			for i := range d.fs {
				assert.Equal(t, tt.logs[tt.want], read(t, d.fs[i], name), "replica %d", i)
			}
		})
	}
}

func TestOpenCopiesWhatAReplicaLacks(t *testing.T) {
	b := random(3*sumBlock + 5)
	damage := map[string]func(t *testing.T, fs vfs.FS){
		"nothing":         func(t *testing.T, fs vfs.FS) {},
		"file removed":    func(t *testing.T, fs vfs.FS) { require.NoError(t, fs.Remove("disk/meta/000001.sst")) },
		"sidecar removed": func(t *testing.T, fs vfs.FS) { require.NoError(t, fs.Remove("disk/meta/000001.sst.sum")) },
		"sidecar rotten":  func(t *testing.T, fs vfs.FS) { flip(t, fs, "disk/meta/000001.sst.sum", 30) },
		"file cut":        func(t *testing.T, fs vfs.FS) { write(t, fs, "disk/meta/000001.sst", b[:sumBlock]) },
		"all removed":     func(t *testing.T, fs vfs.FS) { require.NoError(t, fs.RemoveAll("disk/meta")) },
		"a copy begun":    func(t *testing.T, fs vfs.FS) { write(t, fs, "disk/meta/000001.sst.mirror", b) },
	}
	for name, hurt := range damage {
		for replica := range 2 {
			t.Run(fmt.Sprintf("%s on %d", name, replica), func(t *testing.T) {
				d := newDisks(2)
				write(t, d.open(t), "meta/000001.sst", b)
				hurt(t, d.fs[replica])
				fs := d.open(t)
				assert.True(t, bytes.Equal(b, read(t, fs, "meta/000001.sst")))
				assert.True(t, bytes.Equal(b, read(t, d.fs[replica], "disk/meta/000001.sst")))
				_, err := inFullLength(fs.replicas[replica], "meta/000001.sst")
				assert.NoError(t, err)
			})
		}
	}
}

// A table that a crash left half made is on one replica alone, and no replica is worse when it goes.
func TestRemoveOfWhatOneReplicaLacks(t *testing.T) {
	for _, name := range []string{"000001.sst", "000001.log", "MANIFEST-000001"} {
		for replica := range 2 {
			d := newDisks(2)
			fs := d.open(t)
			write(t, d.fs[replica], "disk/meta/"+name, random(100))
			require.NoError(t, fs.Remove("meta/"+name))
			require.Equal(t, []bool{true, true}, fs.Members(), "%s on %d", name, replica)
			require.Empty(t, d.dropped)
			require.ErrorIs(t, fs.Remove("meta/"+name), os.ErrNotExist)
		}
	}
}

// TestHalfMadeFilesGoOnEveryReplica: what a crash has left on one replica alone is seen, and removed with all that belongs to it. Nobody else
// ever looks for it.
func TestHalfMadeFilesGoOnEveryReplica(t *testing.T) {
	for _, left := range [][]string{{"000001.sst"}, {"000001.sst.sum"}, {"000001.sst", "000001.sst.sum"}, {"temporary.000001.dbtmp"}, {"000001.log"}} {
		for replica := range 2 {
			d := newDisks(2)
			write(t, d.open(t), "meta/000002.sst", random(100))
			for _, name := range left {
				write(t, d.fs[replica], "disk/meta/"+name, random(100))
			}
			fs := d.open(t)
			names, err := fs.List("meta")
			require.NoError(t, err)
			for _, name := range names {
				if name != "000002.sst" { // what Pebble does with what it does not know
					require.NoError(t, fs.Remove("meta/"+name))
				}
			}
			for i := range d.fs {
				names, err := d.fs[i].List("disk/meta")
				require.NoError(t, err)
				require.ElementsMatch(t, []string{"000002.sst", "000002.sst.sum"}, slices.DeleteFunc(names, func(name string) bool {
					return len(left) == 1 && name == "000001.sst.sum" // of no file: nobody reads it
				}), "%v on %d", left, replica)
			}
			require.Empty(t, d.dropped)
		}
	}
}

func TestAStaleReplicaIsNeverASource(t *testing.T) {
	d := newDisks(2)
	fs := d.open(t)
	write(t, fs, "meta/000001.sst", random(100))
	write(t, fs, "meta/000002.log", logOf(t, 0, "one"))
	stale := d.fs[1]
	// The stale replica went on alone: other content under the same name, a longer log, a file of its own.
	own, err := Open(Options{Dir: "meta", Replicas: []Replica{{stale, "disk", true}}})
	require.NoError(t, err)
	require.NoError(t, own.Remove("meta/000001.sst"))
	write(t, own, "meta/000001.sst", random(101))
	write(t, own, "meta/000002.log", logOf(t, 0, "one", "two"))
	write(t, own, "meta/000003.sst", random(102))
	d.stale[1] = true
	fs = d.open(t)
	assert.Equal(t, []bool{true, true}, fs.Members())
	for i := range d.fs {
		assert.True(t, bytes.Equal(random(100), read(t, d.fs[i], "disk/meta/000001.sst")))
		assert.Equal(t, logOf(t, 0, "one"), read(t, d.fs[i], "disk/meta/000002.log"))
		_, err := d.fs[i].Stat("disk/meta/000003.sst")
		assert.Error(t, err)
	}
}

func TestAReplicaThatCannotBeMadeAlikeIsDropped(t *testing.T) {
	d := newDisks(2)
	write(t, d.open(t), "meta/000002.log", logOf(t, 0, "one"))
	write(t, d.fs[0], "disk/meta/000002.log", logOf(t, 0, "one", "two"))
	d.fs[1] = errorfs.Wrap(d.fs[1], errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpCreate {
			return errors.New("read-only file system")
		}
		return nil
	}))
	fs := d.open(t)
	assert.Equal(t, []int{1}, d.dropped)
	assert.Equal(t, []bool{true, false}, fs.Members())
	assert.Equal(t, logOf(t, 0, "one", "two"), read(t, fs, "meta/000002.log"))
}

// TestPebbleOverMirror runs Pebble on a mirror with a flipped bit in every table of the replica that is read first.
func TestPebbleOverMirror(t *testing.T) {
	d := newDisks(2)
	open := func(fs vfs.FS) *pebble.DB {
		db, err := pebble.Open("meta", &pebble.Options{FS: fs, FormatMajorVersion: pebble.FormatNewest, Logger: quiet{}})
		require.NoError(t, err)
		return db
	}
	fs := d.open(t)
	db := open(fs)
	for i := range 2000 {
		require.NoError(t, db.Set(fmt.Appendf(nil, "k%06d", i), random(100+i%50), pebble.NoSync))
		if i%500 == 499 {
			require.NoError(t, db.Flush())
		}
	}
	require.NoError(t, db.Close())
	names, err := d.fs[0].List("disk/meta")
	require.NoError(t, err)
	tables := 0
	for _, name := range names {
		if strings.HasSuffix(name, ".sst") {
			tables++
			flip(t, d.fs[0], "disk/meta/"+name, 700)
		}
	}
	require.NotZero(t, tables)
	fs = d.open(t)
	db = open(fs)
	for i := range 2000 {
		v, c, err := db.Get(fmt.Appendf(nil, "k%06d", i))
		require.NoError(t, err)
		require.Equal(t, random(100+i%50), v)
		require.NoError(t, c.Close())
	}
	require.NoError(t, db.Close())
	fs.Wait()
	for _, name := range names {
		if strings.HasSuffix(name, ".sst") {
			assert.True(t, bytes.Equal(read(t, d.fs[1], "disk/meta/"+name), read(t, d.fs[0], "disk/meta/"+name)), name)
		}
	}
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(f string, a ...any) {
	panic(fmt.Sprintf(f, a...))
}

// TestADropThatMeetsAShortageHoldsUpNoOther: it is tried again, and another replica can be dropped meanwhile.
func TestADropThatMeetsAShortageHoldsUpNoOther(t *testing.T) {
	other := make(chan struct{})
	tried := make(chan struct{})
	once := sync.OnceFunc(func() { close(tried) })
	o := Options{Dir: "meta", Drop: func(i int, _ error) error {
		if i == 1 {
			close(other)
			return nil
		}
		once()
		select {
		case <-other:
			return nil
		default:
			return engine.ErrBusy
		}
	}}
	for range 3 {
		o.Replicas = append(o.Replicas, Replica{FS: vfs.NewMem(), Dir: "disk", Current: true})
	}
	fs, err := Open(o)
	require.NoError(t, err)
	cause := errors.New("broken")
	first := make(chan error)
	go func() { first <- fs.drop(fs.replicas[0], cause) }()
	<-tried
	require.NoError(t, fs.drop(fs.replicas[1], cause))
	require.NoError(t, <-first)
	require.Equal(t, []bool{false, false, true}, fs.Members())
}
