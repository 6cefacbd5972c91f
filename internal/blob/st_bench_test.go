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
		n := creation{access: access{account: acct, container: "con", blob: "folder/name"},
			rec: &record.Blob{Type: record.BlockBlob, HTTP: record.HTTPProperties{ContentType: record.DefaultContentType}}}
		_, err := svc.Put(ctx, &n, &upload{body: zeroBody{}, size: 4096})
		require.NoError(b, err)
	}
}

// A small get below HTTP.
func BenchmarkGet4K(b *testing.B) {
	svc, acct := benchService(b)
	ctx := context.Background()
	at := access{account: acct, container: "con", blob: "folder/name"}
	_, err := svc.Put(ctx, &creation{access: at, rec: &record.Blob{Type: record.BlockBlob}}, &upload{body: zeroBody{}, size: 4096})
	require.NoError(b, err)
	at.version, at.now = protocol.Newest, engine.StampOf(time.Now())
	b.ReportAllocs()
	b.SetBytes(4096)
	for b.Loop() {
		rd, err := svc.Open(ctx, &readRequest{access: at})
		if err != nil || rd.body != nil || len(rd.inline) != 4096 {
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

func benchService(b *testing.B) (*core, *account.Account) {
	b.Helper()
	svc := newCore(Options{Store: enginetest.New(b)})
	b.Cleanup(func() { require.NoError(b, svc.Close()) })
	require.NoError(b, svc.CreateContainer(context.Background(), "acct", "con", &record.Container{}))
	return svc, &account.Account{Name: "acct"}
}
