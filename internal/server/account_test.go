package server

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/blob"
	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/rest/resttest"
	"github.com/blobd/blobd/internal/table"
)

// What a request names is kept by its store, not as the request has it: the buffers it lies in are used again by the next one, in
// another address style too.
func TestAccountStaysAfterItsPropertiesAreSet(t *testing.T) {
	store, registry := enginetest.New(t), account.NewRegistry()
	accounts, err := account.OpenStore(context.Background(), store, registry, nil)
	require.NoError(t, err)
	require.NoError(t, accounts.Configure(context.Background(), account.New("acct", time.Now(), account.GenerateKey())))
	blobs, tables := blob.New(blob.Options{Store: store, Accounts: accounts}), table.New(table.Options{Store: store, Accounts: accounts})
	t.Cleanup(func() { tables.Close(); require.NoError(t, blobs.Close()) })
	blobs.Authorize(resttest.AllowAll{})
	tables.Authorize(resttest.AllowAll{})
	for _, service := range []string{"blob", "table"} {
		f := &rest.Front{Accounts: registry}
		if f.Table = tables; service == "blob" {
			f.Blob, f.Table = blobs, nil
		}
		s := resttest.Start(t, f)
		for _, style := range []struct{ prefix, host string }{{"/acct", "127.0.0.1"}, {"", "acct." + service + ".example"}} {
			c := s.Dial()
			answer := c.Do("PUT", style.prefix+"/?restype=service&comp=properties", "<StorageServiceProperties><Cors /></StorageServiceProperties>", "Host: "+style.host)
			require.Equal(t, 202, answer.Status, answer)
			for i := range 30 {
				other := strings.Repeat("x", i)
				for _, c := range []*resttest.Conn{c, s.Dial()} {
					c.Do("GET", fmt.Sprintf("/%s/y%s", other, other), "", "Host: "+other+"."+service+".example")
					c.Do("GET", fmt.Sprintf("/other/%s?comp=list", other), "")
					answer := c.Do("GET", "/acct/?restype=service&comp=properties", "")
					require.Equal(t, 200, answer.Status, "%s: %s", service, answer)
				}
			}
		}
	}
}
