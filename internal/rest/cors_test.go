package rest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/rest/resttest"
)

func TestCORS(t *testing.T) {
	acct := resttest.Account()
	acct.Blob = &account.Properties{CORS: []protocol.CORSRule{{
		AllowedOrigins: []string{"http://a.example"}, AllowedMethods: []string{"GET", "PUT"}, AllowedHeaders: []string{"*"},
		ExposedHeaders: []string{"*"}, MaxAge: 60,
	}}}
	s := resttest.Start(t, &rest.Front{Accounts: account.NewRegistry(acct), Blob: newEcho(func(r *rest.Request) error {
		if r.Query("fail") != "" {
			return protocol.ErrBlobNotFound
		}
		r.SetHeader("ETag", `"1"`)
		r.Reply(200)
		return nil
	})})

	t.Run("preflight", func(t *testing.T) {
		answer := s.Do("OPTIONS", "/acct/c/b", "", "Origin: http://a.example", "Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: x-ms-blob-type")
		require.Equal(t, 200, answer.Status)
		require.Equal(t, "http://a.example", answer.Header.Get("Access-Control-Allow-Origin"))
		require.Equal(t, "PUT", answer.Header.Get("Access-Control-Allow-Methods"))
		require.Equal(t, "x-ms-blob-type", answer.Header.Get("Access-Control-Allow-Headers"))
		require.Equal(t, "60", answer.Header.Get("Access-Control-Max-Age"))
		require.Equal(t, "true", answer.Header.Get("Access-Control-Allow-Credentials"))
		require.Empty(t, answer.Body)
	})
	t.Run("preflight refused", func(t *testing.T) {
		answer := s.Do("OPTIONS", "/acct/c/b", "", "Origin: http://b.example", "Access-Control-Request-Method: PUT")
		require.Equal(t, 403, answer.Status)
		require.Equal(t, "CorsPreflightFailure", answer.Code())
		require.Empty(t, answer.Header.Get("Access-Control-Allow-Origin"))
		require.Equal(t, "InvalidHeaderValue", s.Do("OPTIONS", "/acct/c/b", "").Code())
	})
	t.Run("actual request", func(t *testing.T) {
		answer := s.Do("PUT", "/acct/c/b", "", "Origin: http://a.example")
		require.Equal(t, 200, answer.Status)
		require.Equal(t, "http://a.example", answer.Header.Get("Access-Control-Allow-Origin"))
		require.Equal(t, "Origin", answer.Header.Get("Vary"))
		require.Contains(t, answer.Header.Get("Access-Control-Expose-Headers"), "ETag")
		require.Contains(t, answer.Header.Get("Access-Control-Expose-Headers"), "x-ms-request-id")
	})
	t.Run("a page may read its refusal", func(t *testing.T) {
		answer := s.Do("PUT", "/acct/c/b?fail=1", "", "Origin: http://a.example")
		require.Equal(t, 404, answer.Status)
		require.Equal(t, "http://a.example", answer.Header.Get("Access-Control-Allow-Origin"))
		require.Contains(t, answer.Header.Get("Access-Control-Expose-Headers"), "x-ms-error-code")
	})
	t.Run("another origin", func(t *testing.T) {
		answer := s.Do("PUT", "/acct/c/b", "", "Origin: http://b.example")
		require.Equal(t, 200, answer.Status)
		require.Empty(t, answer.Header.Get("Access-Control-Allow-Origin"))
	})
}
