package blob

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/protocol"
)

// zeroBody is a body of zeros without an end.
type zeroBody struct{}

func (zeroBody) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// A small put below HTTP: container look-up, intake, one transaction with one commit.
func BenchmarkPut4K(b *testing.B) {
	svc, acct := benchService(b)
	ctx := context.Background()
	b.ReportAllocs()
	b.SetBytes(4096)
	for b.Loop() {
		c, err := svc.container(ctx, "acct", "con")
		require.NoError(b, err)
		p := newPlace(acct, c.Generation, "folder/name")
		in, err := svc.receive(ctx, zeroBody{}, 4096, engine.MaxInline, true)
		require.NoError(b, err)
		rec := &record.Blob{Type: record.BlockBlob, HTTP: record.HTTPProperties{ContentType: record.DefaultContentType}}
		require.NoError(b, svc.put(ctx, p, &access{}, rec, in))
		in.done()
	}
}

// A small get below HTTP.
func BenchmarkGet4K(b *testing.B) {
	svc, acct := benchService(b)
	ctx := context.Background()
	c, err := svc.container(ctx, "acct", "con")
	require.NoError(b, err)
	in, err := svc.receive(ctx, zeroBody{}, 4096, engine.MaxInline, true)
	require.NoError(b, err)
	require.NoError(b, svc.put(ctx, newPlace(acct, c.Generation, "folder/name"), &access{}, &record.Blob{Type: record.BlockBlob}, in))
	terms := access{version: protocol.Newest, now: engine.StampOf(time.Now())}
	b.ReportAllocs()
	b.SetBytes(4096)
	for b.Loop() {
		c, err := svc.container(ctx, "acct", "con")
		require.NoError(b, err)
		rd, body, err := svc.open(ctx, nil, newPlace(acct, c.Generation, "folder/name"), selector{}, func(rd *reading) error {
			rd.length = rd.rec.Size
			return terms.read(rd.rec)
		})
		if err != nil || body != nil || len(rd.inline) != 4096 {
			b.Fatal(err)
		}
	}
}

// A long body with its MD5 beside it.
func BenchmarkReceive64M(b *testing.B) {
	svc, _ := benchService(b)
	b.SetBytes(64 * miB)
	for b.Loop() {
		in, err := svc.receive(context.Background(), io.LimitReader(zeroBody{}, 64*miB), 64*miB, engine.MaxInline, true)
		require.NoError(b, err)
		in.done()
	}
}

func benchService(b *testing.B) (*Service, *account.Account) {
	b.Helper()
	svc := New(Options{Store: enginetest.New(b)})
	b.Cleanup(func() { require.NoError(b, svc.Close()) })
	require.NoError(b, svc.makeContainer(context.Background(), "acct", "con", &record.Container{}))
	return svc, &account.Account{Name: "acct"}
}
