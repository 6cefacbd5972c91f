package server_test

import (
	"context"
	"encoding/xml"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth/gate"
	"github.com/blobd/blobd/internal/blob"
	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/rest/resttest"
)

// A refusal repeats a part of what a stranger sent, however long that was, and nothing of it as mark-up.
func TestRefusalsRepeatLittle(t *testing.T) {
	store, registry := enginetest.New(t), account.NewRegistry()
	accounts, err := account.OpenStore(context.Background(), store, registry, nil)
	require.NoError(t, err)
	require.NoError(t, accounts.Configure(context.Background(), resttest.Account()))
	blobs := blob.New(blob.Options{Store: store, Accounts: accounts})
	t.Cleanup(func() { _ = blobs.Close() })
	blobs.Authorize(gate.New(gate.Options{Blob: blobs}))
	s := resttest.Start(t, &rest.Front{Accounts: registry, Blob: blobs})
	long := strings.Repeat("&<é]]>", 4000)
	date := "x-ms-date: " + time.Now().UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")
	for name, c := range map[string]struct {
		target string
		header []string
	}{
		"signed headers":   {"/acct/con/b", []string{"Authorization: SharedKey acct:c2ln", date, "x-ms-a: " + long}},
		"signature":        {"/acct/con/b", []string{"Authorization: SharedKey acct:" + long, date}},
		"date":             {"/acct/con/b", []string{"Authorization: SharedKey acct:c2ln", "x-ms-date: " + long}},
		"SAS":              {"/acct/con/b?sv=2026-02-06&sr=b&sp=r&se=2099-01-01&sig=x&rscd=" + strings.Repeat("%26%3C%C3%A9", 2000), nil},
		"version":          {"/acct/con/b", []string{"x-ms-version: " + long}},
		"query of version": {"/acct/con/b?api-version=" + strings.Repeat("%26%3C", 4000), nil},
		"escape":           {"/acct/con/b?" + strings.Repeat("a", 100) + "=%zz" + strings.Repeat("b", 20000), nil},
		"comp":             {"/acct/con/b?comp=" + strings.Repeat("%26%3C", 4000), nil},
		"timeout":          {"/acct/con/b?timeout=" + strings.Repeat("%26%3C", 4000), nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.Do("GET", c.target, "", c.header...)
			require.GreaterOrEqual(t, r.Status, 400)
			require.Less(t, len(r.Raw)+len(r.Body), 32<<10, "%.200s", r)
			d := xml.NewDecoder(strings.NewReader(strings.TrimPrefix(string(r.Body), "\ufeff")))
			for err = error(nil); err == nil; {
				_, err = d.Token()
			}
			require.ErrorIs(t, err, io.EOF, "%.200s", r)
		})
	}
}
