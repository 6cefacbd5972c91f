package main

import (
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/server"
)

// services builds what the requests are for. stop ends their background work; it is called when no request is left, before
// the store is closed.
func services(store engine.Store, accounts []*account.Account, _ *zap.Logger) (b server.Backend, stop func()) {
	b = server.Backend{Accounts: account.NewRegistry(accounts...), Store: store}
	return b, func() {}
}
