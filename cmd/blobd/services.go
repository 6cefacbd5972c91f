package main

import (
	"context"
	"fmt"

	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth/gate"
	"github.com/blobd/blobd/internal/blob"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/server"
	"github.com/blobd/blobd/internal/table"
)

// services builds what the requests are for. stop ends their background work; it is called when no request is left, before
// the store is closed.
func services(ctx context.Context, store engine.Store, accounts []*account.Account, log *zap.Logger) (b server.Backend, stop func(), err error) {
	registry := account.NewRegistry()
	kept, err := account.OpenStore(ctx, store, registry, nil)
	if err != nil {
		return b, nil, err
	}
	for _, a := range accounts {
		if err := kept.Configure(ctx, a); err != nil {
			return b, nil, fmt.Errorf("account %s: %w", a.Name, err)
		}
	}
	blobs := blob.New(blob.Options{Store: store, Accounts: kept, Logger: log.Named("blob")})
	tables := table.New(table.Options{Store: store, Accounts: kept, Logger: log.Named("table")})
	decide := gate.New(gate.Options{Blob: blobs, Table: tables})
	blobs.Authorize(decide)
	tables.Authorize(decide)
	stop = func() {
		tables.Close()
		if err := blobs.Close(); err != nil {
			log.Error("stop the Blob service", zap.Error(err))
		}
	}
	return server.Backend{Accounts: registry, Blob: blobs, Table: tables, Store: store}, stop, nil
}
