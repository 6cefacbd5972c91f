package store

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
		n := Creation{Target: Target{Account: acct, Container: "con", Name: "folder/name"},
			Blob: &record.Blob{Type: record.BlockBlob, HTTP: record.HTTPProperties{ContentType: record.DefaultContentType}}}
		_, err := svc.Put(ctx, &n, &Upload{Body: zeroBody{}, Size: 4096})
		require.NoError(b, err)
	}
}

// A small get below HTTP.
func BenchmarkGet4K(b *testing.B) {
	svc, acct := benchService(b)
	ctx := context.Background()
	at := Target{Account: acct, Container: "con", Name: "folder/name"}
	_, err := svc.Put(ctx, &Creation{Target: at, Blob: &record.Blob{Type: record.BlockBlob}}, &Upload{Body: zeroBody{}, Size: 4096})
	require.NoError(b, err)
	at.Version, at.Now = protocol.Newest, engine.StampOf(time.Now())
	b.ReportAllocs()
	b.SetBytes(4096)
	for b.Loop() {
		rd, err := svc.Open(ctx, &ReadRequest{Target: at})
		if err != nil || rd.Body != nil || len(rd.Inline) != 4096 {
			b.Fatal(err)
		}
	}
}

// A long body with its MD5 beside it.
func BenchmarkReceive64M(b *testing.B) {
	svc, _ := benchService(b)
	b.SetBytes(64 << 20)
	for b.Loop() {
		in, err := svc.receive(context.Background(), io.LimitReader(zeroBody{}, 64<<20), 64<<20, engine.MaxInline, true)
		require.NoError(b, err)
		in.done()
	}
}

func benchService(b *testing.B) (*Service, *account.Account) {
	b.Helper()
	svc := New(Options{Store: enginetest.New(b)})
	b.Cleanup(func() { require.NoError(b, svc.Close()) })
	require.NoError(b, svc.CreateContainer(context.Background(), "acct", "con", &record.Container{}))
	return svc, &account.Account{Name: "acct"}
}
