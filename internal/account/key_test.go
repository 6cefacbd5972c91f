package account

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// However an account is printed, encoded or logged, no form of its key is there.
func TestKeysAreNeverPrinted(t *testing.T) {
	a := Development(time.Now())
	encoded, err := json.Marshal(a)
	require.NoError(t, err)
	core, logs := observer.New(zap.DebugLevel)
	zap.New(core).Info("account", zap.Any("a", a), zap.Stringer("k", a.Keys[0]), zap.Reflect("r", a.Keys))
	logged, err := json.Marshal(logs.All()[0].ContextMap())
	require.NoError(t, err)
	hidden := struct{ account *Account }{a} // fmt calls no method on unexported fields
	outputs := []string{string(encoded), string(logged)}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		outputs = append(outputs, fmt.Sprintf(format, a), fmt.Sprintf(format, *a), fmt.Sprintf(format, a.Keys), fmt.Sprintf(format, a.Keys[0]),
			fmt.Sprintf(format, hidden), fmt.Sprintf(format, *hidden.account))
	}
	raw := a.Keys[0].Raw()
	for _, out := range outputs {
		for _, form := range []string{DevKey[:16], string(raw[:8]), fmt.Sprintf("%x", raw[:8]), fmt.Sprintf("%X", raw[:8]), fmt.Sprint(raw[:4])[1:10]} {
			require.NotContains(t, out, form)
		}
	}
}

func TestSign(t *testing.T) {
	k := Development(time.Now()).Keys[0]
	signature := k.Sign([]byte("message"))
	require.True(t, k.Verify([]byte("message"), signature))
	require.False(t, k.Verify([]byte("messagf"), signature))
	require.False(t, k.Verify([]byte("message"), signature+"="))
	require.False(t, k.Verify([]byte("message"), ""))
	require.False(t, Key{}.Verify([]byte("message"), signature))
	require.False(t, GenerateKey().Verify([]byte("message"), signature))
	again, err := ParseKey(k.Base64())
	require.NoError(t, err)
	require.Equal(t, signature, again.Sign([]byte("message")))
}

func TestParseList(t *testing.T) {
	now := time.Now()
	accounts, err := ParseList(" acct1:a2V5MQ==:a2V5Mg==;acct2:a2V5Mw==; ", now)
	require.NoError(t, err)
	require.Len(t, accounts, 2)
	require.Equal(t, "acct1", accounts[0].Name)
	require.Equal(t, "key1", string(accounts[0].Keys[0].Raw()))
	require.Equal(t, "key2", string(accounts[0].Keys[1].Raw()))
	require.Equal(t, "acct2", accounts[1].Name)
	require.Len(t, accounts[1].Keys, 1)
	require.Equal(t, DefaultKind, accounts[1].Kind)

	empty, err := ParseList("", now)
	require.NoError(t, err)
	require.Empty(t, empty)

	for list, want := range map[string]string{
		"acct1":                           "account 1 in the list: name:key1 or name:key1:key2 is needed",
		"acct1:a2V5:a2V5:a2V5":            "account 1 in the list: name:key1 or name:key1:key2 is needed",
		"ab:a2V5":                         `account name "ab": 3 to 24 characters are needed`,
		"Acct:a2V5":                       `account name "Acct": only lower-case letters and digits are allowed`,
		"acct1:a2V5;acct1:a2V5":           "account acct1 is in the list twice",
		"acct1:":                          "account acct1: key1: a key is base64 of 1 to 1024 bytes",
		"acct1:a2V5:top secret, no base6": "account acct1: key2: a key is base64 of 1 to 1024 bytes",
	} {
		_, err := ParseList(list, now)
		require.EqualError(t, err, want)
	}
}

func TestWithKey(t *testing.T) {
	a := Development(time.Now())
	k := GenerateKey()
	b, err := a.WithKey(1, k)
	require.NoError(t, err)
	require.Len(t, a.Keys, 1)
	require.Equal(t, k.Base64(), b.Keys[1].Base64())
	require.Equal(t, DevKey, b.Keys[0].Base64())
	_, err = a.WithKey(2, k)
	require.Error(t, err)
}
