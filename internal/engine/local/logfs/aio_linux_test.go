package logfs

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// counted counts what reaches the file by the usual calls.
type counted struct {
	vfs.File
	fd            uintptr
	writes, syncs int
}

func (c *counted) Fd() uintptr { return c.fd }

func (c *counted) WriteAt(p []byte, off int64) (int, error) {
	c.writes++
	return c.File.WriteAt(p, off)
}

func (c *counted) SyncData() error {
	c.syncs++
	return c.File.SyncData()
}

func create(t *testing.T) (string, vfs.File) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "000001.log")
	f, err := vfs.Default.Create(name, category)
	require.NoError(t, err)
	return name, f
}

// TestAWriteAndItsSyncAreOneRequest: but for those before which room was made, which is to be synced with them.
func TestAWriteAndItsSyncAreOneRequest(t *testing.T) {
	name, f := create(t)
	c := &counted{File: f, fd: f.Fd()}
	l := newFile(c, 0, true)
	var log []byte
	for i := range 100 {
		p := bytes.Repeat([]byte{byte(1 + i)}, 1000)
		_, err := l.Write(p)
		require.NoError(t, errors.Join(err, l.SyncData()))
		log = append(log, p...)
	}
	if l.aio { // this file system has it
		assert.Equal(t, 6, c.syncs, "room was made for 4 to 128 KiB")
		assert.Equal(t, 2*6+3, c.writes, "and the length reached beyond it at 16, 64 and 256 KiB")
	} else {
		assert.Equal(t, 100, c.syncs)
	}
	require.NoError(t, l.Close())
	assert.True(t, bytes.HasPrefix(readAll(t, vfs.Default, name), log))
}

// TestWithoutRequestsAWriteIsSynced: what takes no requests is written and synced by the usual calls.
func TestWithoutRequestsAWriteIsSynced(t *testing.T) {
	name, f := create(t)
	reading, err := os.Open(name)
	require.NoError(t, err)
	defer reading.Close()
	c := &counted{File: f, fd: reading.Fd()}
	l := newFile(c, 0, false)
	l.aio, l.direct, l.room = true, true, 1<<20
	for range 3 {
		l.loose = false
		_, err := l.Write([]byte("record"))
		require.NoError(t, errors.Join(err, l.SyncData()))
	}
	assert.False(t, l.aio, "it is asked for no more")
	assert.Equal(t, []int{3, 3}, []int{c.writes, c.syncs})
	require.NoError(t, l.Close())
	assert.True(t, bytes.HasPrefix(readAll(t, vfs.Default, name), []byte("recordrecordrecord")))
}

// TestAFailedRequestIsTheLast: the usual calls are not tried after it, as a sync that failed once may seem to succeed then.
func TestAFailedRequestIsTheLast(t *testing.T) {
	name, f := create(t)
	r, w, err := os.Pipe()
	require.NoError(t, errors.Join(err, r.Close()))
	defer w.Close()
	c := &counted{File: f, fd: w.Fd()}
	l := newFile(c, 0, false)
	l.aio, l.direct, l.loose, l.room = true, true, false, 1<<20
	for range 2 {
		_, err = l.Write([]byte("record"))
		require.NoError(t, err)
		require.ErrorIs(t, l.SyncData(), unix.EPIPE)
	}
	require.ErrorIs(t, l.Close(), unix.EPIPE)
	assert.Zero(t, c.writes+c.syncs)
	assert.Empty(t, readAll(t, vfs.Default, name))
}

// TestOutcomes: a request that was refused is left to the usual calls, one that failed is not.
func TestOutcomes(t *testing.T) {
	_, f := create(t)
	defer f.Close()
	a, err := newAIO(f.Fd())
	if errors.Is(err, errNoAIO) {
		require.ErrorIs(t, writeSync(0, nil, 0, func() {}), errNoAIO)
		return
	}
	require.NoError(t, err)
	for result, want := range map[int64]error{
		100: nil, -int64(unix.EINVAL): errNoAIO, -int64(unix.EOPNOTSUPP): errNoAIO,
		-int64(unix.EIO): unix.EIO, -int64(unix.ENOSPC): unix.ENOSPC, 99: io.ErrShortWrite,
	} {
		a.event.result = result
		require.ErrorIs(t, a.outcome(100), want)
	}
}

// TestRequestsAtOnce: each has a context of its own, and the contexts are used again.
func TestRequestsAtOnce(t *testing.T) {
	const files, rounds = 8, 20
	var all sync.WaitGroup
	for i := range files {
		name, f := create(t)
		all.Go(func() {
			l := newFile(f, 0, true)
			var log []byte
			for range rounds {
				p := bytes.Repeat([]byte{byte(1 + i)}, 5000)
				_, err := l.Write(p)
				if err = errors.Join(err, l.SyncData()); !assert.NoError(t, err) {
					return
				}
				log = append(log, p...)
			}
			if assert.NoError(t, l.Close()) {
				assert.True(t, bytes.HasPrefix(readAll(t, vfs.Default, name), log))
			}
		})
	}
	all.Wait()
	idle.Lock()
	defer idle.Unlock()
	assert.LessOrEqual(t, len(idle.all), files)
}
