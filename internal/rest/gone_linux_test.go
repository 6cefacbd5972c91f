package rest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/rest/resttest"
)

// What a handler does while its client is connected ends when the client goes, and nobody is answered.
func TestWhileConnected(t *testing.T) {
	entered, statuses := make(chan bool), make(chan int, 1)
	s := resttest.Start(t, &rest.Front{
		Blob: newEcho(func(r *rest.Request) error {
			ctx, done := r.WhileConnected()
			entered <- true
			defer done()
			if r.Header("x-ms-meta-wait") != "" {
				<-ctx.Done()
				return ctx.Err()
			}
			r.Reply(200)
			return nil
		}),
		Done: func(r *rest.Request) { statuses <- r.Status() },
	})
	c := s.Dial()
	for range 2 {
		go func() { <-entered }()
		require.Equal(t, 200, c.Do("GET", "/acct/c/b", "").Status)
		require.Equal(t, 200, <-statuses)
	}
	c.Write("GET /acct/c/b HTTP/1.1\r\nHost: h\r\nx-ms-meta-wait: 1\r\n\r\n")
	<-entered
	require.NoError(t, c.Close())
	require.Equal(t, 499, <-statuses)
}
