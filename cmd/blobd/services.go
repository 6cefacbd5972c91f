package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth/gate"
	"github.com/blobd/blobd/internal/blob"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/server"
)

// services builds what the requests are for. stop ends their background work; it is called when no request is left, before
// the store is closed.
func (c *serveCommand) services(ctx context.Context, store engine.Store, configured []*account.Account, log *zap.Logger) (b server.Backend, stop func() error, err error) {
	masters, err := c.masterKeys()
	if err != nil {
		return b, nil, err
	}
	registry := account.NewRegistry()
	accounts, err := account.OpenStore(ctx, store, registry, masters)
	if err != nil {
		return b, nil, err
	}
	for _, a := range configured {
		if err := accounts.Configure(ctx, a); err != nil {
			return b, nil, err
		}
	}
	blobs := blob.New(blob.Options{Store: store, Accounts: accounts, Logger: log})
	authorizer := gate.New(gate.Options{Blob: blobs, StrictVersions: c.StrictVersions})
	blobs.Authorize(authorizer)
	stop = func() error { return errors.Join(blobs.Close()) }
	return server.Backend{Accounts: registry, Blob: blobs, Store: store}, stop, nil
}

// masterKeys reads the keys under which account keys are kept.
func (c *serveCommand) masterKeys() ([][]byte, error) {
	if c.MasterKeyFile == "" {
		return nil, nil
	}
	text, err := os.ReadFile(c.MasterKeyFile)
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	keys, err := account.ParseMasters(string(text))
	if err == nil && len(keys) == 0 {
		err = errors.New("the file holds none")
	}
	if err != nil {
		return nil, fmt.Errorf("master key in %s: %w", c.MasterKeyFile, err)
	}
	return keys, nil
}
