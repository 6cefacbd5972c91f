package account

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The bytes of a record, as docs/format.md has them: what is in the file must be read for ever.
func TestRecordFormat(t *testing.T) {
	golden, err := os.ReadFile("testdata/account.record")
	require.NoError(t, err)
	a := Development(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))
	a.Delegation = NewKey([]byte("delegation"))
	a.Configured, a.RequireHTTPS = true, true
	a.Blob = &Properties{DefaultServiceVersion: "2020-10-02"}
	s := &Store{}
	got, err := s.encode(a, time.Time{})
	require.NoError(t, err)
	require.Equal(t, string(golden), string(got))
	back, _, current, err := s.decode(golden)
	require.NoError(t, err)
	require.True(t, current)
	require.Equal(t, a.Blob, back.Blob)
	require.Equal(t, DevKey, back.Keys[0].Base64())
	_, _, _, err = s.decode(append([]byte{2}, golden[1:]...))
	require.ErrorContains(t, err, "a format that this version does not know")
}
