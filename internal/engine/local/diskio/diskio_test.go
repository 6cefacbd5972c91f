package diskio

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
)

// gate holds up the operations on a disk while it is shut.
type gate struct {
	mu   sync.Mutex
	shut map[string]chan struct{}
	hits atomic.Int64
}

func (g *gate) MaybeError(op errorfs.Op) error {
	g.mu.Lock()
	var wait chan struct{}
	for dir, ch := range g.shut {
		if strings.HasPrefix(op.Path, dir) {
			wait = ch
		}
	}
	g.mu.Unlock()
	if wait != nil {
		g.hits.Add(1)
		<-wait
	}
	return nil
}

func (g *gate) String() string { return "gate" }

func (g *gate) close(dir string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut[dir] = make(chan struct{})
}

func (g *gate) open(dir string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.shut[dir])
	delete(g.shut, dir)
}

const testLimit = 32 * time.Millisecond

func guarded(t *testing.T, h Handlers) (*FS, *gate) {
	g := &gate{shut: map[string]chan struct{}{}}
	mem := vfs.NewMem()
	require.NoError(t, mem.MkdirAll("a", 0o755))
	require.NoError(t, mem.MkdirAll("b", 0o755))
	fs := New(errorfs.Wrap(mem, g), []string{"a", "b"}, testLimit)
	t.Cleanup(fs.Close)
	fs.Handle(h)
	return fs, g
}

func never(string, string) bool { return false }

// TestAStalledOperationIsLeft: its caller goes on, whatever the operation, and so does everybody else; nobody waits again for the disk
// until it answers.
func TestAStalledOperationIsLeft(t *testing.T) {
	changes := make(chan error, 100)
	fs, g := guarded(t, Handlers{Kept: never, Held: func(string, error) {}, Changed: func(dir string, why error) {
		require.Equal(t, "a", dir)
		changes <- why
	}})
	f, err := fs.Create("a/file", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.Write([]byte("hello"))
	require.NoError(t, err)
	other, err := fs.Create("a/other", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	require.NoError(t, other.Close())
	in := make([]byte, 5)
	for name, op := range map[string]func() error{
		"create":  func() error { _, err := fs.Create("a/new", vfs.WriteCategoryUnspecified); return err },
		"open":    func() error { _, err := fs.Open("a/file"); return err },
		"stat":    func() error { _, err := fs.Stat("a/file"); return err },
		"list":    func() error { _, err := fs.List("a"); return err },
		"usage":   func() error { _, err := fs.GetDiskUsage("a"); return err },
		"remove":  func() error { return fs.Remove("a/other") },
		"rename":  func() error { return fs.Rename("a/x", "a/y") },
		"link":    func() error { return fs.Link("a/x", "a/y") },
		"mkdir":   func() error { return fs.MkdirAll("a/dir", 0o755) },
		"opendir": func() error { _, err := fs.OpenDir("a"); return err },
		"read":    func() error { _, err := f.ReadAt(in, 0); return err },
		"write":   func() error { _, err := f.WriteAt([]byte("HELLO"), 0); return err },
		"lent":    func() error { return f.(Lender).WriteLentAt([]byte("hello"), 0) },
		"sync":    f.Sync,
		"data":    f.SyncData,
	} {
		t.Run(name, func(t *testing.T) {
			g.close("a")
			require.ErrorIs(t, op(), ErrStalled)
			require.ErrorIs(t, <-changes, engine.ErrUnavailable)
			require.ErrorIs(t, fs.Out("a"), ErrStalled)
			hits := g.hits.Load()
			for range 20 {
				require.ErrorIs(t, op(), ErrStalled)
			}
			require.Equal(t, hits, g.hits.Load(), "a stuck disk was asked again")
			require.Equal(t, 1, fs.Stuck())
			_, err := fs.Stat("b")
			require.NoError(t, err, "another disk is well")
			g.open("a")
			require.NoError(t, <-changes, "it is in use again")
			require.Zero(t, fs.Stuck())
			fs.disks[0].mu.Lock()
			fs.disks[0].want = 1
			fs.disks[0].mu.Unlock()
		})
	}
	n, err := f.ReadAt(in, 0)
	require.NoError(t, err)
	require.Equal(t, "hello", strings.ToLower(string(in[:n])))
	require.NoError(t, f.Close())
}

// TestALateReadLeavesTheBufferAlone: its caller has used it for something else by then.
func TestALateReadLeavesTheBufferAlone(t *testing.T) {
	back := make(chan struct{}, 1)
	fs, g := guarded(t, Handlers{Kept: never, Held: func(string, error) {}, Changed: func(_ string, why error) {
		if why == nil {
			back <- struct{}{}
		}
	}})
	f, err := fs.Create("a/file", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.Write([]byte("hello"))
	require.NoError(t, err)
	g.close("a")
	b := []byte("mine!")
	_, err = f.ReadAt(b, 0)
	require.ErrorIs(t, err, ErrStalled)
	g.open("a")
	<-back
	require.Equal(t, "mine!", string(b))
}

// TestAKeptOperationIsWaitedFor, and the owner hears of it.
func TestAKeptOperationIsWaitedFor(t *testing.T) {
	held := make(chan error, 10)
	fs, g := guarded(t, Handlers{
		Kept:    func(_, path string) bool { return path == "log" },
		Held:    func(_ string, why error) { held <- why },
		Changed: func(string, error) {},
	})
	f, err := fs.Create("a/log", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	g.close("a")
	done := make(chan error, 1)
	go func() { done <- f.Sync() }()
	require.ErrorIs(t, <-held, ErrStalled)
	select {
	case <-done:
		t.Fatal("it was not waited for")
	default:
	}
	g.open("a")
	require.NoError(t, <-done)
	require.NoError(t, <-held)
}

// TestADiskThatIsAlwaysLateIsLeftOut, if the others are not late; each answer for itself comes within the limit.
func TestADiskThatIsAlwaysLateIsLeftOut(t *testing.T) {
	out := make(chan string, 10)
	fs, _ := guarded(t, Handlers{Kept: never, Held: func(string, error) {}, Changed: func(dir string, _ error) { out <- dir }})
	fs.Close() // the test is the watch
	d := fs.disks[0]
	for now := uint64(1); now < 10*ticks && d.out.Load() == nil; now += 5 {
		c := &call{d: d, wake: make(chan struct{}, 1), what: "write", path: "a/file"}
		fs.tick.Store(now)
		d.begin(c)
		for at := now; at < now+5; at++ {
			d.look(at)
			fs.disks[1].look(at)
		}
		if !c.left {
			c.end()
		}
	}
	require.ErrorIs(t, fs.Out("a"), ErrStalled)
	require.Equal(t, "a", <-out)
	require.NoError(t, fs.Out("b"))
}

// TestReadsOfCachedPagesDoNotWait, and give what there is at the end of a file and beyond.
func TestReadsOfCachedPagesDoNotWait(t *testing.T) {
	dir := t.TempDir()
	content := bytes.Repeat([]byte("0123456789abcdef"), 10_000)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), content, 0o600))
	fs := New(vfs.Default, []string{dir}, time.Minute)
	defer fs.Close()
	f, err := fs.Open(filepath.Join(dir, "file"))
	require.NoError(t, err)
	for _, off := range []int{0, 1, 4096, len(content) - 10, len(content), len(content) + 5} {
		for _, n := range []int{0, 1, 10, 11, 100_000, 200_000} {
			b := make([]byte, n)
			got, err := f.ReadAt(b, int64(off))
			want := content[min(off, len(content)):min(off+n, len(content))]
			require.Equal(t, len(want), got)
			require.True(t, bytes.Equal(want, b[:got]))
			if got < n {
				require.ErrorIs(t, err, io.EOF)
			} else {
				require.NoError(t, err)
			}
		}
	}
	require.NoError(t, f.Close())
}

func TestKindsOfFailure(t *testing.T) {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EAGAIN, syscall.EINTR} {
		require.ErrorIs(t, Kind(&os.PathError{Err: e}), engine.ErrBusy)
	}
	for _, e := range []error{syscall.ENOSPC, syscall.EDQUOT} {
		require.ErrorIs(t, Kind(&os.PathError{Err: e}), engine.ErrNoSpace)
	}
	for _, e := range []error{syscall.EIO, syscall.EROFS, ErrStalled, errors.New("x")} {
		require.NoError(t, Excuse(e))
		require.Equal(t, e, Kind(e))
	}
	require.NoError(t, Kind(nil))
}

// BenchmarkReadAt compares a cached read with and without the guard.
func BenchmarkReadAt(b *testing.B) {
	dir := b.TempDir()
	require.NoError(b, os.WriteFile(filepath.Join(dir, "file"), make([]byte, 1<<20), 0o600))
	for name, limit := range map[string]time.Duration{"plain": 0, "guarded": time.Minute} {
		b.Run(name, func(b *testing.B) {
			fs := New(vfs.Default, []string{dir}, limit)
			defer fs.Close()
			f, err := fs.Open(filepath.Join(dir, "file"))
			require.NoError(b, err)
			defer f.Close()
			p := make([]byte, 64<<10)
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := f.ReadAt(p, int64(i%16)*int64(len(p))); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkWriteAt compares a buffered write with and without the guard.
func BenchmarkWriteAt(b *testing.B) {
	dir := b.TempDir()
	for name, limit := range map[string]time.Duration{"plain": 0, "guarded": time.Minute} {
		for _, n := range []int{4 << 10, 64 << 10, 256 << 10} {
			b.Run(name, func(b *testing.B) {
				fs := New(vfs.Default, []string{dir}, limit)
				defer fs.Close()
				f, err := fs.Create(filepath.Join(dir, name), vfs.WriteCategoryUnspecified)
				require.NoError(b, err)
				defer f.Close()
				p := make([]byte, n)
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if l, ok := f.(Lender); ok {
						err = l.WriteLentAt(p, int64(i%16)*int64(n))
					} else {
						_, err = f.WriteAt(p, int64(i%16)*int64(n))
					}
					if err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// lender is a file that keeps what it is given to write.
type lender struct {
	vfs.File
	got []byte
}

func (l *lender) Fd() uintptr { return vfs.InvalidFd }

func (l *lender) Write(p []byte) (int, error) {
	l.got = p
	return len(p), nil
}

// TestOnlyAWriteThatMayBeAbandonedIsCopied: a kept one ends before its caller has its buffer back.
func TestOnlyAWriteThatMayBeAbandonedIsCopied(t *testing.T) {
	fs, _ := guarded(t, Handlers{
		Kept:    func(_, path string) bool { return path == "log" },
		Held:    func(string, error) {},
		Changed: func(string, error) {},
	})
	p := []byte("bytes")
	for path, copied := range map[string]bool{"a/log": false, "a/column": true} {
		l := &lender{}
		f := newFile(fs.disks[0], path, l, true)
		n, err := f.Write(p)
		require.NoError(t, err)
		require.Equal(t, len(p), n)
		require.Equal(t, "bytes", string(l.got))
		require.Equal(t, copied, &l.got[0] != &p[0], path)
	}
}
