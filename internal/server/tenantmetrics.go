package server

import (
	"cmp"
	"slices"
	"strings"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/usage"
)

const ofAccounts = " of an account, for as many as --metrics-accounts says: those with the most requests since the start; absent without it."

var (
	accountRequests = counter("blobd_account_requests_total", "Authorized requests"+ofAccounts, "account")
	accountReceived = counter("blobd_account_received_bytes_total", "Bytes of request bodies"+ofAccounts, "account")
	accountSent     = counter("blobd_account_sent_bytes_total", "Bytes of response bodies"+ofAccounts, "account")
	accountHeld     = gauge("blobd_account_held_bytes", "Bytes held"+ofAccounts, "account")
)

// showAccounts shows the accounts with the most requests, so many and no more: each is a few series in whatever reads them.
func showAccounts(registry *account.Registry, most int, show shower) {
	type busy struct {
		*account.Account
		usage.Passed
	}
	var all []busy
	for _, a := range registry.All() {
		all = append(all, busy{a, a.Meter.Passed()})
	}
	slices.SortFunc(all, func(a, b busy) int {
		return cmp.Or(cmp.Compare(b.Passed.Requests, a.Passed.Requests), strings.Compare(a.Name, b.Name))
	})
	for _, a := range all[:min(most, len(all))] {
		show(accountRequests, float64(a.Passed.Requests), a.Name)
		show(accountReceived, float64(a.Passed.Received), a.Name)
		show(accountSent, float64(a.Passed.Sent), a.Name)
		show(accountHeld, float64(a.Meter.Bytes()), a.Name)
	}
}
