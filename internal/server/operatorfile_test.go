//go:build unix

package server

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	logged "go.uber.org/zap/zaptest/observer"
)

// A connection gets the old certificate, whatever comes in place of the files; none waits at a pipe, or reads a device without end.
func TestWhatIsInPlaceOfACertificate(t *testing.T) {
	for what, put := range map[string]func(name string) error{
		"pipe":   func(name string) error { return syscall.Mkfifo(name, 0o600) },
		"folder": func(name string) error { return os.Mkdir(name, 0o700) },
		"device": func(name string) error { return os.Symlink("/dev/zero", name) },
		"none":   func(string) error { return nil },
	} {
		for i := range 2 {
			certFile, keyFile, err := SelfSigned(t.TempDir(), []string{"localhost"}, time.Now())
			require.NoError(t, err)
			core, logs := logged.New(zap.InfoLevel)
			c, err := LoadCertificate(certFile, keyFile, zap.New(core))
			require.NoError(t, err)
			old := c.current
			name := []string{certFile, keyFile}[i]
			require.NoError(t, os.Remove(name))
			require.NoError(t, put(name))
			require.Nil(t, c.changed(), "%s in place of %s", what, filepath.Base(name))
			now, err := c.Get()
			require.NoError(t, err)
			require.Same(t, old, now)
			if what != "none" {
				require.Equal(t, 1, logs.FilterMessageSnippet("cannot be used").Len(), what)
			}
		}
	}
}

// A disk that does not answer keeps connections waiting for a moment only: for that long, the look at the files may bring a newer certificate.
func TestConnectionsDoNotWaitForTheCertificatesDisk(t *testing.T) {
	certFile, keyFile, err := SelfSigned(t.TempDir(), []string{"localhost"}, time.Now())
	require.NoError(t, err)
	c, err := LoadCertificate(certFile, keyFile, zap.NewNop())
	require.NoError(t, err)
	c.checked, c.looking = time.Now(), make(chan struct{}) // one that does not end
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if now, err := c.Get(); err != nil || now == nil {
				t.Errorf("%v, %v", now, err)
			}
		})
	}
	all.Wait()
}

// A link, a pipe or an open mode that another process has left has no part in a file that is made.
func TestAFileIsMadeAnew(t *testing.T) {
	for _, end := range []string{"", ".new"} {
		for what, put := range map[string]func(name, victim string) error{
			"link": func(name, victim string) error { return os.Symlink(victim, name) },
			"pipe": func(name, _ string) error { return syscall.Mkfifo(name, 0o666) },
			"open": func(name, _ string) error { return errors.Join(os.WriteFile(name, nil, 0o600), os.Chmod(name, 0o666)) },
		} {
			dir := t.TempDir()
			victim, name := filepath.Join(dir, "victim"), filepath.Join(dir, "key.pem")
			require.NoError(t, os.WriteFile(victim, []byte("theirs"), 0o666))
			require.NoError(t, put(name+end, victim))
			require.NoError(t, ReplaceFile(name, []byte("key"), 0o600))
			info, err := os.Lstat(name)
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o600), info.Mode(), what+end)
			text, err := ReadRegular(name)
			require.NoError(t, err)
			require.Equal(t, "key", string(text))
			theirs, err := os.ReadFile(victim)
			require.NoError(t, err)
			require.Equal(t, "theirs", string(theirs))
			require.NoFileExists(t, name+".new")
		}
	}
}

// What operators name as a log: a file, a link to another volume, a pipe whose reader comes before, after, or anew.
func TestWhereALogMayGo(t *testing.T) {
	dir := t.TempDir()
	volume := filepath.Join(dir, "volume")
	require.NoError(t, os.WriteFile(volume, []byte("before\n"), 0o640))
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink(volume, link))
	l, err := OpenLogFile(link, 0o600)
	require.NoError(t, err)
	_, err = l.Write([]byte("after\n"))
	require.NoError(t, err)
	require.NoError(t, l.Close())
	text, err := os.ReadFile(volume)
	require.NoError(t, err)
	require.Equal(t, "before\nafter\n", string(text))

	for _, name := range []string{"/dev/stdout", "/dev/stderr", "/dev/../dev/stdout"} {
		l, err := OpenLogFile(name, 0o600)
		require.NoError(t, err)
		require.NoError(t, l.Close())
	}
	_, err = os.Stdout.Stat()
	require.NoError(t, err, "it stays open")

	name := filepath.Join(dir, "pipe")
	require.NoError(t, syscall.Mkfifo(name, 0o600))
	l, err = OpenLogFile(name, 0o600)
	require.NoError(t, err, "the reader comes later")
	defer l.Close()
	for _, line := range []string{"one\n", "two\n"} {
		_, err = l.Write([]byte(line))
		require.NoError(t, err)
		reader, err := os.OpenFile(name, os.O_RDONLY, 0)
		require.NoError(t, err)
		got := make([]byte, len(line))
		_, err = io.ReadFull(reader, got)
		require.NoError(t, err)
		require.Equal(t, line, string(got))
		require.NoError(t, reader.Close())
	}
}

// A reader that takes nothing keeps nobody waiting; what is lost is whole lines, and when it takes some again the log goes on.
func TestALogWhoseReaderStalls(t *testing.T) {
	name := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(name, 0o600))
	l, err := OpenLogFile(name, 0o600)
	require.NoError(t, err)
	defer l.Close()
	line := append(bytes.Repeat([]byte("x"), 999), '\n')
	core, logs := logged.New(zap.InfoLevel)
	access, err := NewAccessLog(l, "all", 1, zap.New(core))
	require.NoError(t, err)
	for range 300 { // more than the pipe and the buffer hold
		_, err = access.buffer.Write(line)
		require.NoError(t, err)
	}
	require.NoError(t, access.buffer.Sync())
	require.NotZero(t, access.lost.Load())
	require.Equal(t, 1, logs.Len(), "it is told once")

	reader, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	require.NoError(t, err)
	defer reader.Close()
	got := make([]byte, 1<<20)
	n, err := reader.Read(got)
	require.NoError(t, err)
	kept := bytes.Count(got[:n], []byte("\n"))
	for range 20 {
		_, err = access.buffer.Write(line)
		require.NoError(t, err)
	}
	require.NoError(t, access.Close())
	more, err := reader.Read(got[n:])
	require.NoError(t, err)
	parts := bytes.SplitAfter(got[:n+more], []byte("\n"))
	whole := 0
	for _, part := range parts {
		if bytes.Equal(part, line) {
			whole++
		}
	}
	require.GreaterOrEqual(t, whole, kept+20)
	require.LessOrEqual(t, len(parts)-whole, 2, "no two lines are run together but for the one that was cut")
	require.EqualValues(t, 320, whole+int(access.lost.Load()))
}

// fullDisk is a disk that is full for a while.
type fullDisk struct {
	bytes.Buffer
	full bool
}

func (f *fullDisk) Write(p []byte) (int, error) {
	if f.full {
		return 0, syscall.ENOSPC
	}
	return f.Buffer.Write(p)
}

// A log that could not be written for a while is written again afterwards.
func TestTheAccessLogOutlivesAFullDisk(t *testing.T) {
	f := &fullDisk{full: true}
	core, logs := logged.New(zap.InfoLevel)
	access, err := NewAccessLog(f, "all", 1, zap.New(core))
	require.NoError(t, err)
	put := func() {
		_, err := access.buffer.Write([]byte("a line\n"))
		require.NoError(t, err)
		require.NoError(t, access.buffer.Sync())
	}
	put()
	put()
	require.EqualValues(t, 2, access.lost.Load())
	require.Equal(t, 1, logs.FilterMessageSnippet("lost").Len(), "it is told once")
	f.full = false
	put()
	f.full = true
	put()
	require.NoError(t, access.Close())
	require.Equal(t, "a line\n", f.String())
	require.EqualValues(t, 3, access.lost.Load())
	require.Equal(t, 2, logs.FilterMessageSnippet("lost").Len())
}
