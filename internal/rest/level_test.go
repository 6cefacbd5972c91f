package rest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/rest/resttest"
)

// levelled dispatches every request at one level, whatever its address.
type levelled struct {
	level  rest.Level
	router *rest.Router[*levelled]
}

func (l *levelled) Serve(r *rest.Request) {
	rest.Dispatch(l.router, l.level, l, resttest.AllowAll{}, r)
}

// A service that takes an address for another level than it is cannot serve it: authorization and the handler see one resource.
func TestAnAddressIsOfItsLevel(t *testing.T) {
	for level, path := range map[rest.Level]string{rest.Account: "/acct", rest.Container: "/acct/c", rest.Blob: "/acct/c/b"} {
		for _, at := range []rest.Level{rest.Account, rest.Container, rest.Blob, rest.Entities, rest.TableEntity, rest.Batch} {
			l := &levelled{level: at}
			l.router = rest.NewRouter(rest.Table[*levelled]{{Name: "Op", Methods: "GET", Level: at, Needs: auth.Needs{}, Handle: func(_ *levelled, r *rest.Request) error {
				r.Reply(200)
				return nil
			}}})
			want := 400
			if at == level || at == rest.Batch && level == rest.Account {
				want = 200
			}
			require.Equal(t, want, resttest.Start(t, &rest.Front{Blob: l}).Do("GET", path, "").Status, "%s at level %s", path, at)
		}
	}
}
