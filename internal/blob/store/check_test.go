package store

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/blob/check"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

// everyKind fills a store with blobs of every kind, shared, in history and uncommitted.
func everyKind(t *testing.T) *rig {
	r := newRig(t, 0)
	r.put("inline", "small", protocol.Pair{Name: "k", Value: "v"})
	r.put("chunks", strings.Repeat("c", 50_000), protocol.Pair{Name: "k", Value: "w"})
	r.snapshot("chunks")
	for i := range 6 {
		r.stage("list", string(rune('a'+i)), strings.Repeat("l", 20_000+i))
	}
	var refs []BlockRef
	for i := range 6 {
		refs = append(refs, BlockRef{ID: string(rune('a' + i)), Source: UncommittedBlock})
	}
	rec := &record.Blob{Type: record.BlockBlob, HTTP: record.HTTPProperties{ContentType: record.DefaultContentType}}
	require.NoError(t, r.commit(context.Background(), r.at("list"), &Target{}, rec, refs))
	r.snapshot("list")
	r.stage("list", "z", strings.Repeat("u", 30_000))
	r.create("append", record.AppendBlob, 0)
	r.append("append", strings.Repeat("a", 40_000))
	r.create("pages", record.PageBlob, 1<<20)
	r.write("pages", 0, strings.Repeat("p", 64<<10))
	r.snapshot("pages")
	r.write("pages", 512, strings.Repeat("q", 512))
	r.write("pages", 32<<10, strings.Repeat("r", 20<<10))
	return r
}

func (r *rig) check(deep bool) *check.Report {
	r.t.Helper()
	rep, err := check.Check(context.Background(), r.store.(check.Store), check.Options{Deep: deep})
	require.NoError(r.t, err)
	require.True(r.t, rep.Complete)
	return rep
}

func TestCheckFindsNothingInAHealthyStore(t *testing.T) {
	r := everyKind(t)
	for _, deep := range []bool{false, true} {
		rep := r.check(deep)
		require.Empty(t, rep.Findings)
		require.EqualValues(t, 5, rep.Blobs)
		require.EqualValues(t, 3, rep.History)
		require.Equal(t, deep, rep.Read > 250_000)
	}
	r.delete("inline", 0)
	r.delete("append", 0)
	require.Empty(t, r.check(true).Findings)
	require.NoError(t, r.Sweep(context.Background()))
	require.Empty(t, r.check(true).Findings)
}

// chunkOf returns a chunk of the blob "chunks".
func (r *rig) chunkOf() (ref engine.Ref) {
	require.NoError(r.t, r.store.View(context.Background(), nil, func(rd engine.Reader) error {
		v, err := rd.Get(engine.SpaceBlob, r.at("chunks").key)
		require.NoError(r.t, err)
		var rec record.Blob
		require.NoError(r.t, rec.Decode(string(v)))
		ref = rec.Content.Chunks[0].Ref
		return nil
	}))
	return ref
}

// firstKey returns the first key of a blob in a space, with some byte after the partition.
func (r *rig) firstKey(space engine.Space, name string, kind byte) (key []byte) {
	p := r.at(name)
	require.NoError(r.t, r.store.View(context.Background(), nil, func(rd engine.Reader) error {
		it := rd.Scan(space, append(bytes.Clone(p.key), kind), nil)
		require.True(r.t, it.Next())
		key = bytes.Clone(it.Key())
		return it.Close()
	}))
	require.True(r.t, bytes.HasPrefix(key, p.key))
	return key
}

func TestCheckFindsEachKindOfDamage(t *testing.T) {
	for name, c := range map[string]struct {
		hurt  func(r *rig, tx engine.Tx)
		blob  string
		kind  string
		says  string
		loses bool
	}{
		"an owner too many":    {func(r *rig, tx engine.Tx) { tx.Retain(r.chunkOf()) }, "chunks", check.BadOwners, "never freed", false},
		"an owner too few":     {func(r *rig, tx engine.Tx) { tx.Release(r.chunkOf()) }, "chunks", check.BadOwners, "too early", true},
		"no owner":             {func(r *rig, tx engine.Tx) { tx.Release(r.chunkOf()); tx.Release(r.chunkOf()) }, "chunks", check.BadOwners, "no owner", true},
		"a record of nonsense": {func(r *rig, tx engine.Tx) { tx.Set(engine.SpaceBlob, r.at("inline").key, []byte("nonsense")) }, "inline", check.BadRecord, "its record", true},
		"no inline content":    {func(r *rig, tx engine.Tx) { tx.Delete(engine.SpaceBlobData, r.at("inline").key) }, "inline", check.BadContent, "0 bytes", true},
		"other inline content": {func(r *rig, tx engine.Tx) { tx.Set(engine.SpaceBlobData, r.at("inline").key, []byte("smalL")) }, "inline", check.BadContent, "sum", true},
		"no page of a list":    {func(r *rig, tx engine.Tx) { tx.Delete(engine.SpaceBlock, r.firstKey(engine.SpaceBlock, "list", 'c')) }, "list", check.BadContent, "its content has 0 bytes", true},
		"a page of nonsense": {func(r *rig, tx engine.Tx) {
			tx.Set(engine.SpaceBlock, r.firstKey(engine.SpaceBlock, "list", 'c'), []byte{9})
		}, "list", check.BadRecord, "chunk list", true},
		"an uncommitted block": {func(r *rig, tx engine.Tx) {
			tx.Set(engine.SpaceBlock, r.firstKey(engine.SpaceBlock, "list", 'u'), []byte{9})
		}, "list", check.BadRecord, "uncommitted", true},
		"no page map": {func(r *rig, tx engine.Tx) { tx.Delete(engine.SpacePage, r.firstKey(engine.SpacePage, "pages", 'm')) }, "pages", check.BadContent, "page map", true},
		"a page range": {func(r *rig, tx engine.Tx) {
			tx.Set(engine.SpacePage, r.firstKey(engine.SpacePage, "pages", 'r'), []byte{9})
		}, "pages", check.BadRecord, "pages", true},
		"a record of other size": {resize, "chunks", check.BadContent, "its record says", true},
	} {
		t.Run(name, func(t *testing.T) {
			r := everyKind(t)
			require.NoError(t, r.store.Update(context.Background(), r.at(c.blob).key, func(tx engine.Tx) error {
				c.hurt(r, tx)
				return nil
			}))
			rep := r.check(false)
			require.NotEmpty(t, rep.Findings)
			f := rep.Findings[0]
			for _, f = range rep.Findings {
				if f.Kind == c.kind && strings.Contains(f.Detail, c.says) {
					break
				}
			}
			require.Equal(t, c.kind, f.Kind, "%+v", rep.Findings)
			require.Contains(t, f.Detail, c.says)
			require.True(t, strings.HasPrefix(f.Where, "acct/con/"+c.blob), f.Where)
			require.Equal(t, c.loses, f.Loses)
		})
	}
}

func resize(r *rig, tx engine.Tx) {
	v, err := tx.Get(engine.SpaceBlob, r.at("chunks").key)
	require.NoError(r.t, err)
	var rec record.Blob
	require.NoError(r.t, rec.Decode(string(v)))
	rec.Size++
	tx.Set(engine.SpaceBlob, r.at("chunks").key, rec.AppendTo(nil))
}

// TestCheckFindsALostTag: without its hint a blob is not found by its tags.
func TestCheckFindsALostTag(t *testing.T) {
	r := everyKind(t)
	var key []byte
	require.NoError(t, r.store.View(context.Background(), nil, func(rd engine.Reader) error {
		it := rd.Scan(engine.SpaceBlobTag, nil, nil)
		require.True(t, it.Next())
		key = bytes.Clone(it.Key())
		return it.Close()
	}))
	require.NoError(t, r.store.Update(context.Background(), key, func(tx engine.Tx) error {
		tx.Delete(engine.SpaceBlobTag, key)
		return nil
	}))
	rep := r.check(false)
	require.Len(t, rep.Findings, 1)
	require.Equal(t, check.BadIndex, rep.Findings[0].Kind)
}

// unreadable is a store in which one chunk cannot be read.
type unreadable struct {
	check.Store
	ref engine.Ref
}

func (u unreadable) Open(ctx context.Context, ref engine.Ref, offset, length int64) (io.ReadCloser, error) {
	if ref == u.ref {
		return nil, engine.ErrCorrupt
	}
	return u.Store.Open(ctx, ref, offset, length)
}

func TestADeepCheckReadsContent(t *testing.T) {
	r := everyKind(t)
	bad := unreadable{r.store.(check.Store), r.chunkOf()}
	rep, err := check.Check(context.Background(), bad, check.Options{})
	require.NoError(t, err)
	require.Empty(t, rep.Findings)
	rep, err = check.Check(context.Background(), bad, check.Options{Deep: true})
	require.NoError(t, err)
	require.Len(t, rep.Findings, 1)
	require.Equal(t, check.BadContent, rep.Findings[0].Kind)
	names, err := check.Names(context.Background(), bad, []engine.Ref{bad.ref})
	require.NoError(t, err)
	require.Contains(t, names[bad.ref][0], "acct/con/chunks")
	require.Len(t, names, 1)
}
