// Command bench measures blobd beside its peer and beside what the machine allows, in one run.
//
//	go run ./bench                    the whole: about half an hour
//	go run ./bench --quick            a look: a few minutes
//	go run ./bench --workloads 'get'  only what matches
//	go run ./bench scale              a fill of a million
//	go run ./bench compare A.json B.json
//
// It fails (exit code 1) if any server gave an error or a wrong byte.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/blobd/blobd/bench/ceiling"
	"github.com/blobd/blobd/bench/fleet"
	"github.com/blobd/blobd/bench/result"
)

var cli struct {
	Run     runCommand     `cmd:"" default:"withargs" help:"Measure."`
	Scale   scaleCommand   `cmd:"" help:"Fill blobd with a million blobs and a million entities and watch it grow."`
	Compare compareCommand `cmd:"" help:"Compare two runs."`
	Report  reportCommand  `cmd:"" help:"Draw a run's picture again from its JSON file."`
	Table   tableCommand   `cmd:"" help:"Print a run as the tables of docs/performance.md."`
	Ceiling ceilingCommand `cmd:"" hidden:"" help:"Run as one of the ceilings."`
}

func main() {
	k := kong.Parse(&cli, kong.Name("bench"), kong.UsageOnError())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	k.BindTo(ctx, (*context.Context)(nil))
	if err := k.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type compareCommand struct {
	Before string `arg:"" help:"JSON file of the run before."`
	After  string `arg:"" help:"JSON file of the run after."`
}

func (c *compareCommand) Run() error {
	a, err := result.Load(c.Before)
	if err != nil {
		return err
	}
	b, err := result.Load(c.After)
	if err != nil {
		return err
	}
	if worse := result.Diff(os.Stdout, a, b); worse > 0 {
		return fmt.Errorf("%d figures became worse", worse)
	}
	return nil
}

type reportCommand struct {
	JSON string `arg:"" help:"JSON file of a run."`
	HTML string `arg:"" help:"Where the page goes."`
}

func (c *reportCommand) Run() error {
	r, err := result.Load(c.JSON)
	if err != nil {
		return err
	}
	return writeHTML(r, c.HTML)
}

type tableCommand struct {
	JSON []string `arg:"" help:"JSON files of runs."`
}

func (c *tableCommand) Run() error {
	for _, path := range c.JSON {
		r, err := result.Load(path)
		if err != nil {
			return err
		}
		r.Markdown(os.Stdout)
	}
	return nil
}

func writeHTML(r *result.Run, path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := r.HTML(f); err != nil {
		_ = f.Close()
		return fmt.Errorf("draw %s: %w", path, err)
	}
	return f.Close()
}

type ceilingCommand struct {
	Mode string `arg:""`
	Data string
}

func (c *ceilingCommand) Run(ctx context.Context) error {
	s, err := ceiling.New(c.Mode, c.Data)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", fleet.AnyPort)
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	select {
	case err = <-done:
	case <-ctx.Done():
	}
	if e := s.Close(); err == nil {
		err = e
	}
	return err
}
