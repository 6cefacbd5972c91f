package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/blobd/blobd/internal/blob/check"
	blobstore "github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/engine/local"
	"github.com/blobd/blobd/internal/table"
	"github.com/blobd/blobd/internal/usage"
)

// checkCommand has a store held against itself. It changes nothing.
type checkCommand struct {
	managed  `embed:""`
	Offline  bool `help:"Check the store in --data, which no server has open, and not that of a running server."`
	dataFlag `embed:""`
	Deep     bool `help:"Read all content too, which else is only looked for, and compare it with the sums in the records."`
	JSON     bool `help:"Print the report in JSON."`
}

// Run checks, and fails if anything was found.
func (c *checkCommand) Run(ctx context.Context, o *output) error {
	check := c.online
	if c.Offline {
		check = c.offline
	}
	rep, err := check(ctx, o)
	if err != nil {
		return err
	}
	if c.JSON {
		err = json.NewEncoder(o.out).Encode(rep)
	} else {
		err = printReport(o.out, rep)
	}
	if err == nil && rep.Found > 0 {
		err = fmt.Errorf("%d things are not as they should be", rep.Found)
	}
	return err
}

// online has a running server check its store.
func (c *checkCommand) online(ctx context.Context, _ *output) (*check.Report, error) {
	c.Timeout = max(c.Timeout, 30*24*time.Hour) // it takes as long as the reading does
	status, body, err := c.ask(ctx, http.MethodPost, fmt.Sprintf("/check?deep=%t", c.Deep))
	if err != nil {
		return nil, fmt.Errorf("%w (--offline checks a store that no server has open)", err)
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("the server answers with status %d: %s", status, strings.TrimSpace(string(body)))
	}
	var rep check.Report
	if err := json.Unmarshal(body, &rep); err != nil || !rep.Complete {
		return nil, fmt.Errorf("%s is not blobd's management address", c.ManagementAddr)
	}
	return &rep, nil
}

// openStill opens a store that nobody serves, without a change to its disks.
func openStill(dirs []string, o *output) (*local.Store, error) {
	files, err := descriptors(len(dirs))
	if err != nil {
		return nil, err
	}
	store, err := local.Open(local.Options{Dirs: dirs, Still: true, Logger: newLogger(o.err), MaxFiles: files.store})
	if err != nil {
		return nil, fmt.Errorf("open the data in %s: %w", strings.Join(dirs, ", "), err)
	}
	return store, nil
}

// offline checks a store that nobody serves.
func (c *checkCommand) offline(ctx context.Context, o *output) (_ *check.Report, err error) {
	store, err := openStill(c.Data, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return check.Check(ctx, store, check.Options{Deep: c.Deep, Usage: []usage.Source{blobstore.CountUse, table.CountUse}})
}

// printReport writes what a check found in words.
func printReport(w io.Writer, rep *check.Report) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%d containers, %d blobs, %d snapshots, versions and soft-deleted blobs, %d chunks of %s\n", rep.Containers, rep.Blobs, rep.History, rep.Chunks, amount(rep.Bytes))
	if rep.Deep {
		fmt.Fprintf(&b, "%s of content were read\n", amount(rep.Read))
	} else {
		fmt.Fprintln(&b, "content was looked for and not read: --deep reads it")
	}
	for _, f := range rep.Findings {
		loses := ""
		if f.Loses {
			loses = " (content is lost, or may get lost)"
		}
		fmt.Fprintf(&b, "%s: %s: %s%s\n", f.Kind, f.Where, f.Detail, loses)
	}
	if more := rep.Found - int64(len(rep.Findings)); more > 0 {
		fmt.Fprintf(&b, "and %d more\n", more)
	}
	if rep.Found == 0 {
		fmt.Fprintln(&b, "nothing is wrong")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
