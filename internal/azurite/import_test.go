//go:build unix

package azurite

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/table"
)

// extentBytes is what the extent of a folder holds: the records say which of it belongs to what.
const extentBytes = "put in oneblock Ablock Bone,two,of the snapshot"

// records are as Azurite writes them, without what is not read; test/clients/test_azurite.py has a folder of a real one.
const records = `{"filename":"f","collections":[
{"name":"$CONTAINERS_COLLECTION$","data":[
 {"accountName":"acct","name":"docs","metadata":{"owner":"me"},"properties":{"publicAccess":"blob"},"containerAcl":[{"id":"p","accessPolicy":{"start":"2030-01-01","expiry":"2031-01-01","permission":"r"}}]},
 {"accountName":"other","name":"theirs","properties":{}}]},
{"name":"$BLOBS_COLLECTION$","data":[
 {"accountName":"acct","containerName":"docs","name":"put","isCommitted":true,"snapshot":"","metadata":{"Kind":"put"},"blobTags":{"blobTagSet":[{"key":"k","value":"v 1"}]},
  "properties":{"blobType":"BlockBlob","contentLength":10,"contentType":"text/x","contentMD5":{"0":1,"1":2},"accessTier":"Cool","accessTierInferred":false},"persistency":{"id":"e","offset":0,"count":10}},
 {"accountName":"acct","containerName":"docs","name":"put","isCommitted":true,"snapshot":"2026-11-28T13:51:56.3630000Z",
  "properties":{"blobType":"BlockBlob","contentLength":15,"contentMD5":{"type":"Buffer","data":[3,4]},"accessTier":"Archive"},"persistency":{"id":"e","offset":32,"count":15}},
 {"accountName":"acct","containerName":"docs","name":"blocks","isCommitted":true,"snapshot":"","properties":{"blobType":"BlockBlob","contentLength":21,"accessTierInferred":true,"accessTier":"Hot"},
  "committedBlocksInOrder":[{"name":"QkI=","size":7,"persistency":{"id":"e","offset":17,"count":7}},{"name":"QUE=","size":7,"persistency":{"id":"e","offset":10,"count":7}},{"name":"QkI=","size":7,"persistency":{"id":"e","offset":17,"count":7}}]},
 {"accountName":"acct","containerName":"docs","name":"log","isCommitted":true,"snapshot":"","properties":{"blobType":"AppendBlob","contentLength":8,"isSealed":true},
  "committedBlocksInOrder":[{"name":"","size":4,"persistency":{"id":"e","offset":24,"count":4}},{"name":"","size":4,"persistency":{"id":"e","offset":28,"count":4}}]},
 {"accountName":"acct","containerName":"docs","name":"empty","isCommitted":true,"snapshot":"","properties":{"blobType":"BlockBlob","contentLength":0},"persistency":{"id":"e","offset":0,"count":0}},
 {"accountName":"acct","containerName":"docs","name":"disk","isCommitted":true,"snapshot":"","properties":{"blobType":"PageBlob","contentLength":4096,"blobSequenceNumber":7},
  "pageRangesInOrder":[{"start":512,"end":1023,"persistency":{"id":"p","offset":512,"count":512}},{"start":1024,"end":1535,"persistency":{"id":"p","offset":0,"count":512}}]},
 {"accountName":"acct","containerName":"docs","name":"staged","isCommitted":false,"snapshot":"","properties":{"blobType":"BlockBlob"}},
 {"accountName":"acct","containerName":"docs","name":"orphan","isCommitted":true,"snapshot":"2026-11-28T13:51:56.3630000Z","properties":{"blobType":"BlockBlob","contentLength":0}},
 {"accountName":"acct","containerName":"docs","name":"lost","isCommitted":true,"snapshot":"","properties":{"blobType":"BlockBlob","contentLength":10},"persistency":{"id":"unknown","offset":0,"count":10}},
 {"accountName":"acct","containerName":"docs","name":"cut","isCommitted":true,"snapshot":"","properties":{"blobType":"BlockBlob","contentLength":10},"persistency":{"id":"e","offset":9000,"count":10}},
 {"accountName":"acct","containerName":"docs","name":"climbs","isCommitted":true,"snapshot":"","properties":{"blobType":"BlockBlob","contentLength":1},"persistency":{"id":"climbs","offset":0,"count":1}},
 {"accountName":"other","containerName":"theirs","name":"a","isCommitted":true,"snapshot":"","properties":{"blobType":"BlockBlob","contentLength":0}}]},
{"name":"$BLOCKS_COLLECTION$","data":[{"accountName":"acct","containerName":"docs","blobName":"staged","name":"QQ==","size":1,"isCommitted":false}]}],"databaseVersion":1.5}`

const extents = `{"collections":[{"name":"$EXTENTS_COLLECTION$","data":[{"id":"e","locationId":"Default","path":"first"},{"id":"p","path":"second"},{"id":"climbs","path":"../../secret"}]}]}`

const tables = `{"collections":[{"name":"$TABLES_COLLECTION$","data":[{"account":"acct","table":"People","tableAcl":[{"id":"t","accessPolicy":{"permission":"r"}}]}]},
{"name":"acct$People","data":[
 {"PartitionKey":"p","RowKey":"2","properties":{"PartitionKey":"p","RowKey":"2","n":42,"d":1,"d@odata.type":"Edm.Double","g":"MGIxMGJkMDAtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDBh","g@odata.type":"Edm.Guid","h":"0b10bd00-0000-4000-8000-00000000000a","h@odata.type":"Edm.Guid"}},
 {"PartitionKey":"bad","RowKey":"1","properties":{"not a name":1}},
 {"PartitionKey":"p","RowKey":"1","properties":{"Timestamp":"2026-11-28T13:51:58.6744345Z","Timestamp@odata.type":"Edm.DateTime"}}]}]}`

func writeFolder(t *testing.T) string {
	dir := filepath.Join(t.TempDir(), "folder")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, extentDir), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(dir), "secret"), []byte("secret"), 0o600))
	for name, text := range map[string]string{blobFile: records, extentFile: extents, tableFile: tables, extentDir + "/first": extentBytes,
		extentDir + "/second": strings.Repeat("x", 512) + strings.Repeat("y", 512)} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	return dir
}

func options(t *testing.T, dir string) Options {
	s := enginetest.NewDisk().Open(t)
	blobs := store.New(store.Options{Store: s})
	t.Cleanup(func() { require.NoError(t, blobs.Close()) })
	entities := table.New(table.Options{Store: s})
	t.Cleanup(entities.Close)
	acct := &account.Account{Name: "acct"}
	acct.Versioning = true
	return Options{Blobs: blobs, Tables: entities, Dir: dir, From: "acct", Progress: func(int64) {}, Lookup: func(name string) *account.Account {
		if name == acct.Name {
			return acct
		}
		return nil
	}}
}

func TestImport(t *testing.T) {
	ctx := context.Background()
	o := options(t, writeFolder(t))
	want := Report{From: "acct", To: "acct", Containers: 1, Blobs: 5, Snapshots: 1, Bytes: 10 + 15 + 21 + 8 + 4096, Tables: 1, Entities: 3, Blocks: 1, Failed: 4}
	o.DryRun = true
	dry, err := Import(ctx, o)
	require.NoError(t, err)
	require.Len(t, dry.Failures, 4)
	dry.Failures = nil
	require.Equal(t, want, *dry)
	o.DryRun = false
	rep, err := Import(ctx, o)
	require.NoError(t, err)
	want.Entities, want.Failed = 2, 5 // what an operation refuses is known when it is asked
	failures := strings.Join(rep.Failures, "\n")
	for _, what := range []string{"orphan, snapshot of", "docs/lost: ", "docs/cut: ", "docs/climbs: ", `entity "bad", "1" of table People: `} {
		require.Contains(t, failures, what)
	}
	rep.Failures = nil
	require.Equal(t, want, *rep)

	acct := o.Lookup("acct")
	at := func(name string) store.Target { return store.Target{Account: acct, Container: "docs", Name: name} }
	read := func(name string) (string, *store.Reading) {
		rd, err := o.Blobs.Open(ctx, &store.ReadRequest{Target: at(name)})
		require.NoError(t, err, name)
		b := append([]byte(nil), rd.Inline...)
		if rd.Body != nil {
			b, err = io.ReadAll(rd.Body)
			require.NoError(t, err)
			require.NoError(t, rd.Body.Close())
		}
		return string(b), rd
	}
	container := at("")
	c, err := o.Blobs.Container(ctx, &container)
	require.NoError(t, err)
	require.Equal(t, auth.PublicBlob, c.Public)
	require.Equal(t, []auth.Policy{{ID: "p", Start: "2030-01-01", Expiry: "2031-01-01", Permission: "r", HasPermission: true}}, c.Policies)
	text, rd := read("put")
	require.Equal(t, "put in one", text)
	require.Equal(t, "\x01\x02", rd.Blob.MD5)
	require.Equal(t, []protocol.Pair{{Name: "k", Value: "v 1"}}, rd.Blob.Tags)
	require.Equal(t, "text/x", rd.Blob.HTTP.ContentType)
	require.Equal(t, "Cool", rd.Blob.Tier.Tier.String())
	id, _ := protocol.ParseSnapshotID("2026-11-28T13:51:56.3630000Z")
	put := at("put")
	old, _, err := o.Blobs.Look(ctx, &put, store.Selector{Snapshot: id})
	require.NoError(t, err)
	require.EqualValues(t, 15, old.Size)
	require.Equal(t, "Archive", old.Tier.Tier.String())
	text, _ = read("blocks")
	require.Equal(t, "block Bblock Ablock B", text)
	blocks := at("blocks")
	list, err := o.Blobs.BlockList(ctx, &blocks, store.Selector{}, true, true)
	require.NoError(t, err)
	require.Len(t, list.Committed, 3)
	require.Equal(t, "BB", list.Committed[0].ID)
	text, rd = read("log")
	require.Equal(t, "one,two,", text)
	require.True(t, rd.Blob.Sealed)
	require.EqualValues(t, 2, rd.Blob.Blocks)
	text, rd = read("disk")
	zeros := strings.Repeat("\x00", 512)
	require.Equal(t, zeros+strings.Repeat("y", 512)+strings.Repeat("x", 512)+strings.Repeat(zeros, 5), text)
	require.EqualValues(t, 7, rd.Blob.Sequence)
	var lines []string
	require.NoError(t, o.Tables.Lines(ctx, "acct", "People", func(line []byte) error {
		var e map[string]any
		require.NoError(t, json.Unmarshal(line, &e))
		delete(e, "Timestamp")
		lines = append(lines, fmt.Sprint(e))
		return nil
	}))
	require.Len(t, lines, 2)
	require.Contains(t, lines[1], "d:1 g:0b10bd00-0000-4000-8000-00000000000a g@odata.type:Edm.Guid h:0b10bd00-0000-4000-8000-00000000000a h@odata.type:Edm.Guid n:42")

	_, err = Import(ctx, o)
	require.ErrorContains(t, err, "the account acct has a container docs: delete it")
}

// What the folder has wrong as a whole leaves nothing behind.
func TestImportOfABrokenFolder(t *testing.T) {
	ctx := context.Background()
	for name, c := range map[string]struct {
		break_ func(dir string) error
		says   string
	}{
		"no folder":    {func(dir string) error { return os.RemoveAll(dir) }, "no such file"},
		"no documents": {func(dir string) error { return os.RemoveAll(dir + "/" + blobFile) }, "holds nothing of an account acct"},
		"cut":          {func(dir string) error { return os.WriteFile(dir+"/"+tableFile, []byte(tables[:len(tables)-30]), 0o600) }, tableFile + ": unexpected EOF"},
		"no list":      {func(dir string) error { return os.WriteFile(dir+"/"+tableFile, []byte(`[1]`), 0o600) }, "is expected"},
		"a pipe": {func(dir string) error {
			if err := os.Remove(dir + "/" + extentDir + "/second"); err != nil {
				return err
			}
			return syscall.Mkfifo(dir+"/"+extentDir+"/second", 0o600)
		}, ""},
	} {
		dir := writeFolder(t)
		o := options(t, dir)
		require.NoError(t, c.break_(dir), name)
		if name == "no documents" {
			require.NoError(t, os.WriteFile(dir+"/"+tableFile, []byte(strings.ReplaceAll(tables, `"acct"`, `"third"`)), 0o600))
		}
		rep, err := Import(ctx, o)
		if c.says == "" { // the blob in it is named
			require.NoError(t, err, name)
			require.Contains(t, strings.Join(rep.Failures, "\n"), "docs/disk: ", name)
			continue
		}
		require.ErrorContains(t, err, c.says, name)
		at := store.Target{Account: o.Lookup("acct"), Container: "docs"}
		_, err = o.Blobs.Container(ctx, &at)
		require.ErrorIs(t, err, protocol.ErrContainerNotFound, name)
	}
}
