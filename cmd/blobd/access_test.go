package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/engine/enginetest"
)

// What the flags say of an account is what it has after the next start on the same data, whatever it had before: on and off again.
func TestEveryFlagOfAnAccountReachesTheNextStart(t *testing.T) {
	disk := enginetest.NewDisk()
	start := func(args ...string) account.Switches {
		var c cli
		parser, err := commandLine(&c, nil, nil)
		require.NoError(t, err)
		_, err = parser.Parse(args)
		require.NoError(t, err)
		a := account.Development(time.Now())
		a.Switches = c.Serve.switches()
		store := disk.Open(t)
		defer func() { require.NoError(t, store.Close()) }()
		b, stop, err := c.Serve.services(context.Background(), store, []*account.Account{a}, nil, nil, nil, zap.NewNop())
		require.NoError(t, err)
		require.NoError(t, stop())
		return b.Accounts.Lookup(a.Name).Switches
	}
	var all []string
	var seen account.Switches
	for _, c := range []struct {
		args []string
		want account.Switches
	}{
		{[]string{"--secure-transfer"}, account.Switches{RequireHTTPS: true}},
		{[]string{"--minimum-tls", "1.3"}, account.Switches{MinimumTLS: tls.VersionTLS13}},
		{[]string{"--no-public-access"}, account.Switches{DenyPublicAccess: true}},
		{[]string{"--no-shared-key"}, account.Switches{DenySharedKey: true}},
		{[]string{"--versioning"}, account.Switches{Versioning: true}},
		{[]string{"--container-retention", "7"}, account.Switches{ContainerRetentionDays: 7}},
	} {
		require.Zero(t, start())
		require.Equal(t, c.want, start(c.args...))
		all = append(all, c.args...)
		merge(&seen, c.want)
	}
	require.Zero(t, start())
	require.Equal(t, seen, start(all...))
	require.Zero(t, start())
	for v, i := reflect.ValueOf(seen), 0; i < v.NumField(); i++ {
		require.False(t, v.Field(i).IsZero(), "no flag sets %s", v.Type().Field(i).Name)
	}
}

// A mistake in the value of a flag is told by the flag's name, before anything is opened.
func TestEveryFlagErrorNamesItsFlag(t *testing.T) {
	var c cli
	parser, err := commandLine(&c, nil, nil)
	require.NoError(t, err)
	ended, end := context.WithCancel(context.Background())
	end() // what is not refused ends at once
	refused := func(name, value string) {
		var words bytes.Buffer
		code := run(ended, []string{"--data", filepath.Join(t.TempDir(), "d"), "--blob-addr=127.0.0.1:0", "--table-addr=off", "--management-addr=off",
			"--" + name + "=" + value}, io.Discard, &words)
		require.Equal(t, exitUsage, code, "--%s=%s: %s", name, value, &words)
		require.Contains(t, words.String(), "--"+name)
	}
	flags := 0
	for _, node := range parser.Model.Leaves(false) {
		for _, flag := range node.AllFlags(false) {
			for _, f := range flag {
				switch kind := f.Target.Kind(); kind {
				case reflect.Int, reflect.Int64, reflect.Uint64, reflect.Float64:
					flags++
					refused(f.Name, "some")
					refused(f.Name, "-1"+map[bool]string{true: "s"}[f.Target.Type() == reflect.TypeFor[time.Duration]()])
				}
			}
		}
	}
	require.Greater(t, flags, 8)
	refused("account", "X:S3CRET")
	refused("blob-addr", "nowhere")
	refused("access-log", "some")
	refused("oauth-role", "some")
	refused("without", "some")
}

// merge sets what is set in s.
func merge(to *account.Switches, s account.Switches) {
	from, into := reflect.ValueOf(s), reflect.ValueOf(to).Elem()
	for i := range from.NumField() {
		if !from.Field(i).IsZero() {
			into.Field(i).Set(from.Field(i))
		}
	}
}

// Accounts of a file are served beside those of flags, and a key in it is never told.
func TestAccountFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "accounts")
	require.NoError(t, os.WriteFile(file, []byte("# of the house\n\nmedia:a2V5MQ==:a2V5Mg==\nother:a2V5Mw== # the other\n"), 0o600))
	c := serveCommand{Account: []string{"first:a2V5"}, AccountFile: file}
	list, err := c.listed()
	require.NoError(t, err)
	accounts, err := account.ParseList(list, time.Now())
	require.NoError(t, err)
	var names []string
	for _, a := range accounts {
		names = append(names, a.Name)
	}
	require.Equal(t, []string{"first", "media", "other"}, names)
	require.NoError(t, os.WriteFile(file, []byte("media:SECRET!\n"), 0o600))
	list, err = c.listed()
	require.NoError(t, err)
	_, err = account.ParseList(list, time.Now())
	require.Error(t, err)
	require.NotContains(t, err.Error(), "SECRET")
	c.AccountFile = file + "-missing"
	_, err = c.listed()
	require.ErrorContains(t, err, "--account-file")
}
