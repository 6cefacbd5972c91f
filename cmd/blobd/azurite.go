package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/azurite"
	"github.com/blobd/blobd/internal/backup"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/table"
)

// azuriteCommand has a running server read the folder of an Azurite.
type azuriteCommand struct {
	Dir            string `arg:"" help:"Azurite's folder (its --location). The server reads there."`
	From           string `help:"Account in the folder; default: the only one that is there." placeholder:"NAME"`
	To             string `help:"Account to import into; default: the one of the same name." placeholder:"NAME"`
	DryRun         bool   `help:"Tell what would be imported, and import nothing."`
	dataFlag       `embed:""`
	OperatorSocket string `help:"Socket of the running server; default: operator.sock in the first data directory." placeholder:"FILE"`
}

// azuriteRequest asks a server for it.
type azuriteRequest struct {
	Dir, From, To string
	DryRun        bool
}

// Run imports, and fails if something could not be imported.
func (c *azuriteCommand) Run(ctx context.Context, o *output) error {
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return err
	}
	a, err := askLong(ctx, o, socketIn(c.OperatorSocket, c.Data), "import/azurite", azuriteRequest{Dir: dir, From: c.From, To: c.To, DryRun: c.DryRun})
	if err != nil {
		return err
	}
	rep := a.Azurite
	if rep == nil {
		return errors.New("the server's answer cannot be read")
	}
	what := "imported"
	if c.DryRun {
		what = "would be imported"
	}
	if _, err := fmt.Fprintf(o.out, "%s from %s to %s: %d containers, %d blobs and %d snapshots of %s; %d tables, %d entities\n",
		what, rep.From, rep.To, rep.Containers, rep.Blobs, rep.Snapshots, amount(rep.Bytes), rep.Tables, rep.Entities); err != nil {
		return err
	}
	if rep.Blocks > 0 {
		if _, err := fmt.Fprintf(o.out, "left out: %d uncommitted blocks\n", rep.Blocks); err != nil {
			return err
		}
	}
	for _, f := range rep.Failures {
		_, _ = fmt.Fprintln(o.err, f)
	}
	if rep.Failed > 0 {
		return fmt.Errorf("%d containers, blobs, snapshots, tables or entities cannot be imported", rep.Failed)
	}
	return nil
}

// serveAzurite imports for the operator.
func serveAzurite(registry *account.Registry, blobs *store.Service, tables *table.Service) http.HandlerFunc {
	return long(func(ctx context.Context, body io.Reader, show func(backup.Progress)) (*longAnswer, error) {
		var q azuriteRequest
		if err := json.NewDecoder(body).Decode(&q); err != nil || !filepath.IsAbs(q.Dir) {
			return nil, errors.New("the request cannot be read")
		}
		done := int64(0)
		rep, err := azurite.Import(ctx, azurite.Options{
			Blobs: blobs, Tables: tables, Lookup: registry.Lookup, Dir: q.Dir, From: q.From, To: q.To, DryRun: q.DryRun,
			Progress: func(n int64) {
				done += n
				show(backup.Progress{Doing: "copying", Done: done})
			},
		})
		if err != nil {
			return nil, err
		}
		return &longAnswer{Azurite: rep}, nil
	})
}
