package files

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/protocol"
)

var background = context.Background()

func service(t *testing.T) Options {
	s := store.New(store.Options{Store: enginetest.NewDisk().Open(t)})
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return Options{Blobs: s, Account: &account.Account{Name: "acct"}, Progress: func(int64) {}}
}

// names that are hard on file systems: of a folder and a file at once, that differ by case only, that climb, that are long.
var hard = []string{
	"a", "a/b", "A", "A/B", "..", "../x", "./y", "x/../../y", "/abs", "a//b", "end.", "end ", "a/", "con", "NUL.txt", `b\c`, "c:d", "50%", "%", "%25", "new\nline",
	"ünï", strings.Repeat("l", 1024), strings.Repeat("l", 1023) + "m", strings.Repeat("d/", 250) + "e", strings.Repeat(strings.Repeat("é", 90)+"/", 10) + "f", strings.Repeat("é", 300), "a/b/c",
}

// content is what a blob reads as, with what a client sees of it.
func seen(t *testing.T, o Options, name string) string {
	at := o.on("con", name)
	rd, err := o.Blobs.Open(background, &store.ReadRequest{Target: at})
	require.NoError(t, err, name)
	b := bytes.Clone(rd.Inline)
	if rd.Body != nil {
		b, err = io.ReadAll(rd.Body)
		require.NoError(t, err)
		require.NoError(t, rd.Body.Close())
	}
	rec := rd.Blob
	text := fmt.Sprint(rec.Type, rec.Size, rec.HTTP, []byte(rec.MD5), rec.Metadata, rec.Tags, rec.Tier.Tier, rec.Sequence, rec.Sealed, len(b))
	switch rec.Type {
	case record.BlockBlob:
		list, err := o.Blobs.BlockList(background, &at, store.Selector{}, true, false)
		require.NoError(t, err)
		text += fmt.Sprint(list.Committed)
	case record.PageBlob:
		_, _, err := o.Blobs.PageRanges(background, &store.PageQuery{Target: at, Limit: 1000}, func(from, to int64, _ bool) { text += fmt.Sprint(from, to) })
		require.NoError(t, err)
	}
	return text + string(b)
}

// What is exported and imported again is the same to a client, whatever blobs are called.
func TestExportAndImportAreEqual(t *testing.T) {
	from, to := service(t), service(t)
	require.NoError(t, from.Blobs.CreateContainer(background, "acct", "con", &record.Container{Public: auth.PublicBlob, Metadata: []protocol.Pair{{Name: "Key", Value: "v"}},
		Policies: []auth.Policy{{ID: "p", Permission: "r", HasPermission: true}}}))
	creation := func(name string, kind record.Type) *store.Creation {
		return &store.Creation{Target: from.on("con", name), Blob: &record.Blob{Type: kind, HTTP: record.HTTPProperties{ContentType: "text/x", CacheControl: "no"},
			Metadata: []protocol.Pair{{Name: "Name", Value: name}}, Tags: []protocol.Pair{{Name: "tag", Value: "x"}}}}
	}
	upload := func(b string) *store.Upload { return &store.Upload{Body: strings.NewReader(b), Size: int64(len(b))} }
	all := append([]string{"blocks", "pages", "log", "cool", "md5"}, hard...)
	for _, name := range append([]string{"cool", "md5"}, hard...) {
		n := creation(name, record.BlockBlob)
		n.Blob.Metadata = nil
		if name == "cool" {
			n.Blob.Tier.Tier = record.TierCool
		}
		_, err := from.Blobs.Put(background, n, upload(name))
		require.NoError(t, err, name)
	}
	at := from.on("con", "md5")
	_, err := from.Blobs.SetProperties(background, &at, &record.HTTPProperties{ContentType: "a/b"}, "")
	require.NoError(t, err)
	n := creation("blocks", record.BlockBlob)
	for _, id := range []string{"bb", "aa"} {
		_, err := from.Blobs.StageBlock(background, &n.Target, id, upload(strings.Repeat(id, 50_000)))
		require.NoError(t, err)
	}
	require.NoError(t, from.Blobs.Commit(background, n, []store.BlockRef{{ID: "aa"}, {ID: "bb"}, {ID: "aa"}}))
	n = creation("pages", record.PageBlob)
	n.Blob.Size, n.Blob.Sequence = 1<<20, 7
	require.NoError(t, from.Blobs.CreateEmpty(background, n))
	for _, off := range []int64{512, 512 << 10} {
		_, _, err := from.Blobs.WritePages(background, &store.PageRequest{Target: n.Target, LE: -1, LT: -1, EQ: -1}, off, upload(strings.Repeat("page", 16<<10)))
		require.NoError(t, err)
	}
	n = creation("log", record.AppendBlob)
	require.NoError(t, from.Blobs.CreateEmpty(background, n))
	q := &store.AppendRequest{Target: n.Target, Position: -1, MaxSize: -1}
	_, _, err = from.Blobs.Append(background, q, upload("line\n"))
	require.NoError(t, err)
	_, err = from.Blobs.Seal(background, q)
	require.NoError(t, err)
	_, _, err = from.Blobs.Snapshot(background, &n.Target, nil)
	require.NoError(t, err)

	from.Dir = filepath.Join(t.TempDir(), "out")
	rep, err := Export(background, from)
	require.NoError(t, err)
	require.Empty(t, rep.Failures)
	require.EqualValues(t, len(all), rep.Blobs)
	require.EqualValues(t, 1, rep.History)
	_, err = Export(background, from)
	require.ErrorContains(t, err, "not empty")
	outside, err := os.ReadDir(filepath.Dir(from.Dir))
	require.NoError(t, err)
	require.Len(t, outside, 1)

	to.Dir = from.Dir
	rep, err = Import(background, to)
	require.NoError(t, err)
	require.EqualValues(t, len(all), rep.Blobs)
	for _, name := range all {
		require.Equal(t, seen(t, from, name), seen(t, to, name), name)
	}
	at = to.on("con", "")
	con, err := to.Blobs.Container(background, &at)
	require.NoError(t, err)
	require.Equal(t, auth.PublicBlob, con.Public)
	require.Equal(t, []protocol.Pair{{Name: "Key", Value: "v"}}, con.Metadata)
	require.Equal(t, []auth.Policy{{ID: "p", Permission: "r", HasPermission: true}}, con.Policies)
	_, err = Import(background, to)
	require.ErrorContains(t, err, "already")
}

// A file that is changed, cut, gone or elsewhere is refused by its name, and nothing is there, also nothing that came before it.
func TestImportRefusesOtherFiles(t *testing.T) {
	from := service(t)
	require.NoError(t, from.Blobs.CreateContainer(background, "acct", "before", &record.Container{}))
	require.NoError(t, from.Blobs.CreateContainer(background, "acct", "con", &record.Container{}))
	_, err := from.Blobs.Put(background, &store.Creation{Target: from.on("con", "a"), Blob: &record.Blob{Type: record.BlockBlob, Metadata: []protocol.Pair{{Name: "meta", Value: "v"}}, Tags: []protocol.Pair{{Name: "tag", Value: "v"}}}},
		&store.Upload{Body: strings.NewReader("text"), Size: 4})
	require.NoError(t, err)
	for what, spoil := range map[string]func(dir string) error{
		"sum":     func(dir string) error { return os.WriteFile(filepath.Join(dir, "con", "a"), []byte("tExt"), 0o600) },
		"bytes":   func(dir string) error { return os.WriteFile(filepath.Join(dir, "con", "a"), []byte("t"), 0o600) },
		"no such": func(dir string) error { return os.Remove(filepath.Join(dir, "con", "a")) },
		"escapes": func(dir string) error {
			return errorsJoin(os.Remove(filepath.Join(dir, "con", "a")), os.Symlink("/etc/passwd", filepath.Join(dir, "con", "a")))
		},
		"metadata": func(dir string) error { return replace(filepath.Join(dir, "con.jsonl"), `"meta"`, `"a\r\nX-Other: b"`) },
		"tags":     func(dir string) error { return replace(filepath.Join(dir, "con.jsonl"), `"tag"`, `"a<b"`) },
		"folder":   func(dir string) error { return replace(filepath.Join(dir, "con.jsonl"), `"con/a"`, `"../con/a"`) },
		"exported": func(dir string) error {
			return errorsJoin(os.Remove(filepath.Join(dir, "before.jsonl")), os.Remove(filepath.Join(dir, "con.jsonl")))
		},
		"its end": func(dir string) error {
			return os.Rename(filepath.Join(dir, "con.jsonl"), filepath.Join(dir, "con.jsonl.tmp"))
		},
		"container": func(dir string) error { return replace(filepath.Join(dir, "con.jsonl"), `"con"`, `"other"`) },
	} {
		t.Run(what, func(t *testing.T) {
			from.Dir = filepath.Join(t.TempDir(), "out")
			_, err := Export(background, from)
			require.NoError(t, err)
			require.NoError(t, spoil(from.Dir))
			to := service(t)
			to.Dir = from.Dir
			_, err = Import(background, to)
			require.ErrorContains(t, err, what)
			require.Empty(t, containers(t, to))
		})
	}
}

// An import that is broken off leaves the account as it was, so that it can be tried again.
func TestImportIsBrokenOff(t *testing.T) {
	o := service(t)
	require.NoError(t, o.Blobs.CreateContainer(background, "acct", "con", &record.Container{}))
	_, err := o.Blobs.Put(background, &store.Creation{Target: o.on("con", "a"), Blob: &record.Blob{Type: record.BlockBlob}}, &store.Upload{Body: strings.NewReader("text"), Size: 4})
	require.NoError(t, err)
	o.Dir = filepath.Join(t.TempDir(), "out")
	_, err = Export(background, o)
	require.NoError(t, err)
	to := service(t)
	to.Dir = o.Dir
	ctx, cancel := context.WithCancel(background)
	to.Progress = func(int64) { cancel() }
	_, err = Import(ctx, to)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, containers(t, to))
	_, err = Import(background, to)
	require.NoError(t, err)
	require.Equal(t, []string{"con"}, containers(t, to))
}

func containers(t *testing.T, o Options) (names []string) {
	_, err := o.Blobs.Containers(background, &store.ContainersQuery{Account: "acct", Limit: 10, Deleted: true, Now: record.StampOf(time.Now())}, func(name string, _ *record.Container) bool {
		names = append(names, strings.Clone(name))
		return false
	})
	require.NoError(t, err)
	return names
}

func errorsJoin(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func replace(file, old, next string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return os.WriteFile(file, []byte(strings.Replace(string(b), old, next, 1)), 0o600)
}
