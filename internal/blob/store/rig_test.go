package store

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/store/storetest"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/protocol"
)

// rig is the service as tests call it, without HTTP: account "acct" with container "con".
type rig struct {
	*Service
	t       testing.TB
	disk    *enginetest.Disk
	account *account.Account
	atOnce  int
}

// newRig makes a service that lays lists of more than atOnce entries in several transactions; 0 for as many as fit.
func newRig(t testing.TB, atOnce int) *rig {
	r := &rig{t: t, disk: enginetest.NewDisk(), account: &account.Account{Name: "acct"}, atOnce: atOnce}
	r.open()
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	require.NoError(t, r.CreateContainer(context.Background(), "acct", "con", &record.Container{}))
	return r
}

func (r *rig) open() { r.Service = New(Options{Store: r.disk.Open(r.t), AtOnce: r.atOnce}) }

// restart closes service and store and opens them again.
func (r *rig) restart() {
	require.NoError(r.t, r.Close())
	require.NoError(r.t, r.store.Close())
	r.open()
}

// on is an operation on a blob without terms.
func (r *rig) on(name string) Target {
	return Target{Account: r.account, Container: "con", Name: name, Version: protocol.Newest, Now: engine.StampOf(time.Now())}
}

func (r *rig) at(name string) *place {
	a := r.on(name)
	p, err := r.place(context.Background(), &a)
	require.NoError(r.t, err)
	return p
}

func (r *rig) new(name string, kind record.Type) *Creation {
	return &Creation{Target: r.on(name), Blob: &record.Blob{Type: kind, HTTP: record.HTTPProperties{ContentType: record.DefaultContentType}}}
}

func uploadOf(content string) *Upload {
	return &Upload{Body: strings.NewReader(content), Size: int64(len(content))}
}

func (r *rig) put(name, content string, tags ...protocol.Pair) {
	n := r.new(name, record.BlockBlob)
	n.Blob.Tags = tags
	_, err := r.Put(context.Background(), n, uploadOf(content))
	require.NoError(r.t, err)
}

// create makes a page or append blob.
func (r *rig) create(name string, kind record.Type, size int64) {
	n := r.new(name, kind)
	n.Blob.Size = size
	require.NoError(r.t, r.CreateEmpty(context.Background(), n))
}

func (r *rig) append(name, content string) {
	_, _, err := r.Append(context.Background(), &AppendRequest{Target: r.on(name), Position: -1, MaxSize: -1}, uploadOf(content))
	require.NoError(r.t, err)
}

func (r *rig) write(name string, from int64, content string) {
	_, _, err := r.WritePages(context.Background(), &PageRequest{Target: r.on(name), LE: -1, LT: -1, EQ: -1}, from, uploadOf(content))
	require.NoError(r.t, err)
}

func (r *rig) stage(name, id, content string) {
	a := r.on(name)
	_, err := r.StageBlock(context.Background(), &a, id, uploadOf(content))
	require.NoError(r.t, err)
}

// read returns the content of a blob, or of a snapshot of it.
func (r *rig) read(name string, snapshot engine.Stamp) string {
	rd, err := r.Open(context.Background(), &ReadRequest{Target: r.on(name), Slot: Selector{Snapshot: snapshot}})
	require.NoError(r.t, err)
	b, err := rd.All()
	require.NoError(r.t, err)
	return string(b)
}

func (r *rig) snapshot(name string) engine.Stamp {
	a := r.on(name)
	_, id, err := r.Snapshot(context.Background(), &a, nil)
	require.NoError(r.t, err)
	return id
}

func (r *rig) delete(name string, snapshot engine.Stamp) {
	_, err := r.Delete(context.Background(), &DeleteRequest{Target: r.on(name), Slot: Selector{Snapshot: snapshot}})
	require.NoError(r.t, err)
}

// empty holds the store to having nothing left when all was deleted.
func (r *rig) empty() {
	r.t.Helper()
	for r.Pinned() > 0 {
		runtime.Gosched()
	}
	require.NoError(r.t, r.Sweep(context.Background()))
	require.NoError(r.t, storetest.NothingKept(r.store))
	require.Zero(r.t, storetest.OwnedChunks(r.t, r.store), "chunks with an owner")
}
