package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/blob"
	"github.com/blobd/blobd/internal/table"
)

// resetCommand has a running server empty the emulator's account, as between two tests.
type resetCommand struct {
	managed `embed:""`
}

// Run returns when the account is as it was at the first start.
func (c *resetCommand) Run(ctx context.Context, _ *output) error {
	status, body, err := c.ask(ctx, http.MethodPost, "/reset")
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("the server refuses, with status %d: %s", status, strings.TrimSpace(string(body)))
	}
	return err
}

// resetter returns what empties the emulator's account and makes again what it has from the start; nil where that account is not served.
// Everybody knows its key, so there is nothing in it that anybody who reaches the server could not delete. No other account is touched.
func resetter(configured []*account.Account, initials []initial, accounts *account.Store, blobs *blob.Service, tables *table.Service) func(context.Context) error {
	is := func(a *account.Account) bool {
		return a.Name == account.DevName && len(a.Keys) > 0 && a.Keys[0].Base64() == account.DevKey
	}
	if !slices.ContainsFunc(configured, is) {
		return nil
	}
	own := slices.DeleteFunc(slices.Clone(initials), func(i initial) bool { return i.account != account.DevName })
	var one sync.Mutex
	return func(ctx context.Context) error {
		one.Lock()
		defer one.Unlock()
		for _, empty := range []func(context.Context, string) error{blobs.DeleteAccount, tables.DeleteAccount} {
			if err := empty(ctx, account.DevName); err != nil {
				return err
			}
		}
		first := account.Development(time.Now())
		if err := accounts.Change(ctx, account.DevName, func(a *account.Account) error {
			a.Blob, a.Table = first.Blob, first.Table
			return nil
		}); err != nil {
			return err
		}
		return makeInitials(ctx, own, blobs, tables)
	}
}
