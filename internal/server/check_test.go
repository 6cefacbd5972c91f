package server

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine/enginetest"
)

func TestCheckTakesTrueAndFalse(t *testing.T) {
	s := start(t, Options{}, Backend{Blob: newService(ok), Store: enginetest.New(t)})
	require.Eventually(t, func() bool { return s.Server.management.store.Load() != nil }, 10*time.Second, time.Millisecond)
	for query, status := range map[string]int{"": 200, "?deep=": 200, "?deep=true": 200, "?deep=false": 200, "?deep=banana": 400, "?deep=yes": 400} {
		r, err := http.Post(s.management+"/check"+query, "", nil)
		require.NoError(t, err)
		require.NoError(t, r.Body.Close())
		require.Equal(t, status, r.StatusCode, query)
	}
}
