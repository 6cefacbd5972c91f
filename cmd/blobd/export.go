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
	"github.com/blobd/blobd/internal/blob/files"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/table"
)

// filesCommand has a running server copy the blobs of an account to plain files, or from them.
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

// filesRequest asks a server for an export or an import.
type filesRequest struct{ Account, Dir string }

// Run exports, and fails if a blob could not be copied.
func (c *exportCommand) Run(ctx context.Context, o *output) error {
	rep, err := c.ask(ctx, o, "export")
	if err != nil {
		return err
	}
	if rep.History+rep.Blocks+rep.Tables > 0 {
		if _, err := fmt.Fprintf(o.out, "left out: %d snapshots and versions, %d names with uncommitted blocks only, %d tables\n", rep.History, rep.Blocks, rep.Tables); err != nil {
			return err
		}
	}
	for _, f := range rep.Failures {
		_, _ = fmt.Fprintln(o.err, f)
	}
	if rep.Failed > 0 {
		return fmt.Errorf("%d blobs could not be copied", rep.Failed)
	}
	return nil
}

// Run imports.
func (c *importCommand) Run(ctx context.Context, o *output) error {
	_, err := c.ask(ctx, o, "import")
	return err
}

// filesReport is what was copied, and the tables that were not.
type filesReport struct {
	files.Report
	Tables int64 `json:"tables"`
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
	_, err = fmt.Fprintf(o.out, "%d containers, %d blobs of %s\n", a.Files.Containers, a.Files.Blobs, amount(a.Files.Bytes))
	return a.Files, err
}

// serveFiles copies blobs to files, or from them, for the operator.
func serveFiles(do func(context.Context, files.Options) (*files.Report, error), registry *account.Registry, blobs *store.Service, tables *table.Service) http.HandlerFunc {
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
		rep, err := do(ctx, files.Options{Blobs: blobs, Account: a, Dir: q.Dir, Progress: func(n int64) {
			done += n
			show(backup.Progress{Doing: "copying", Done: done})
		}})
		if err != nil {
			return nil, err
		}
		all := &filesReport{Report: *rep}
		for from := ""; ; {
			from, err = tables.Tables(ctx, a.Name, from, func(string) bool { all.Tables++; return true })
			if err != nil || from == "" {
				return &longAnswer{Files: all}, err
			}
		}
	})
}
