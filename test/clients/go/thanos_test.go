package clients

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/go-kit/log"
	"github.com/stretchr/testify/require"
	"github.com/thanos-io/objstore"
	"github.com/thanos-io/objstore/providers/azure"
)

// Thanos, Cortex, Mimir and Pyroscope keep their blocks by it. It makes https of an endpoint of its own, so it is given a connection string.
func TestThanosObjstore(t *testing.T) {
	conf := azure.DefaultConfig
	conf.StorageAccountName = told(t, "BLOBD_ACCOUNT")
	conf.StorageConnectionString = told(t, "BLOBD_CONNECTION")
	conf.ContainerName = name()
	bucket, err := azure.NewBucketWithConfig(log.NewNopLogger(), conf, "test", nil)
	require.NoError(t, err)
	defer bucket.Close()
	// The suite that every provider has to pass.
	objstore.AcceptanceTest(t, objstore.WithNoopInstr(bucket))

	big := bytes.Repeat([]byte("0123456789"), 1<<20)
	require.NoError(t, bucket.Upload(t.Context(), "block/chunks/000001", bytes.NewReader(big)))
	require.NoError(t, bucket.Upload(t.Context(), "block/ä +&", strings.NewReader("x")))
	r, err := bucket.GetRange(t.Context(), "block/chunks/000001", 9_000_000, 15)
	require.NoError(t, err)
	part, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.Equal(t, "012345678901234", string(part))
	a, err := bucket.Attributes(t.Context(), "block/chunks/000001")
	require.NoError(t, err)
	require.EqualValues(t, len(big), a.Size)
	var names []string
	require.NoError(t, bucket.Iter(t.Context(), "block", func(n string) error { names = append(names, n); return nil }))
	require.ElementsMatch(t, []string{"block/chunks/", "block/ä +&"}, names)
	_, err = bucket.Get(t.Context(), "none")
	require.True(t, bucket.IsObjNotFoundErr(err), err)
}
