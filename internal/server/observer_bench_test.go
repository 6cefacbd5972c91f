package server

import (
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/rest/resttest"
)

// BenchmarkObserver is what measuring and logging cost a request.
func BenchmarkObserver(b *testing.B) {
	for _, what := range []string{"all", "errors"} {
		b.Run("access log "+what, func(b *testing.B) {
			access, err := NewAccessLog(io.Discard, what, 1, zap.NewNop())
			require.NoError(b, err)
			o := &observer{metrics: newMetrics(), access: access, log: zap.NewNop()}
			s := resttest.Start(b, &rest.Front{Blob: newService(func(r *rest.Request) error {
				if err := ok(r); err != nil {
					return err
				}
				b.ReportAllocs()
				for b.Loop() {
					o.done(r)
				}
				return nil
			})})
			require.Equal(b, http.StatusOK, s.Do("GET", "/acct/c/b?sv=2021-12-02&se=2030", "", "User-Agent: azsdk-go-azblob/v1.8.3").Status)
			require.NoError(b, access.Close())
		})
	}
}
