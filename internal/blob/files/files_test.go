package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/blob/check"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/crc64"
	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/usage"
)

var background = context.Background()

func service(t *testing.T) Options {
	o, _ := stored(t)
	return o
}

func stored(t *testing.T) (Options, engine.Store) {
	e := enginetest.NewDisk().Open(t)
	s := store.New(store.Options{Store: e})
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return Options{Blobs: s, Account: &account.Account{Name: "acct"}, Progress: func(int64) {}}, e
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

// everything is all that a client sees of a container by every listing, but for what is new: ETags and times of the last change.
func everything(t *testing.T, o Options) (all []string) {
	at := o.on("con", "")
	con, err := o.Blobs.Container(background, &at)
	require.NoError(t, err)
	for marker := ""; ; {
		var page names
		next, err := o.Blobs.List(background, con, &store.ListRequest{Marker: marker, Max: 7, Now: record.StampOf(time.Now()),
			Include: store.IncludeSnapshots | store.IncludeVersions | store.IncludeMetadata | store.IncludeTags}, &page)
		require.NoError(t, err)
		for _, e := range page.entries {
			at := o.on("con", e.name)
			rd, err := o.Blobs.Open(background, &store.ReadRequest{Target: at, Slot: selector(e.slot)})
			require.NoError(t, err)
			b := bytes.Clone(rd.Inline)
			if rd.Body != nil {
				b, err = io.ReadAll(rd.Body)
				require.NoError(t, err)
				require.NoError(t, rd.Body.Close())
			}
			rec := rd.Blob
			text := fmt.Sprint(e.name, e.slot, rec.Version, rec.Type, rec.Size, rec.HTTP, []byte(rec.MD5), rec.Metadata, rec.Tags, rec.Tier.Tier, rec.Sequence, rec.Sealed)
			switch rec.Type {
			case record.BlockBlob:
				list, err := o.Blobs.BlockList(background, &at, selector(e.slot), true, false)
				require.NoError(t, err)
				text += fmt.Sprint(list.Committed)
			case record.PageBlob:
				_, _, err := o.Blobs.PageRanges(background, &store.PageQuery{Target: at, Slot: selector(e.slot), Limit: 1000}, func(from, to int64, _ bool) { text += fmt.Sprint(from, to) })
				require.NoError(t, err)
			}
			all = append(all, fmt.Sprintf("%s %d %x", text, len(b), crc64.Sum(b)))
		}
		if marker = string(next); marker == "" {
			return all
		}
	}
}

// Snapshots and versions are exported and imported as they are, with their ids, whatever came before what: blobs of every type, written,
// changed, deleted and written again, with versioning on and off, under names like those of the files of an export.
func TestExportAndImportOfHistoryAreEqual(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			from := service(t)
			to, kept := stored(t)
			require.NoError(t, from.Blobs.CreateContainer(background, "acct", "con", &record.Container{}))
			rng := rand.New(rand.NewPCG(seed, 13))
			content := func() *store.Upload {
				b := strings.Repeat(fmt.Sprint("content ", rng.IntN(1000), " "), []int{0, 1, 100, 3000, 30_000}[rng.IntN(5)])
				return &store.Upload{Body: strings.NewReader(b), Size: int64(len(b))}
			}
			names := []string{"con.jsonl", "a", "a%snapshot%1", "a/b", "%tables/x.jsonl", strings.Repeat("l", 1024)}
			types := []record.Type{record.BlockBlob, record.BlockBlob, record.PageBlob, record.AppendBlob, record.BlockBlob, record.BlockBlob}
			for range 150 {
				n := rng.IntN(len(names))
				on := *from.Account
				on.Versioning = rng.IntN(3) > 0
				from.Account = &on
				at := from.on("con", names[n])
				c := &store.Creation{Target: at, Blob: &record.Blob{Type: types[n], Metadata: []protocol.Pair{{Name: "n", Value: fmt.Sprint(rng.IntN(100))}}}}
				if rng.IntN(2) == 0 {
					c.Blob.Tags = []protocol.Pair{{Name: "tag", Value: fmt.Sprint(rng.IntN(3))}}
				}
				var err error
				switch rng.IntN(7) {
				case 0, 1:
					switch types[n] {
					case record.BlockBlob:
						if rng.IntN(2) == 0 {
							_, err = from.Blobs.Put(background, c, content())
							break
						}
						u := content()
						if u.Size == 0 {
							break
						}
						_, err = from.Blobs.StageBlock(background, &at, "id", u)
						require.NoError(t, err)
						err = from.Blobs.Commit(background, c, []store.BlockRef{{ID: "id"}})
					case record.PageBlob:
						c.Blob.Size, c.Blob.Sequence = 64<<10, int64(rng.IntN(5))
						err = from.Blobs.CreateEmpty(background, c)
					default:
						err = from.Blobs.CreateEmpty(background, c)
					}
					require.NoError(t, err)
				case 2:
					_, err = from.Blobs.SetMetadata(background, &at, []protocol.Pair{{Name: "changed", Value: fmt.Sprint(rng.IntN(100))}})
				case 3:
					switch types[n] {
					case record.PageBlob:
						_, _, err = from.Blobs.WritePages(background, &store.PageRequest{Target: at, LE: -1, LT: -1, EQ: -1}, int64(rng.IntN(64))<<10,
							&store.Upload{Body: strings.NewReader(strings.Repeat("p", 1024)), Size: 1024})
					case record.AppendBlob:
						if u := content(); u.Size > 0 {
							_, _, err = from.Blobs.Append(background, &store.AppendRequest{Target: at, Position: -1, MaxSize: -1}, u)
						}
					}
				case 4, 5:
					_, _, err = from.Blobs.Snapshot(background, &at, nil)
				case 6:
					_, err = from.Blobs.Delete(background, &store.DeleteRequest{Target: at, Snapshots: store.SnapshotsToo(rng.IntN(3))})
				}
				var refused *protocol.Error // there is none, or it has snapshots
				require.True(t, err == nil || errors.As(err, &refused), "%v", err)
			}
			want := everything(t, from)
			from.Dir = filepath.Join(t.TempDir(), "out")
			rep, err := Export(background, from)
			require.NoError(t, err)
			require.Empty(t, rep.Failures)
			require.EqualValues(t, len(want), rep.Blobs+rep.History)
			require.Positive(t, rep.History)
			to.Dir = from.Dir
			on := *to.Account
			on.Versioning = seed%2 == 0
			to.Account = &on
			got, err := Import(background, to)
			require.NoError(t, err)
			require.Equal(t, rep, got)
			require.Equal(t, want, everything(t, to))
			checked, err := check.Check(background, kept.(check.Store), check.Options{Deep: true, Usage: []usage.Source{store.CountUse}})
			require.NoError(t, err)
			require.Empty(t, checked.Findings)
		})
	}
}

// A list that has a blob twice, what is past behind what is current, or an id of the future, is refused.
func TestImportRefusesAnotherHistory(t *testing.T) {
	from := service(t)
	require.NoError(t, from.Blobs.CreateContainer(background, "acct", "con", &record.Container{}))
	c := &store.Creation{Target: from.on("con", "a"), Blob: &record.Blob{Type: record.BlockBlob}}
	_, err := from.Blobs.Put(background, c, &store.Upload{Body: strings.NewReader("text"), Size: 4})
	require.NoError(t, err)
	_, _, err = from.Blobs.Snapshot(background, &c.Target, nil)
	require.NoError(t, err)
	from.Dir = filepath.Join(t.TempDir(), "out")
	_, err = Export(background, from)
	require.NoError(t, err)
	list := filepath.Join(from.Dir, "con.jsonl")
	b, err := os.ReadFile(list)
	require.NoError(t, err)
	lines := strings.SplitAfter(string(b), "\n")
	require.Len(t, lines, 4)
	year := fmt.Sprint(`"snapshot":"`, time.Now().UTC().Year())
	for what, l := range map[string][]string{
		"twice, or what is past": {lines[0], lines[2], lines[1]},
		"list has it twice":      {lines[0], lines[1], lines[1], lines[2]},
		"later than now":         {lines[0], strings.Replace(lines[1], year, `"snapshot":"2999`, 1), lines[2]},
		"is the id of no":        {lines[0], strings.Replace(lines[1], year, `"snapshot":"x`, 1), lines[2]},
	} {
		require.NoError(t, os.WriteFile(list, []byte(strings.Join(l, "")), 0o600))
		to := service(t)
		to.Dir = from.Dir
		_, err = Import(background, to)
		require.ErrorContains(t, err, what)
		require.Empty(t, containers(t, to))
	}
}
