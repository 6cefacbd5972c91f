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
	"github.com/blobd/blobd/internal/backup"
	blobfiles "github.com/blobd/blobd/internal/blob/files"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/table"
	tablefiles "github.com/blobd/blobd/internal/table/files"
)

// filesCommand has a running server copy an account to plain files, or from them.
type filesCommand struct {
	Account        string `arg:"" help:"Which account."`
	Dir            string `arg:"" help:"Directory with the files. The server reads or writes there."`
	dataFlag       `embed:""`
	OperatorSocket string `help:"Socket of the running server; default: operator.sock in the first data directory." placeholder:"FILE"`
}

type (
	exportCommand struct{ filesCommand }
	importCommand struct{ filesCommand }
)

// importCommands are import, by where from.
type importCommands struct {
	Files   importCommand  `cmd:"" default:"withargs" help:"From the files that export has written. This is what import does when no source is given."`
	Azurite azuriteCommand `cmd:"" help:"From the folder of an Azurite that is stopped: blobs with their snapshots, and tables."`
}

// filesRequest asks a server for an export or an import.
type filesRequest struct{ Account, Dir string }

// Run exports, and fails if a blob could not be copied.
func (c *exportCommand) Run(ctx context.Context, o *output) error {
	rep, err := c.ask(ctx, o, "export")
	if err != nil {
		return err
	}
	if rep.Blobs.Blocks > 0 {
		if _, err := fmt.Fprintf(o.out, "left out: %d names with uncommitted blocks only\n", rep.Blobs.Blocks); err != nil {
			return err
		}
	}
	for _, f := range rep.Blobs.Failures {
		_, _ = fmt.Fprintln(o.err, f)
	}
	if rep.Blobs.Failed > 0 {
		return fmt.Errorf("%d blobs could not be copied", rep.Blobs.Failed)
	}
	return nil
}

// Run imports.
func (c *importCommand) Run(ctx context.Context, o *output) error {
	_, err := c.ask(ctx, o, "import")
	return err
}

// filesReport is what was copied.
type filesReport struct {
	Blobs  blobfiles.Report  `json:"blobs"`
	Tables tablefiles.Report `json:"tables"`
}

func (c *filesCommand) ask(ctx context.Context, o *output, command string) (*filesReport, error) {
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, err
	}
	a, err := askLong(ctx, o, socketIn(c.OperatorSocket, c.Data), command, filesRequest{Account: c.Account, Dir: dir})
	if err != nil {
		return nil, err
	}
	if a.Files == nil {
		return nil, errors.New("the server's answer cannot be read")
	}
	b, t := &a.Files.Blobs, &a.Files.Tables
	_, err = fmt.Fprintf(o.out, "%d containers, %d blobs, %d snapshots and versions of %s; %d tables of %d entities\n", b.Containers, b.Blobs, b.History, amount(b.Bytes), t.Tables, t.Entities)
	return a.Files, err
}

// filesJob is an export or import under way in the server.
type filesJob struct {
	blobs  blobfiles.Options
	tables tablefiles.Options
}

// serveFiles copies an account to files, or from them, for the operator.
func serveFiles(do func(context.Context, *filesJob) (*filesReport, error), registry *account.Registry, blobs *store.Service, tables *table.Service) http.HandlerFunc {
	return long(func(ctx context.Context, body io.Reader, show func(backup.Progress)) (*longAnswer, error) {
		var q filesRequest
		if err := json.NewDecoder(body).Decode(&q); err != nil || !filepath.IsAbs(q.Dir) {
			return nil, errors.New("the request cannot be read")
		}
		a := registry.Lookup(q.Account)
		if a == nil {
			return nil, fmt.Errorf("there is no account %s", q.Account)
		}
		done := int64(0)
		progress := func(n int64) {
			done += n
			show(backup.Progress{Doing: "copying", Done: done})
		}
		rep, err := do(ctx, &filesJob{blobfiles.Options{Blobs: blobs, Account: a, Dir: q.Dir, Progress: progress}, tablefiles.Options{Tables: tables, Account: a.Name, Dir: q.Dir, Progress: progress}})
		if err != nil {
			return nil, err
		}
		return &longAnswer{Files: rep}, nil
	})
}

func exportFiles(ctx context.Context, j *filesJob) (*filesReport, error) {
	b, err := blobfiles.Export(ctx, j.blobs)
	if err != nil {
		return nil, err
	}
	t, err := tablefiles.Export(ctx, j.tables)
	if err != nil {
		return nil, err
	}
	return &filesReport{*b, *t}, nil
}

// importFiles makes all that was exported, or nothing.
func importFiles(ctx context.Context, j *filesJob) (*filesReport, error) {
	t, undo, err := tablefiles.Import(ctx, j.tables)
	if err != nil {
		return nil, err
	}
	b, err := blobfiles.Import(ctx, j.blobs)
	if err == nil && t.Tables == 0 && b.Containers == 0 {
		err = fmt.Errorf("%s holds no container or table that was exported", j.blobs.Dir)
	}
	if err != nil {
		return nil, errors.Join(err, undo())
	}
	return &filesReport{*b, *t}, nil
}
