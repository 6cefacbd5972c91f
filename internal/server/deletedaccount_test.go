package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/auth/gate"
	"github.com/blobd/blobd/internal/blob"
	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/rest/resttest"
	"github.com/blobd/blobd/internal/table"
)

// What is under way on a deleted account never reaches the next account of its name, and nothing of its content does, also when
// the process ends in between.
func TestADeletedAccountLeavesNothingToTheNext(t *testing.T) {
	ctx := context.Background()
	disk := enginetest.NewDisk()
	fresh := func() *account.Account { return account.New("acct", time.Now(), account.GenerateKey()) }
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart=%v", restart), func(t *testing.T) {
			store, registry := disk.Open(t), account.NewRegistry()
			accounts, err := account.OpenStore(ctx, store, registry, nil)
			require.NoError(t, err)
			require.NoError(t, accounts.Create(ctx, fresh(), 0))
			blobs, tables := blob.New(blob.Options{Store: store, Accounts: accounts}), table.New(table.Options{Store: store, Accounts: accounts})
			entered := make(chan struct{}, 10)
			blobs.Authorize(telling{entered})
			tables.Authorize(resttest.AllowAll{})
			s := resttest.Start(t, &rest.Front{Accounts: registry, Blob: blobs, Table: tables})
			do := func(method, target string) int {
				return s.Dial().Do(method, target, "", "Content-Length: 0").Status
			}
			require.Equal(t, 201, do("PUT", "/acct/con?restype=container"))
			require.Equal(t, 201, do("PUT", "/acct/other?restype=container"))
			require.NoError(t, tables.CreateTable(ctx, "acct", "Tab"))

			body, rest := io.Pipe()
			slow := make(chan int, 1)
			c := s.Dial()
			for range 2 { // of the containers
				<-entered
			}
			go func() { slow <- upload(c, body) }()
			_, err = rest.Write([]byte("hello"))
			require.NoError(t, err)
			<-entered
			require.NoError(t, accounts.Delete(ctx, "acct"))
			require.Equal(t, 404, do("GET", "/acct/con?restype=container"))
			require.ErrorIs(t, accounts.Create(ctx, fresh(), 0), account.ErrDeleting)
			require.ErrorIs(t, accounts.Configure(ctx, fresh()), account.ErrDeleting)
			if !restart {
				eraser := accounts.Erase(zap.NewNop(), blobs.DeleteAccount, tables.DeleteAccount)
				defer eraser.Close()
				require.ErrorIs(t, accounts.Create(ctx, fresh(), 0), account.ErrDeleting, "somebody still writes to it")
			}
			_, err = rest.Write([]byte("world"))
			require.NoError(t, err)
			require.Equal(t, 201, <-slow)
			if restart {
				tables.Close()
				require.NoError(t, blobs.Close())
				require.NoError(t, store.Close())
				store, registry = disk.Open(t), account.NewRegistry()
				accounts, err = account.OpenStore(ctx, store, registry, nil)
				require.NoError(t, err)
				require.Nil(t, registry.Lookup("acct"))
				blobs, tables = blob.New(blob.Options{Store: store, Accounts: accounts}), table.New(table.Options{Store: store, Accounts: accounts})
				eraser := accounts.Erase(zap.NewNop(), blobs.DeleteAccount, tables.DeleteAccount)
				defer eraser.Close()
			}
			defer func() { tables.Close(); require.NoError(t, blobs.Close()) }()
			require.NoError(t, accounts.Erased(ctx, "acct"))
			require.NoError(t, accounts.Create(ctx, fresh(), 0))
			for _, name := range []string{"con", "other"} {
				_, err = blobs.Access(ctx, "acct", name)
				require.ErrorContains(t, err, "ContainerNotFound")
			}
			_, err = tables.Access(ctx, "acct", "Tab")
			require.ErrorContains(t, err, "TableNotFound")
			require.NoError(t, accounts.Delete(ctx, "acct"))
			require.NoError(t, accounts.Erased(ctx, "acct"))
		})
	}
}

// upload sends a blob of ten bytes, which may come slowly.
func upload(c *resttest.Conn, body io.Reader) int {
	c.Write("PUT /acct/con/b HTTP/1.1\r\nHost: x\r\nx-ms-blob-type: BlockBlob\r\nContent-Length: 10\r\n\r\n")
	for left := 10; left > 0; {
		b := make([]byte, left)
		n, err := body.Read(b)
		if err != nil {
			return 0
		}
		c.Write(string(b[:n]))
		left -= n
	}
	return c.Response("PUT").Status
}

// telling lets everybody do everything, and tells of it.
type telling struct{ asked chan struct{} }

func (t telling) Authorize(ctx context.Context, a *account.Account, r *auth.Request, needs *auth.Needs) (auth.Grant, error) {
	t.asked <- struct{}{}
	return resttest.AllowAll{}.Authorize(ctx, a, r, needs)
}

// An account that asks for TLS 1.3 is not reached by 1.2; over plain HTTP its other switch decides.
func TestMinimumTLS(t *testing.T) {
	cert, key, err := SelfSigned(t.TempDir(), []string{"127.0.0.1"}, time.Now())
	require.NoError(t, err)
	c, err := LoadCertificate(cert, key, zap.NewNop())
	require.NoError(t, err)
	a := account.New("acct", time.Now(), account.GenerateKey())
	a.MinimumTLS = tls.VersionTLS13
	other := account.New("other", time.Now(), account.GenerateKey())
	store, registry := enginetest.New(t), account.NewRegistry(a, other)
	accounts, err := account.OpenStore(context.Background(), store, registry, nil)
	require.NoError(t, err)
	blobs := blob.New(blob.Options{Store: store, Accounts: accounts})
	defer func() { require.NoError(t, blobs.Close()) }()
	blobs.Authorize(gate.New(gate.Options{Blob: blobs}))
	s := start(t, Options{Certificate: c.Get}, Backend{Accounts: registry, Blob: blobs, Store: store})
	for _, c := range []struct {
		account string
		version uint16
		code    string
	}{
		{"acct", tls.VersionTLS12, "TlsVersionNotPermitted"}, {"acct", tls.VersionTLS13, "ResourceNotFound"},
		{"other", tls.VersionTLS12, "ResourceNotFound"}, {"other", tls.VersionTLS13, "ResourceNotFound"},
	} {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MaxVersion: c.version}}}
		_, text := fetch(t, client, s.blob+"/"+c.account+"/con/b")
		require.Contains(t, text, c.code)
		client.CloseIdleConnections()
	}
}
