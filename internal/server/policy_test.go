package server_test

import (
	"fmt"
	"net/url"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/auth/authtest"
	"github.com/blobd/blobd/internal/protocol"
)

// TestAChangedPolicyHoldsAtOnce: a signature that names a stored access policy is used all the time while the policy is changed, taken away
// and given back. No request that begins after a change was answered sees what was before.
func TestAChangedPolicyHoldsAtOnce(t *testing.T) {
	p := newPrison(t)
	query := func(service auth.Service, resource string, q authtest.Pairs) string {
		values := url.Values{}
		signFor(t, service, resource, q).All(func(name, value string) { values.Set(name, value) })
		return "?" + values.Encode()
	}
	for name, c := range map[string]struct{ addr, resource, acl, target string }{
		"container": {p.blob, "/mine", "?restype=container&comp=acl", "/mine/other" + query(auth.Blob, "mine", pairs("sv", "2026-02-06", "sr", "c", "si", "p"))},
		"table":     {p.table, "/Mine", "?comp=acl", "/Mine(PartitionKey='a',RowKey='r')" + query(auth.Table, "Mine", pairs("sv", "2019-02-02", "tn", "Mine", "si", "p"))},
	} {
		t.Run(name, func(t *testing.T) {
			p.t = t
			set := func(start, expiry, permission string) {
				p.owner(c.addr, "PUT", c.resource+c.acl, "<SignedIdentifiers><SignedIdentifier><Id>p</Id><AccessPolicy><Start>"+start+"</Start><Expiry>"+expiry+
					"</Expiry><Permission>"+permission+"</Permission></AccessPolicy></SignedIdentifier></SignedIdentifiers>")
			}
			const changing, open, closed = 0, 1, 2
			var state atomic.Int64 // the number of the change, and what it has made of the door
			var seen [3]atomic.Int64
			stop := make(chan bool)
			readers, broken := errgroup.WithContext(t.Context())
			for range 2 {
				readers.Go(func() error {
					for {
						select {
						case <-stop:
							return nil
						default:
						}
						before := state.Load()
						status, _, _, err := send(c.addr, "GET "+home+c.target+" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nx-ms-version: "+string(protocol.Newest)+
							"\r\nAccept: application/json;odata=nometadata\r\n\r\n", "GET")
						if err != nil {
							return err
						}
						if state.Load() != before {
							continue
						}
						want := before % 3
						if seen[want].Add(1); want == open && status != 200 || want == closed && status != 403 {
							return fmt.Errorf("change %d: %d", before/3, status)
						}
					}
				})
			}
			change := func(i int, to int64, do func()) {
				state.Store(int64(i)*3 + changing)
				do()
				state.Store(int64(i)*3 + to)
				for n := seen[to].Load(); seen[to].Load() < n+2; { // two requests of that state
					select {
					case <-broken.Done():
						return
					default:
						runtime.Gosched()
					}
				}
			}
			const past, future = "2020-01-01", "2099-01-01"
			for i := range 2 {
				change(10*i, open, func() { set("", future, "r") })
				change(10*i+1, closed, func() { set("", future, "d") })
				change(10*i+2, open, func() { set(past, future, "r") })
				change(10*i+3, closed, func() { set("", past, "r") })
				change(10*i+4, open, func() { set("", future, "rd") })
				change(10*i+5, closed, func() { p.owner(c.addr, "PUT", c.resource+c.acl, "") })
				change(10*i+6, open, func() { set("", future, "r") })
				change(10*i+7, closed, func() { set("2098-01-01", future, "r") })
			}
			close(stop)
			require.NoError(t, readers.Wait())
		})
	}
}
