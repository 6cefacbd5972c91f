package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/arm"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/auth/bearer"
	"github.com/blobd/blobd/internal/auth/gate"
	"github.com/blobd/blobd/internal/blob"
	blobstore "github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/server"
	"github.com/blobd/blobd/internal/table"
	"github.com/blobd/blobd/internal/usage"
)

// services builds what the requests are for. stop ends their background work; it is called when no request is left, before
// the store is closed.
func (c *serveCommand) services(ctx context.Context, store engine.Store, configured []*account.Account, initials []initial, tokens *bearer.Config, srv *server.Server, log *zap.Logger) (b server.Backend, stop func() error, err error) {
	masters, err := c.masters()
	if err != nil {
		return b, nil, err
	}
	if err := usage.Ensure(ctx, store, blobstore.CountUse, table.CountUse); err != nil {
		return b, nil, err
	}
	registry := account.NewRegistry()
	accounts, err := account.OpenStore(ctx, store, registry, masters)
	if err != nil {
		return b, nil, err
	}
	manager, err := c.openManager(ctx, store, accounts, srv)
	if err != nil {
		return b, nil, err
	}
	var forgetContainer, forgetTable func(ctx context.Context, account, name string) error
	if manager != nil {
		tokens = manager.tokens()
		forgetContainer, forgetTable = arm.Forget(manager.directory, accounts, auth.Blob), arm.Forget(manager.directory, accounts, auth.Table)
	}
	options := gate.Options{StrictVersions: c.StrictVersions}
	if tokens != nil {
		directory, err := bearer.OpenDirectory(ctx, store)
		if err != nil {
			return b, nil, err
		}
		if options.Bearer, err = bearer.New(*tokens, directory); err != nil {
			return b, nil, err
		}
	}
	blobs := blob.New(blob.Options{Store: store, Accounts: accounts, Logger: log, PrivateSources: c.PrivateCopySources, ClosedSources: closedSources(srv), Forget: forgetContainer})
	tables := table.New(table.Options{Store: store, Accounts: accounts, Logger: log, Forget: forgetTable})
	options.Blob, options.Table = blobs, tables
	authorizer := gate.New(options)
	blobs.Authorize(authorizer)
	tables.Authorize(authorizer)
	accounts.Retain(time.Duration(c.AccountRetention) * 24 * time.Hour)
	eraser := accounts.Erase(log, blobs.DeleteAccount, tables.DeleteAccount)
	var operators *operators
	stop = func() error {
		operators.close()
		eraser.Close()
		tables.Close()
		err := blobs.Close()
		if manager != nil {
			err = errors.Join(err, manager.daily.Close())
		}
		return err
	}
	if manager != nil {
		manager.daily.Start(log)
	}
	for _, a := range configured {
		err := accounts.Erased(ctx, a.Name)
		if err == nil {
			err = accounts.Configure(ctx, a)
		}
		if err != nil {
			return b, nil, errors.Join(err, stop())
		}
	}
	if err := makeInitials(ctx, initials, blobs, tables); err != nil {
		return b, nil, errors.Join(err, stop())
	}
	b = server.Backend{Accounts: registry, Blob: blobs, Table: tables, Store: store, Reset: resetter(configured, initials, accounts, blobs, tables)}
	commands := http.NewServeMux()
	commands.HandleFunc("/backup", serveBackup(store, log))
	commands.HandleFunc("/export", serveFiles(exportFiles, registry, blobs.Blobs(), tables))
	commands.HandleFunc("/import", serveFiles(importFiles, registry, blobs.Blobs(), tables))
	commands.HandleFunc("/import/azurite", serveAzurite(registry, blobs.Blobs(), tables))
	if manager == nil {
		commands.HandleFunc("/", noManager)
	} else {
		resources := arm.New(arm.Options{
			Directory: manager.directory, Issuer: manager.issuer, Accounts: accounts, Blobs: blobs.Blobs(), Tables: tables, Base: manager.base, Location: c.ArmLocation,
			Suffix: c.suffix(srv), Endpoint: c.endpoint(srv), Entra: c.ArmEntra, Log: log, Now: time.Now,
			Actor: server.NoteActor,
		})
		b.ResourceManager = srv.Audited("resources", "", resources)
		commands.Handle("/", manager.commands(c, accounts, resources, log))
	}
	if c.InMemory && c.OperatorSocket == "" {
		return b, stop, nil // there is no directory for a socket
	}
	operators, err = serveOperators(socketIn(c.OperatorSocket, c.Data), srv.Audited("operator", "operator", commands), log)
	switch {
	case err == nil:
	case c.OperatorSocket != "":
		return b, nil, errors.Join(fmt.Errorf("operator's socket: %w", err), stop())
	default:
		// The first disk may be dead, and the store is served without it.
		log.Warn("the operator's commands are not served: give --operator-socket", zap.Error(err))
	}
	return b, stop, nil
}

// closedSources are the addresses where the server is managed, which no copy reads.
func closedSources(srv *server.Server) (addrs []netip.AddrPort) {
	if srv == nil {
		return nil
	}
	if a, ok := srv.ManagementAddr().(*net.TCPAddr); ok {
		addrs = append(addrs, a.AddrPort())
	}
	if a, ok := srv.ResourceManagerAddr().(*net.TCPAddr); ok {
		addrs = append(addrs, a.AddrPort())
	}
	return addrs
}
