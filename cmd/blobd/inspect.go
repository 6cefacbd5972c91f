package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/blobd/blobd/internal/engine/inspect"
	"github.com/blobd/blobd/internal/engine/local"
	"github.com/blobd/blobd/internal/keyspace"
)

// inspectCommand tells what a file of a store, or its key space, holds. It only reads.
type inspectCommand struct {
	What string   `arg:"" optional:"" help:"A file of a store or, with --data, what the keys begin with: blob/ACCOUNT/CONTAINER/." placeholder:"PATH"`
	Data []string `help:"Tell of the keys of the store in these directories, which no server has open." env:"-" placeholder:"DIR,..."`
	JSON bool     `help:"Print an object for each part or key, a line each."`
}

// Run prints what there is, and fails if any of it is not as it should be.
func (c *inspectCommand) Run(ctx context.Context, o *output) (err error) {
	w := bufio.NewWriter(o.out)
	defer func() { err = errors.Join(err, w.Flush()) }()
	wrong := 0
	visit := func(i *inspect.Item) error {
		if i.Wrong != "" {
			wrong++
		}
		return c.print(w, i)
	}
	switch {
	case len(c.Data) > 0:
		err = c.keys(ctx, o, visit)
	case c.What == "":
		return usageError{errors.New("inspect: name a file of a store, or its directories with --data")}
	default:
		err = local.Inspect(ctx, c.What, visit)
	}
	if err == nil && wrong > 0 {
		err = fmt.Errorf("%d parts are not as they should be", wrong)
	}
	return err
}

func (c *inspectCommand) print(w io.Writer, i *inspect.Item) error {
	if !c.JSON {
		_, err := fmt.Fprintln(w, i)
		return err
	}
	return json.NewEncoder(w).Encode(i)
}

// keys tells of the keys of a store that nobody serves.
func (c *inspectCommand) keys(ctx context.Context, o *output, visit inspect.Visit) (err error) {
	store, err := openStill(c.Data, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return keyspace.List(ctx, store, c.What, visit)
}
