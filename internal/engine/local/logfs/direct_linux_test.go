package logfs

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// picky is a file of a system that lets direct writes be asked for and then refuses them.
type picky struct {
	vfs.File
	refusals int
}

func (f *picky) WriteAt(p []byte, off int64) (int, error) {
	if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0); err != nil || flags&unix.O_DIRECT != 0 {
		f.refusals++
		return 0, errors.Join(err, unix.EINVAL)
	}
	return f.File.WriteAt(p, off)
}

// TestRefusedDirectWritesGoThroughTheCache: the file is written nevertheless.
func TestRefusedDirectWritesGoThroughTheCache(t *testing.T) {
	name := vfs.Default.PathJoin(t.TempDir(), "000001.log")
	f, err := vfs.Default.Create(name, category)
	require.NoError(t, err)
	p := &picky{File: f}
	l := newFile(p, 0, false)
	direct := l.direct
	for range 3 {
		_, err = l.Write([]byte("record"))
		require.NoError(t, errors.Join(err, l.SyncData()))
	}
	require.NoError(t, l.Close())
	assert.True(t, bytes.HasPrefix(readAll(t, vfs.Default, name), []byte("recordrecordrecord")))
	if direct {
		assert.Equal(t, 1, p.refusals, "it is asked for no more")
	}
}

// TestAHoleIsNoRoom: a log that is made of an old one has room as far as that was written. To write into what its length alone reaches
// changes the file system's metadata with every sync.
func TestAHoleIsNoRoom(t *testing.T) {
	fs := New(vfs.Default)
	dir := t.TempDir()
	first, second := fs.PathJoin(dir, "000001.log"), fs.PathJoin(dir, "000002.log")
	f, err := fs.Create(first, category)
	require.NoError(t, err)
	for range 2 {
		_, err = f.Write(make([]byte, 3<<10))
		require.NoError(t, errors.Join(err, f.SyncData()))
	}
	room := f.(*file).room
	assert.Less(t, room, f.(*file).length)
	require.NoError(t, f.Close())

	raw, err := vfs.Default.Open(first)
	require.NoError(t, err)
	hole, err := unix.Seek(int(raw.Fd()), 0, unix.SEEK_HOLE)
	require.NoError(t, errors.Join(err, raw.Close()))
	f, err = fs.ReuseForWrite(first, second, category)
	require.NoError(t, err)
	assert.Equal(t, hole&^(page-1), f.(*file).room)
	if hole < f.(*file).length { // this file system has holes
		assert.Equal(t, room, f.(*file).room)
	}
	require.NoError(t, f.Close())
}
