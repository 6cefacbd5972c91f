package local_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local"
	"github.com/blobd/blobd/internal/engine/local/diskspace"
)

// quotaFS gives each directory at the top so many bytes, as disks have them.
type quotaFS struct {
	*vfs.MemFS
	q *quota
}

type quota struct {
	mu    sync.Mutex
	total int64
	nodes int               // inodes of each directory; 0 if that has no limit
	files map[string][]bool // the blocks that are there: a hole is not
	used  map[string]int64  // by directory

	givenUp atomic.Int64 // reserves
	none    atomic.Bool  // tell that nothing is free
}

// withQuota counts what is there.
func withQuota(t *testing.T, mem *vfs.MemFS, total int64) quotaFS {
	q := &quota{total: math.MaxInt64, files: map[string][]bool{}, used: map[string]int64{}}
	for name, n := range files(t, mem, "") {
		f, err := mem.Open(name)
		require.NoError(t, err)
		b := make([]byte, n)
		_, err = f.ReadAt(b, 0)
		require.True(t, err == nil || errors.Is(err, io.EOF), err)
		require.NoError(t, f.Close())
		q.files[name] = nil
		for off := 0; off < n; off += quotaBlock {
			if end := min(off+quotaBlock, n); strings.HasSuffix(name, "/reserve") || len(bytes.Trim(b[off:end], "\x00")) > 0 {
				require.NoError(t, q.write(name, int64(off), int64(end)))
			}
		}
	}
	q.total = total
	return quotaFS{mem, q}
}

func (q *quota) disk(name string) string { return strings.SplitN(name, "/", 2)[0] }

const quotaBlock = 4096

// write takes the blocks between two bytes of a file if there is room.
func (q *quota) write(name string, from, to int64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if from >= to {
		return nil
	}
	blocks := q.files[name]
	for int64(len(blocks))*quotaBlock < to {
		blocks = append(blocks, false)
	}
	var more int64
	for i := from / quotaBlock; i*quotaBlock < to; i++ {
		if !blocks[i] {
			more += quotaBlock
		}
	}
	if more > 0 && q.used[q.disk(name)]+more > q.total {
		return syscall.ENOSPC
	}
	for i := from / quotaBlock; i*quotaBlock < to; i++ {
		blocks[i] = true
	}
	q.files[name] = blocks
	q.used[q.disk(name)] += more
	return nil
}

// take removes a file and returns its blocks.
func (q *quota) take(name string) []bool {
	blocks := q.files[name]
	delete(q.files, name)
	for _, there := range blocks {
		if there {
			q.used[q.disk(name)] -= quotaBlock
		}
	}
	return blocks
}

// limit leaves each disk no more than so many bytes, and returns what disks have now.
func (q *quota) limit(left int64) int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.total = 0
	for _, n := range q.used {
		q.total = max(q.total, n+left)
	}
	return q.total
}

func (q *quota) setTotal(total int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.total = total
}

func (fs quotaFS) GetDiskUsage(name string) (vfs.DiskUsage, error) {
	fs.q.mu.Lock()
	defer fs.q.mu.Unlock()
	u := vfs.DiskUsage{AvailBytes: uint64(max(0, fs.q.total-fs.q.used[fs.q.disk(name)])), TotalBytes: uint64(fs.q.total)}
	if fs.q.none.Load() {
		u.AvailBytes = 0
	}
	return u, nil
}

// FreeFiles tells how many inodes are free.
func (fs quotaFS) FreeFiles(name string) (int64, bool) {
	fs.q.mu.Lock()
	defer fs.q.mu.Unlock()
	return int64(max(0, fs.q.nodes-fs.q.made(name))), fs.q.nodes > 0
}

// made is how many files are on a disk.
func (q *quota) made(name string) (n int) {
	for other := range q.files {
		if q.disk(other) == q.disk(name) {
			n++
		}
	}
	return n
}

// limitNodes leaves each disk so many inodes and no more; less than nothing: as many as it wants.
func (q *quota) limitNodes(left int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.nodes = 0
	for name := range q.files {
		if left >= 0 {
			q.nodes = max(q.nodes, q.made(name)+left)
		}
	}
}

// node takes an inode for a file that is not there yet.
func (fs quotaFS) node(name string) error {
	fs.q.mu.Lock()
	defer fs.q.mu.Unlock()
	if _, there := fs.q.files[name]; there {
		return nil
	}
	if fs.q.nodes > 0 && fs.q.made(name) >= fs.q.nodes {
		return syscall.ENOSPC
	}
	fs.q.files[name] = nil
	return nil
}

func (fs quotaFS) moved(oldname, newname string, err error) error {
	if err == nil {
		fs.q.mu.Lock()
		defer fs.q.mu.Unlock()
		blocks := fs.q.take(oldname)
		if newname == "" {
			return nil
		}
		fs.q.take(newname)
		fs.q.files[newname] = blocks
		for _, there := range blocks {
			if there {
				fs.q.used[fs.q.disk(newname)] += quotaBlock
			}
		}
	}
	return err
}

func (fs quotaFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := fs.node(name); err != nil {
		return nil, err
	}
	f, err := fs.MemFS.Create(name, c)
	return &quotaFile{File: f, fs: fs, name: name}, fs.moved("", name, err)
}

func (fs quotaFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	if err := fs.node(name); err != nil {
		return nil, err
	}
	f, err := fs.MemFS.OpenReadWrite(name, c, o...)
	return &quotaFile{File: f, fs: fs, name: name}, err
}

func (fs quotaFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.MemFS.ReuseForWrite(oldname, newname, c)
	return &quotaFile{File: f, fs: fs, name: newname}, fs.moved(oldname, newname, err)
}

func (fs quotaFS) Rename(oldname, newname string) error {
	return fs.moved(oldname, newname, fs.MemFS.Rename(oldname, newname))
}

func (fs quotaFS) Remove(name string) error {
	if strings.HasSuffix(name, "/reserve") {
		fs.q.givenUp.Add(1)
	}
	return fs.moved(name, "", fs.MemFS.Remove(name))
}

type quotaFile struct {
	vfs.File
	fs   quotaFS
	name string
	at   int64
}

func (f *quotaFile) Write(p []byte) (int, error) {
	if err := f.fs.q.write(f.name, f.at, f.at+int64(len(p))); err != nil {
		return 0, err
	}
	n, err := f.File.Write(p)
	f.at += int64(n)
	return n, err
}

func (f *quotaFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.fs.q.write(f.name, off, off+int64(len(p))); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

// Preallocate takes the room of the reserve, as file systems do.
func (f *quotaFile) Preallocate(off, length int64) error {
	if !strings.HasSuffix(f.name, "/reserve") {
		return nil
	}
	_, err := f.WriteAt(make([]byte, length), off)
	return err
}

// fillUp has several writers store objects until there is no room, and returns what was acknowledged.
func fillUp(t *testing.T, s *local.Store, prefix string, size int) map[string]object {
	t.Helper()
	all := map[string]object{}
	var mu sync.Mutex
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("%s%d-%d/", prefix, w, i)
				o := object{seed: uint64(w<<20 + i + 1), sizes: [3]int{size}}
				if err := write(s, name, &o); err != nil {
					assert.ErrorIs(t, err, engine.ErrNoSpace)
					return
				}
				mu.Lock()
				all[name] = o
				mu.Unlock()
			}
		})
	}
	writers.Wait()
	return all
}

// fullDisk is the size of a disk that is filled, in bytes.
var fullDisk = int64(24 << 20)

// reclaim makes room. One run of it has a bound in time; they end when there is none left to make.
func reclaim(t *testing.T, s *local.Store) {
	t.Helper()
	var err error
	for range 10 {
		if err = s.Reclaim(background); err == nil {
			return
		}
		require.ErrorIs(t, err, engine.ErrNoSpace)
	}
	require.NoError(t, err)
}

func reserves(fs vfs.FS, disks int) (n int) {
	for i := range disks {
		if _, err := fs.Stat(fmt.Sprintf("d%d/reserve", i)); err == nil {
			n++
		}
	}
	return n
}

func removeAll(t *testing.T, s *local.Store, all map[string]object) {
	t.Helper()
	for name := range all {
		require.NoError(t, remove(s, name), name)
	}
}

// TestAFullDiskIsAnOrdinaryDay: disks are filled, emptied and filled again, with starts between. Writers are refused before the reserve is
// touched; reads and deletes go on; what was deleted gives its room back. Then a stranger takes what is left.
func TestAFullDiskIsAnOrdinaryDay(t *testing.T) {
	for _, disks := range []int{1, 3} {
		for _, size := range []int{100_000} { // make full-disk fills with rows of the key space, too
			t.Run(fmt.Sprintf("%d disks, %d bytes", disks, size), func(t *testing.T) {
				t.Parallel()
				o := small(disks)
				total := fullDisk
				o.MemTableSize = 256 << 10
				fs := withQuota(t, vfs.NewCrashableMem(), total)
				o.FS, o.Logger = fs, zaptest.NewLogger(t)
				s, err := local.Open(o)
				require.NoError(t, err)
				again := func(clean bool) {
					t.Helper()
					mem := fs.MemFS
					if clean {
						require.NoError(t, s.Close())
					}
					mem = mem.CrashClone(vfs.CrashCloneCfg{})
					if !clean {
						_ = s.Close() // the clone is the store now
					}
					fs = withQuota(t, mem, total)
					o.FS = fs
					s, err = local.Open(o)
					require.NoError(t, err)
				}
				s.CheckSpace()
				stored := 0
				for round := range 2 {
					require.Equal(t, disks, reserves(fs, disks))
					want := fillUp(t, s, "a0-", size)
					for try := 1; try < 20 && len(want) < stored/4; try++ { // writers may be ahead of who makes room for them
						reclaim(t, s)
						maps.Copy(want, fillUp(t, s, fmt.Sprintf("a%d-", try), size))
					}
					require.Equal(t, disks, reserves(fs, disks), "it is not touched")
					require.NotEmpty(t, want)
					require.GreaterOrEqual(t, len(want), stored/4, "the room is back")
					stored = len(want)
					requireObjects(t, s, want)
					again(round == 0)
					requireObjects(t, s, want)
					removeAll(t, s, want)
					requireObjects(t, s, nil)
					reclaim(t, s)
				}

				want := fillUp(t, s, "b", size)
				was := total
				total = fs.q.limit(0)
				n := 0
				for name := range want {
					if n++; n > len(want)/2 {
						break
					}
					require.NoError(t, remove(s, name), "deletes go through")
					delete(want, name)
				}
				s.CheckSpace()
				require.Positive(t, fs.q.givenUp.Load())
				requireObjects(t, s, want)
				again(false)
				requireObjects(t, s, want)
				for name := range want {
					require.NoError(t, remove(s, name), "after a start, too")
					delete(want, name)
					break
				}
				if err := s.Reclaim(background); err != nil { // there may be too little room to make more
					require.ErrorIs(t, err, engine.ErrNoSpace)
				}
				fs.q.setTotal(was)
				reclaim(t, s)
				requireObjects(t, s, want)
				keep(t, s, "more/", 7, 10_000)
				require.NoError(t, remove(s, "more/"))
				require.NoError(t, s.Close())
			})
		}
	}
}

// TestDeletesWaitForRoom: a stranger has taken what the reserve was, too. What makes room waits for some, and for no longer than its
// request, nor more at once than so many; what takes room does not wait, and nothing waits for a store that is closed.
func TestDeletesWaitForRoom(t *testing.T) {
	o := small(1)
	o.MemTableSize = 256 << 10
	fs := withQuota(t, vfs.NewCrashableMem(), fullDisk)
	o.FS, o.Logger = fs, zaptest.NewLogger(t)
	s, err := local.Open(o)
	require.NoError(t, err)
	s.BePatient(time.Hour)
	for i := range diskspace.MaxWaiting + 2 {
		require.NoError(t, store(s, fmt.Sprintf("%d/", i), &object{seed: 1, sizes: [3]int{10}}))
	}
	fs.q.none.Store(true)
	s.CheckSpace()

	require.ErrorIs(t, store(s, "more/", &object{seed: 1, sizes: [3]int{10}}), engine.ErrNoSpace)
	ctx, cancel := context.WithCancel(background)
	require.ErrorIs(t, s.Update(ctx, []byte("0/"), func(tx engine.Tx) error {
		cancel()
		tx.Delete(recordSpace, []byte("0/"))
		return nil
	}), engine.ErrNoSpace)
	ended := make(chan error, diskspace.MaxWaiting+1)
	for i := range cap(ended) {
		go func() { ended <- remove(s, fmt.Sprintf("%d/", i)) }()
	}
	require.ErrorIs(t, <-ended, engine.ErrNoSpace, "one too many")
	fs.q.none.Store(false)
	for range diskspace.MaxWaiting {
		require.NoError(t, <-ended)
	}
	found, err := consistent(s)
	require.NoError(t, err)
	require.Len(t, found, 2)

	fs.q.none.Store(true)
	s.CheckSpace()
	go func() { ended <- remove(s, fmt.Sprintf("%d/", diskspace.MaxWaiting+1)) }()
	require.NoError(t, s.Close())
	require.Error(t, <-ended)
}

// TestAStartWithoutRoom: the log of the last run cannot be flushed, and there is no reserve. The store is read, and takes no writes until
// it is started with room; where something died with the last run, its room is enough.
func TestAStartWithoutRoom(t *testing.T) {
	for _, disks := range []int{1, 3} {
		for _, dead := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d disks, something died: %v", disks, dead), func(t *testing.T) {
				o := small(disks)
				o.MemTableSize = 1 << 20
				mem := vfs.NewCrashableMem()
				o.FS = withQuota(t, mem, 64<<20)
				s, err := local.Open(o)
				require.NoError(t, err)
				s.Collected()
				want := map[string]object{}
				for i := range 12 {
					name := fmt.Sprintf("chunk%d/", i)
					obj := keep(t, s, name, uint64(i+1), 400_000)
					if want[name] = obj; dead && i < 11 {
						require.NoError(t, remove(s, name))
						delete(want, name)
					}
				}
				for i := range 60 {
					name := fmt.Sprintf("inline%d/", i)
					obj := object{seed: uint64(i + 1), sizes: [3]int{12_000}}
					require.NoError(t, store(s, name, &obj))
					want[name] = obj
				}
				mem = mem.CrashClone(vfs.CrashCloneCfg{})
				require.NoError(t, s.Close())
				for i := range disks {
					_ = mem.Remove(fmt.Sprintf("d%d/reserve", i)) // it may not be there
				}
				fs := withQuota(t, mem, 0)
				fs.q.limit(16 << 10)
				o.FS = fs
				s, err = local.Open(o)
				require.NoError(t, err)
				requireObjects(t, s, want)
				err = remove(s, "inline0/")
				if dead {
					require.NoError(t, err)
					delete(want, "inline0/")
				} else {
					require.ErrorIs(t, err, engine.ErrNoSpace)
				}
				require.True(t, dead || !s.Health().Writable)
				err = s.Close()
				require.True(t, err == nil || errors.Is(err, engine.ErrNoSpace), "%v", err)

				fs.q.setTotal(64 << 20)
				s, err = local.Open(o)
				require.NoError(t, err)
				requireObjects(t, s, want)
				keep(t, s, "more/", 7, 10_000)
				require.NoError(t, s.Close())
			})
		}
	}
}

// TestNoInodes: a stranger takes the inodes of disks that have bytes enough. Writers are refused before the last ones, which carry deletes and
// their compactions; when there are none a start serves what there is, and when they are back it takes writes.
func TestNoInodes(t *testing.T) {
	for _, disks := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d disks", disks), func(t *testing.T) {
			o := small(disks)
			o.MemTableSize = 256 << 10
			mem := vfs.NewCrashableMem()
			fs := withQuota(t, mem, 64<<20)
			o.FS, o.Logger = fs, zaptest.NewLogger(t)
			s, err := local.Open(o)
			require.NoError(t, err)
			s.Collected()
			want := map[string]object{}
			for i := range 60 {
				name := fmt.Sprintf("inline%d/", i)
				obj := object{seed: uint64(i + 1), sizes: [3]int{12_000}}
				require.NoError(t, store(s, name, &obj))
				want[name] = obj
			}

			fs.q.limitNodes(diskspace.KeepFiles - 1)
			s.CheckSpace()
			err = store(s, "more/", &object{seed: 1, sizes: [3]int{10}})
			require.ErrorIs(t, err, engine.ErrNoSpace)
			require.ErrorContains(t, err, "no inodes left on d")
			require.False(t, s.Health().Writable)
			require.Contains(t, s.Health().Detail, "no inodes left on d")
			for i := range 30 {
				name := fmt.Sprintf("inline%d/", i)
				require.NoError(t, remove(s, name))
				delete(want, name)
			}
			reclaimed := s.Reclaim(background)
			require.True(t, reclaimed == nil || errors.Is(reclaimed, engine.ErrNoSpace), "%v", reclaimed)
			requireObjects(t, s, want)

			again := func(left int) {
				t.Helper()
				mem = mem.CrashClone(vfs.CrashCloneCfg{})
				_ = s.Close() // the clone is the store now
				fs = withQuota(t, mem, 64<<20)
				fs.q.limitNodes(left)
				o.FS = fs
				s, err = local.Open(o)
				require.NoError(t, err)
				requireObjects(t, s, want)
			}
			again(-1)
			for i := range 30 {
				name := fmt.Sprintf("again%d/", i)
				obj := object{seed: uint64(i + 1), sizes: [3]int{12_000}}
				require.NoError(t, store(s, name, &obj))
				want[name] = obj
			}
			again(0)
			require.ErrorContains(t, remove(s, "again0/"), "no inodes left on d")
			require.False(t, s.Health().Writable)
			again(diskspace.StartFiles) // a start needs no more than that
			require.NoError(t, remove(s, "again0/"))
			delete(want, "again0/")
			require.ErrorIs(t, store(s, "more/", &object{seed: 1, sizes: [3]int{10}}), engine.ErrNoSpace)
			fs.q.limitNodes(-1)
			s.CheckSpace()
			keep(t, s, "more/", 7, 10_000)
			require.NoError(t, remove(s, "more/"))
			requireObjects(t, s, want)
			require.NoError(t, s.Close())
		})
	}
}
