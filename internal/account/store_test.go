package account_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local"
	"github.com/blobd/blobd/internal/protocol"
)

var ctx = context.Background()

func newEngine(t *testing.T) engine.Store {
	e, err := local.Open(local.Options{Dirs: []string{t.TempDir()}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

// open is a start of the server.
func open(t *testing.T, e engine.Store, masters ...[]byte) (*account.Store, *account.Registry) {
	registry := account.NewRegistry()
	s, err := account.OpenStore(ctx, e, registry, masters)
	require.NoError(t, err)
	return s, registry
}

// stored is everything in the account space, as bytes.
func stored(t *testing.T, e engine.Store) string {
	var all []byte
	require.NoError(t, e.View(ctx, nil, func(r engine.Reader) error {
		it := r.Scan(engine.SpaceAccount, []byte{0}, nil)
		for it.Next() {
			v, err := it.Value()
			if err != nil {
				return err
			}
			all = append(append(all, it.Key()...), v...)
		}
		return it.Close()
	}))
	return string(all)
}

func TestStore(t *testing.T) {
	e := newEngine(t)
	s, registry := open(t, e)
	a := account.New("acct1", time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC), account.GenerateKey(), account.GenerateKey())
	a.RequireHTTPS = true
	require.NoError(t, s.Create(ctx, a, 0))
	require.ErrorIs(t, s.Create(ctx, a, 0), account.ErrExists)
	require.Same(t, a, registry.Lookup("acct1"))

	require.NoError(t, s.SetProperties(ctx, "acct1", account.BlobService, func(p *account.Properties) (*account.Properties, error) {
		return p.Update(account.BlobService, []byte("<StorageServiceProperties><DefaultServiceVersion>2020-10-02</DefaultServiceVersion></StorageServiceProperties>"), protocol.Newest)
	}))
	refusal := errors.New("no")
	require.Equal(t, refusal, s.Change(ctx, "acct1", func(a *account.Account) error { a.Disabled = true; return refusal }))
	require.False(t, registry.Lookup("acct1").Disabled)
	require.ErrorIs(t, s.Change(ctx, "other", func(*account.Account) error { return nil }), account.ErrMissing)

	_, registry = open(t, e)
	b := registry.Lookup("acct1")
	require.Equal(t, protocol.Version("2020-10-02"), b.Blob.DefaultServiceVersion)
	require.True(t, b.RequireHTTPS)
	require.Equal(t, a.Created, b.Created)
	require.Equal(t, a.Keys[1].Base64(), b.Keys[1].Base64())
	require.Equal(t, a.Delegation.Base64(), b.Delegation.Base64())

	require.NoError(t, s.Delete(ctx, "acct1"))
	require.ErrorIs(t, s.Delete(ctx, "acct1"), account.ErrMissing)
	_, registry = open(t, e)
	require.Nil(t, registry.Lookup("acct1"))
}

// A configured account keeps what was set on it, has the keys of the configuration, and is served only while that names it.
func TestConfiguredAccounts(t *testing.T) {
	e := newEngine(t)
	s, registry := open(t, e)
	require.NoError(t, s.Configure(ctx, account.Development(time.Now())))
	require.NoError(t, s.SetProperties(ctx, account.DevName, account.TableService, func(*account.Properties) (*account.Properties, error) {
		return &account.Properties{CORS: []account.CORSRule{{MaxAge: 7}}}, nil
	}))
	delegation := registry.Lookup(account.DevName).Delegation.Base64()

	s, registry = open(t, e)
	require.Nil(t, registry.Lookup(account.DevName))
	other := account.GenerateKey()
	require.NoError(t, s.Configure(ctx, account.New(account.DevName, time.Now(), other)))
	a := registry.Lookup(account.DevName)
	require.Equal(t, 7, a.Table.CORS[0].MaxAge)
	require.Equal(t, delegation, a.Delegation.Base64())
	require.Len(t, a.Keys, 1)
	require.Equal(t, other.Base64(), a.Keys[0].Base64())
}

func TestKeysAreSealed(t *testing.T) {
	master1, master2 := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	e := newEngine(t)
	a := account.New("acct1", time.Now(), account.GenerateKey())
	leaks := func() bool {
		all := stored(t, e)
		for _, k := range []account.Key{a.Keys[0], a.Delegation} {
			if strings.Contains(all, string(k.Raw())) || strings.Contains(all, k.Base64()) {
				return true
			}
		}
		return false
	}
	s, _ := open(t, e)
	require.NoError(t, s.Create(ctx, a, 0))
	require.True(t, leaks(), "the test finds plain keys")

	// The first start with a master key seals what was plain; another one takes over; without one there is no start.
	open(t, e, master1)
	require.False(t, leaks())
	_, err := account.OpenStore(ctx, e, account.NewRegistry(), nil)
	require.ErrorIs(t, err, account.ErrNoMaster)
	_, err = account.OpenStore(ctx, e, account.NewRegistry(), [][]byte{master2})
	require.ErrorIs(t, err, account.ErrWrongMaster)
	open(t, e, master2, master1)
	_, registry := open(t, e, master2)
	require.Equal(t, a.Keys[0].Base64(), registry.Lookup("acct1").Keys[0].Base64())
	require.False(t, leaks())
}

func TestParseMasters(t *testing.T) {
	key := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))
	masters, err := account.ParseMasters("# newest first\n" + key + "\n\n" + key + "\r\n")
	require.NoError(t, err)
	require.Len(t, masters, 2)
	_, err = account.ParseMasters(key + "\nc2VjcmV0")
	require.EqualError(t, err, "master key in line 2: base64 of 32 bytes is needed")
}

// The caller's name may lie in memory that is used for something else afterwards.
func TestStoreHasNamesOfItsOwn(t *testing.T) {
	s, registry := open(t, newEngine(t))
	require.NoError(t, s.Create(ctx, account.New("acct1", time.Now(), account.GenerateKey()), 0))
	memory := []byte("acct1")
	require.NoError(t, s.SetProperties(ctx, unsafe.String(&memory[0], len(memory)), account.BlobService, func(*account.Properties) (*account.Properties, error) {
		return &account.Properties{}, nil
	}))
	copy(memory, "other")
	require.NotNil(t, registry.Lookup("acct1"))
	require.NotNil(t, s.Lookup("acct1"))
	require.NoError(t, s.Delete(ctx, "acct1"))
}
