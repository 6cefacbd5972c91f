package keyspace_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/engine/inspect"
	"github.com/blobd/blobd/internal/keyspace"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/table"
)

var background = context.Background()

// list returns what is told of the keys with a prefix.
func list(t *testing.T, s keyspace.Store, prefix string) (keys []string, all string) {
	require.NoError(t, keyspace.List(background, s, prefix, func(i *inspect.Item) error {
		require.Empty(t, i.Wrong, "%s", i)
		b, err := json.Marshal(i)
		require.NoError(t, err)
		require.True(t, json.Valid(b))
		require.NotContains(t, i.String(), "\n")
		keys, all = append(keys, i.What), all+i.String()+"\n"
		return nil
	}))
	return keys, all
}

// Every key of a store with something in every space is told of by what it is of, and no secret is.
func TestEveryKeyIsToldOf(t *testing.T) {
	e := enginetest.NewDisk().Open(t)
	registry := account.NewRegistry()
	accounts, err := account.OpenStore(background, e, registry, nil)
	require.NoError(t, err)
	secret := account.NewKey([]byte(strings.Repeat("secret!!", 8)))
	require.NoError(t, accounts.Configure(background, &account.Account{Name: "acct", Keys: []account.Key{secret, secret}, Configured: true}))
	a := *registry.Lookup("acct")
	a.Versioning = true
	blobs := store.New(store.Options{Store: e})
	tables := table.New(table.Options{Store: e})
	on := func(name string) store.Target {
		return store.Target{Account: &a, Container: "con", Name: name, Version: protocol.Newest, Now: engine.StampOf(time.Now())}
	}
	up := func(b string) *store.Upload { return &store.Upload{Body: strings.NewReader(b), Size: int64(len(b))} }
	require.NoError(t, blobs.CreateContainer(background, "acct", "con", &record.Container{}))
	for _, b := range []string{"", "small", strings.Repeat("large ", 50_000)} {
		_, err := blobs.Put(background, &store.Creation{Target: on("new\nline"), Blob: &record.Blob{Type: record.BlockBlob, Tags: []protocol.Pair{{Name: "tag", Value: "v"}}}}, up(b))
		require.NoError(t, err)
	}
	at := on("new\nline")
	_, _, err = blobs.Snapshot(background, &at, nil)
	require.NoError(t, err)
	at = on("staged")
	_, err = blobs.StageBlock(background, &at, "id", up("block"))
	require.NoError(t, err)
	page := &store.Creation{Target: on("page"), Blob: &record.Blob{Type: record.PageBlob, Size: 1 << 20}}
	require.NoError(t, blobs.CreateEmpty(background, page))
	for _, n := range []int{512, 100 << 10} {
		_, _, err = blobs.WritePages(background, &store.PageRequest{Target: page.Target, LE: -1, LT: -1, EQ: -1}, int64(n), up(strings.Repeat("p", n)))
		require.NoError(t, err)
	}
	require.NoError(t, tables.CreateTable(background, "acct", "Rows"))
	lines := []string{`{"PartitionKey":"p","RowKey":"1","S":"text\n","B@odata.type":"Edm.Binary","B":"AAEC","T":true,"D":1.5,"L@odata.type":"Edm.Int64","L":"7"}`, `{"PartitionKey":"p","RowKey":"2","S":"` + strings.Repeat("long", 7000) + `"}`}
	_, err = tables.InsertLines(background, "acct", "Rows", func() ([]byte, error) {
		if len(lines) == 0 {
			return nil, nil
		}
		line := lines[0]
		lines = lines[1:]
		return []byte(line), nil
	})
	require.NoError(t, err)

	s := e.(keyspace.Store)
	keys, all := list(t, s, "")
	for _, want := range []string{"container/acct/con", "blob/acct/con/page", `"blob/acct/con/new\nline"`, "uncommitted/acct/con/staged", "entity/acct/Rows/p/1", "part/acct/Rows/p/2 part 0",
		"table/acct/rows", "account/account/acct/", `"tag/acct/con/tag=v/new\nline"`, "system/stamps"} {
		require.Contains(t, keys, want)
	}
	for _, want := range []string{`history/acct/con/new\nline version`, `history/acct/con/new\nline snapshot`, "page/acct/con/page map", "block/acct/con/staged uncommitted", "system/owners/", "system/counter/"} {
		require.Contains(t, all, want)
	}
	unique := map[string]bool{}
	for _, k := range keys {
		require.False(t, unique[k], "%s is told of twice", k)
		unique[k] = true
	}
	require.NotContains(t, all, "secret!!")
	require.NotContains(t, all, "c2VjcmV0") // "secret" in base64
	require.Contains(t, all, "(not told)")

	keys, _ = list(t, s, "blob/acct/con/p")
	require.Equal(t, []string{"blob/acct/con/page"}, keys)
	require.Error(t, keyspace.List(background, s, "nothing/x", func(*inspect.Item) error { return nil }))
	tables.Close()
	require.NoError(t, blobs.Close())
}

// FuzzTell: whatever key and value a space has, they are told of without a panic.
func FuzzTell(f *testing.F) {
	for _, space := range keyspace.Spaces() {
		f.Add(space, []byte("acct\x00con\x00"), []byte{1})
		f.Add(space, []byte("\x00\x01\x02\x03\x04\x05\x06\x07name\x00\x01s\x00\x01\x02\x03\x04\x05\x06\x07"), []byte{1, 1, 2, 3})
		f.Add(space, []byte("e\x01\x02\x03\x04\x05\x06\x07\x08pk\x00rk\x00\x01"), []byte("\x01\x01{}"))
		f.Add(space, []byte("dc"), []byte{})
		f.Add(space, []byte(nil), []byte(nil))
	}
	f.Fuzz(func(t *testing.T, space string, key, value []byte) {
		i := keyspace.Tell(space, key, value)
		if i == nil {
			return
		}
		if strings.Contains(i.String(), "\n") {
			t.Fatal("a line ends")
		}
		if _, err := json.Marshal(i); err != nil {
			t.Fatal(err)
		}
	})
}
