package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/blob"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/table"
)

// initial is a container or table that is to be there from the start.
type initial struct {
	flag, text    string // as it was given
	account, name string
	public        auth.PublicAccess
	table         bool
}

// initials reads --container and --table.
func (c *serveCommand) initials(accounts []*account.Account) (all []initial, err error) {
	for _, text := range c.Container {
		name, level, given := strings.Cut(text, "=")
		i := initial{flag: "--container", text: text, name: name}
		switch {
		case !given:
		case level == "blob":
			i.public = auth.PublicBlob
		case level == "container":
			i.public = auth.PublicContainer
		default:
			return nil, fmt.Errorf("--container %s: the level of anonymous access is blob or container", text)
		}
		all = append(all, i)
	}
	for _, text := range c.Table {
		all = append(all, initial{flag: "--table", text: text, name: text, table: true})
	}
	for n := range all {
		i := &all[n]
		before, after, found := strings.Cut(i.name, "/")
		if !found && len(accounts) == 0 {
			return nil, fmt.Errorf("%s %s: there is no account: give --account or --dev-account, or make it by the resource manager", i.flag, i.text)
		}
		if !found {
			i.account = accounts[0].Name
			continue
		}
		i.account, i.name = before, after
		known := false
		for _, a := range accounts {
			known = known || a.Name == i.account
		}
		if !known {
			return nil, fmt.Errorf("%s %s: there is no account %s among those that are given", i.flag, i.text, i.account)
		}
	}
	return all, nil
}

// makeInitials makes what is not there. What is there stays as it is.
func makeInitials(ctx context.Context, all []initial, blobs *blob.Service, tables *table.Service) (err error) {
	for _, i := range all {
		if i.table {
			err = tables.CreateTable(ctx, i.account, i.name)
		} else {
			err = blobs.CreateContainer(ctx, i.account, i.name, i.public)
		}
		var refused *protocol.Error
		switch {
		case err == nil, errors.Is(err, protocol.ErrContainerAlreadyExists), errors.Is(err, protocol.ErrTableAlreadyExists):
		case errors.As(err, &refused):
			return usageError{fmt.Errorf("%s %s: %s", i.flag, i.text, refused.Message)}
		default:
			return fmt.Errorf("%s %s: %w", i.flag, i.text, err)
		}
	}
	return nil
}
