package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/blobd/blobd/internal/blob/check"
)

// checkCommand has a store held against itself. It changes nothing.
type checkCommand struct {
	managed `embed:""`
	Deep    bool `help:"Read all content too and compare it with the sums in the records."`
	JSON    bool `help:"Print the report in JSON."`
}

// Run asks the server for a check, and fails if it found anything.
func (c *checkCommand) Run(ctx context.Context, o *output) error {
	c.Timeout = max(c.Timeout, 30*24*time.Hour) // it takes as long as the reading does
	status, body, err := c.ask(ctx, http.MethodPost, fmt.Sprintf("/check?deep=%t", c.Deep))
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("the server answers with status %d: %s", status, strings.TrimSpace(string(body)))
	}
	var rep check.Report
	if err := json.Unmarshal(body, &rep); err != nil || !rep.Complete {
		return fmt.Errorf("%s is not blobd's management address", c.ManagementAddr)
	}
	if c.JSON {
		_, err = o.out.Write(body)
	} else {
		err = printReport(o.out, &rep)
	}
	if err == nil && rep.Found > 0 {
		err = fmt.Errorf("%d things are not as they should be", rep.Found)
	}
	return err
}

// printReport writes what a check found in words.
func printReport(w io.Writer, rep *check.Report) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%d containers, %d blobs, %d snapshots, versions and soft-deleted blobs, %d chunks of %s\n", rep.Containers, rep.Blobs, rep.History, rep.Chunks, amount(rep.Bytes))
	if rep.Deep {
		fmt.Fprintf(&b, "%s of content were read\n", amount(rep.Read))
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
