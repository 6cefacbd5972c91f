package blob

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/rest/framing"
	"github.com/blobd/blobd/internal/rest/resttest"
)

// TestContentThatNobodyTakes: what a stream has in memory counts while its reader takes his time, for all chunks that are open, and is given
// back when it ends. A refusal leaves nothing open.
func TestContentThatNobodyTakes(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
	const size = 17 << 20 // bytes, in three chunks
	h.must(t, 201, "PUT", "/acct/box/large", strings.Repeat("x", size), v, isBlock)
	h.must(t, 201, "PUT", "/acct/box/small", "x", v, isBlock)
	limits := framing.DefaultLimits()
	limits.Streams = framing.NewBudget(1 << 20)
	s := resttest.StartWith(t, &rest.Front{Accounts: h.registry, Blob: h.svc}, limits)
	held := func(n int64) {
		t.Helper()
		for limits.Streams.Used() != n && t.Context().Err() == nil {
			runtime.Gosched()
		}
	}
	slow := s.Dial()
	slow.Write("GET /acct/box/large HTTP/1.1\r\nHost: h\r\nx-ms-version: 2021-12-02\r\n\r\n")
	held(3 * 256 << 10)
	r := s.Do("GET", "/acct/box/large", "", v)
	require.Equal(t, "503 ServerBusy ", fmt.Sprint(r.Status, " ", r.Code(), " ", r.Header.Get("Etag")))
	require.Equal(t, "x", string(s.Do("GET", "/acct/box/small", "", v).Body))
	require.Len(t, slow.Response("GET").Body, size)
	held(0)
	require.Len(t, s.Do("GET", "/acct/box/large", "", v).Body, size)
	require.Len(t, s.Do("GET", "/acct/box/large", "", v, "Range: bytes=9000000-9100000").Body, 100_001)
	held(0)
}
