package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/blobd/blobd/internal/engine/local"
)

// diskCommand is about the disks of a store.
type diskCommand struct {
	List    diskListCommand    `cmd:"" help:"List the disks of the store in the data directories. It changes nothing; a server may be running."`
	Replace diskReplaceCommand `cmd:"" help:"Take empty data directories in the place of disks that are lost for good. The server is stopped meanwhile; what was on the disks is rebuilt while it serves again, or with --wait before."`
}

// dataFlag says where a store is.
type dataFlag struct {
	Data []string `help:"Data directory; give one for each disk (default: ${default})." default:"${default_data}" placeholder:"DIR,..."`
}

type diskListCommand struct {
	dataFlag `embed:""`
}

// Run prints a line for each disk, and for each directory that is none. It fails if a disk is not there.
func (c *diskListCommand) Run(o *output) error {
	list, err := local.Disks(local.Options{Dirs: c.Data})
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(o.out, 0, 0, 2, ' ', 0)
	bad := 0
	fmt.Fprintln(w, "DISK\tDIRECTORY\tSTATE")
	for _, d := range list {
		name, dir := d.Name, d.Dir
		if name == "" {
			name = "-"
		}
		if dir == "" {
			dir = "-"
		}
		if d.Name != "" && !d.Good {
			bad++
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", name, dir, d.State)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if bad > 0 {
		return fmt.Errorf("%d of the store's disks are missing or out of date", bad)
	}
	return nil
}

type diskReplaceCommand struct {
	Disks    []string `arg:"" name:"disk" help:"Disks that are lost for good, by the names that disk list has for them. Empty directories among --data take their places in this order."`
	dataFlag `embed:""`
	Wait     bool `help:"Rebuild everything now, and end when nothing is missing."`
	Lossy    bool `help:"Take the directories in although not all content can be rebuilt there: what the lost disks alone had is given up."`
}

// Run takes the directories in.
func (c *diskReplaceCommand) Run(ctx context.Context, o *output) (err error) {
	files, err := descriptors(len(c.Data))
	if err != nil {
		return err
	}
	store, err := local.Open(local.Options{Dirs: c.Data, Existing: true, Replace: c.Disks, Lossy: c.Lossy, Logger: newLogger(o.err), MaxFiles: files.store, ScrubRate: -1})
	if err != nil {
		return fmt.Errorf("open the data in %s: %w", strings.Join(c.Data, ", "), err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if c.Wait {
		if err := rebuild(ctx, store, o); err != nil {
			return err
		}
		_, err = fmt.Fprintln(o.out, "everything is rebuilt: start the server")
		return err
	}
	_, err = fmt.Fprintf(o.out, "%s taken in: start the server, which rebuilds %d extents while it serves; blobd health tells when it is done\n",
		strings.Join(c.Disks, ", "), store.Health().Healing)
	return err
}

// rebuild heals a store and shows how far it is.
func rebuild(ctx context.Context, store *local.Store, o *output) error {
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { done <- store.Heal(ctx) }()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	all := store.Health().Healing
	for {
		select {
		case err := <-done:
			if terminal(o.out) {
				_, _ = fmt.Fprint(o.out, "\r\x1b[K")
			}
			if err == nil {
				if h := store.Health(); h.Healing > 0 || h.Degraded {
					err = fmt.Errorf("not everything could be rebuilt: %s", h.Detail)
				}
			}
			return err
		case <-tick.C:
			left := store.Health().Healing
			if all = max(all, left); terminal(o.out) {
				n := (all - left) * barWidth / max(1, all)
				_, _ = fmt.Fprintf(o.out, "\r[%s%s] %d of %d extents\x1b[K", strings.Repeat("#", n), strings.Repeat(".", barWidth-n), all-left, all)
			}
		}
	}
}
