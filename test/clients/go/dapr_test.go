package clients

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/dapr/components-contrib/bindings"
	binding "github.com/dapr/components-contrib/bindings/azure/blobstorage"
	"github.com/dapr/components-contrib/metadata"
	"github.com/dapr/components-contrib/state"
	blobs "github.com/dapr/components-contrib/state/azure/blobstorage/v2"
	"github.com/dapr/components-contrib/state/azure/tablestorage"
	"github.com/dapr/kit/logger"
	"github.com/stretchr/testify/require"
)

func daprProperties(t *testing.T, more map[string]string) map[string]string {
	properties := map[string]string{"accountName": told(t, "BLOBD_ACCOUNT"), "accountKey": told(t, "BLOBD_KEY")}
	for k, v := range more {
		properties[k] = v
	}
	return properties
}

// Dapr's state stores on blobs and on tables: last write wins, or the first by an ETag.
func TestDaprState(t *testing.T) {
	log := logger.NewLogger("test")
	blob := told(t, "BLOBD_BLOB")
	stores := map[string]struct {
		store      state.Store
		properties map[string]string
	}{
		"blobs":  {blobs.NewAzureBlobStorageStore(log), map[string]string{"containerName": name(), "endpoint": blob[:len(blob)-len("/devstoreaccount1")]}},
		"tables": {tablestorage.NewAzureTablesStateStore(log), map[string]string{"tableName": name(), "serviceURL": told(t, "BLOBD_TABLE")}},
	}
	for kind, s := range stores {
		t.Run(kind, func(t *testing.T) {
			ctx := t.Context()
			require.NoError(t, s.store.Init(ctx, state.Metadata{Base: metadata.Base{Properties: daprProperties(t, s.properties)}}))
			require.NoError(t, s.store.Init(ctx, state.Metadata{Base: metadata.Base{Properties: daprProperties(t, s.properties)}}), "it is there already")
			get := func(key string) *state.GetResponse {
				got, err := s.store.Get(ctx, &state.GetRequest{Key: key})
				require.NoError(t, err)
				return got
			}
			const key = "app||user"
			require.Empty(t, get(key).Data)
			require.NoError(t, s.store.Set(ctx, &state.SetRequest{Key: key, Value: map[string]any{"n": 1}}))
			first := get(key)
			require.JSONEq(t, `{"n":1}`, string(first.Data))
			require.NotEmpty(t, *first.ETag)
			require.NoError(t, s.store.Set(ctx, &state.SetRequest{Key: key, Value: map[string]any{"n": 2}, ETag: first.ETag}))
			mismatch := func(err error) {
				var e *state.ETagError
				require.ErrorAs(t, err, &e)
				require.Equal(t, state.ETagMismatch, e.Kind())
			}
			mismatch(s.store.Set(ctx, &state.SetRequest{Key: key, Value: map[string]any{"n": 3}, ETag: first.ETag}))
			require.Error(t, s.store.Set(ctx, &state.SetRequest{Key: key, Value: 4, Options: state.SetStateOption{Concurrency: state.FirstWrite}}))
			mismatch(s.store.Delete(ctx, &state.DeleteRequest{Key: key, ETag: first.ETag}))
			require.JSONEq(t, `{"n":2}`, string(get(key).Data))
			many := []state.SetRequest{{Key: "app||a", Value: 1}, {Key: "app||b", Value: 2}}
			require.NoError(t, s.store.BulkSet(ctx, many, state.BulkStoreOpts{}))
			found, err := s.store.BulkGet(ctx, []state.GetRequest{{Key: "app||a"}, {Key: "app||b"}, {Key: "app||c"}}, state.BulkGetOpts{})
			require.NoError(t, err)
			require.Len(t, found, 3)
			require.NoError(t, s.store.Delete(ctx, &state.DeleteRequest{Key: key, ETag: get(key).ETag}))
			require.NoError(t, s.store.Delete(ctx, &state.DeleteRequest{Key: "app||none"}))
			require.Empty(t, get(key).Data)
		})
	}
}

// Dapr's output binding of blobs.
func TestDaprBinding(t *testing.T) {
	blob := told(t, "BLOBD_BLOB")
	b := binding.NewAzureBlobStorage(logger.NewLogger("test"))
	properties := daprProperties(t, map[string]string{"containerName": name(), "endpoint": blob[:len(blob)-len("/devstoreaccount1")]})
	require.NoError(t, b.Init(t.Context(), bindings.Metadata{Base: metadata.Base{Properties: properties}}))
	invoke := func(op bindings.OperationKind, data string, meta map[string]string) *bindings.InvokeResponse {
		r, err := b.Invoke(t.Context(), &bindings.InvokeRequest{Operation: op, Data: []byte(data), Metadata: meta})
		require.NoError(t, err)
		return r
	}
	for _, n := range []string{"a", "b", "c"} {
		created := invoke(bindings.CreateOperation, "data of "+n, map[string]string{"blobName": "in/" + n, "contentType": "text/x", "colour": "blue"})
		require.Contains(t, string(created.Data), "in/"+n)
	}
	got := invoke(bindings.GetOperation, "", map[string]string{"blobName": "in/b", "includeMetadata": "true"})
	require.Equal(t, "data of b", string(got.Data))
	require.Equal(t, "blue", got.Metadata["Colour"])
	var listed []struct{ Name string }
	require.NoError(t, json.Unmarshal(invoke(bindings.ListOperation, `{"prefix":"in/","maxResults":10}`, nil).Data, &listed))
	require.Len(t, listed, 3)
	signed := invoke("presign", "", map[string]string{"blobName": "in/b", "signTTL": "10m"})
	var url struct{ PresignURL string }
	require.NoError(t, json.Unmarshal(signed.Data, &url))
	answer, err := http.Get(url.PresignURL)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusOK, answer.StatusCode)
	invoke("bulkDelete", `{"prefix":"in/"}`, nil)
	require.NoError(t, json.Unmarshal(invoke(bindings.ListOperation, `{"prefix":"in/"}`, nil).Data, &listed))
	require.Empty(t, listed)
	_, err = b.Invoke(t.Context(), &bindings.InvokeRequest{Operation: bindings.GetOperation, Metadata: map[string]string{"blobName": "in/b"}})
	require.ErrorContains(t, err, "blob not found")
}
