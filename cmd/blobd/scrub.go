package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/blobd/blobd/internal/server"
)

// scrubCommand tells of the scrub of a running server, and steers it.
type scrubCommand struct {
	Status scrubStatusCommand `cmd:"" default:"withargs" help:"Tell how far it is and what it found. This is what scrub does when nothing else is said."`
	Start  scrubStartCommand  `cmd:"" help:"Begin a pass now, or go on with the one that was paused."`
	Pause  scrubPauseCommand  `cmd:"" help:"Read nothing until the next start, also after a restart of the server."`
}

type scrubStatusCommand struct {
	managed `embed:""`
	JSON    bool `help:"Print what the server says, in JSON."`
	Watch   bool `help:"Show the progress until the pass has ended."`
}

type scrubStartCommand struct {
	managed `embed:""`
}

type scrubPauseCommand struct {
	managed `embed:""`
}

// askScrub asks for the scrub, or steers it.
func (m *managed) askScrub(ctx context.Context, method, query string) (s server.Scrub, body []byte, err error) {
	status, body, err := m.ask(ctx, method, "/scrub"+query)
	if err != nil {
		return s, nil, err
	}
	if status != http.StatusOK {
		return s, nil, fmt.Errorf("the server answers with status %d: %s", status, strings.TrimSpace(string(body)))
	}
	if err := json.Unmarshal(body, &s); err != nil || s.State == "" {
		return s, nil, fmt.Errorf("%s is not blobd's management address", m.ManagementAddr)
	}
	return s, body, nil
}

// Run prints the state once or, if it is to watch, until nothing is read any more.
func (c *scrubStatusCommand) Run(ctx context.Context, o *output) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		s, body, err := c.askScrub(ctx, http.MethodGet, "")
		if err != nil {
			return err
		}
		moves := c.Watch && s.State == "running"
		switch {
		case c.JSON:
			_, err = o.out.Write(body)
		case moves && terminal(o.out):
			_, err = fmt.Fprintf(o.out, "\r%s\x1b[K", progress(s, true))
		case moves:
			_, err = fmt.Fprintln(o.out, progress(s, false))
		default:
			if c.Watch && terminal(o.out) {
				_, _ = fmt.Fprint(o.out, "\r\x1b[K")
			}
			err = printScrub(o.out, s, time.Now())
		}
		if err != nil || !moves {
			return err
		}
		select {
		case <-ctx.Done():
			_, err = fmt.Fprintln(o.out)
			return err
		case <-tick.C:
		}
	}
}

// Run begins a pass.
func (c *scrubStartCommand) Run(ctx context.Context, o *output) error {
	return c.steer(ctx, o, "start")
}

// Run pauses.
func (c *scrubPauseCommand) Run(ctx context.Context, o *output) error {
	return c.steer(ctx, o, "pause")
}

func (m *managed) steer(ctx context.Context, o *output, do string) error {
	s, _, err := m.askScrub(ctx, http.MethodPost, "?do="+do)
	if err != nil {
		return err
	}
	if do == "start" && s.State != "running" {
		s.State = "starting"
	}
	_, err = fmt.Fprintln(o.out, s.State)
	return err
}

// terminal tells whether a person looks at what is written.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

const barWidth = 40

// progress is a line on a pass, with a bar for a terminal.
func progress(s server.Scrub, bar bool) string {
	done := min(1, float64(s.Read)/float64(max(1, s.Total)))
	line := fmt.Sprintf("pass %d: %3.0f %% of about %s, %d found, %d healed, %d lost", s.Pass, 100*done, amount(s.Total), s.Found, s.Healed, s.Lost)
	if !bar {
		return line
	}
	n := int(done * barWidth)
	return "[" + strings.Repeat("#", n) + strings.Repeat(".", barWidth-n) + "] " + line
}

// printScrub writes the state in words.
func printScrub(w io.Writer, s server.Scrub, now time.Time) error {
	var b strings.Builder
	rate := "at most " + amount(s.Rate) + " a second"
	if s.Rate == 0 {
		rate = "nothing is read unless it is asked for (--scrub-rate 0)"
	}
	fmt.Fprintf(&b, "%s; %s\n", s.State, rate)
	if s.Pass > 0 {
		fmt.Fprintln(&b, progress(s, terminal(w)))
	}
	if s.Finished == nil {
		fmt.Fprintln(&b, "no pass has come to its end yet")
	} else {
		fmt.Fprintf(&b, "last full pass: %s, %s ago\n", s.Finished.Format(time.RFC3339), now.Sub(*s.Finished).Round(time.Minute))
	}
	if s.DamagedAll == 0 {
		fmt.Fprintln(&b, "nothing is known to be damaged for good")
	} else {
		fmt.Fprintf(&b, "damaged for good: %d\n", s.DamagedAll)
	}
	for _, d := range s.Damaged {
		fmt.Fprintf(&b, "  %s\n", d.What)
		for _, name := range d.Names {
			fmt.Fprintf(&b, "    %s\n", name)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// amount is a number of bytes as people say it.
func amount(n int64) string {
	const units = "KMGTPE"
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	v, u := float64(n)/(1<<10), 0
	for v >= 1024 && u < len(units)-1 {
		v, u = v/1024, u+1
	}
	return fmt.Sprintf("%.3g %ciB", v, units[u])
}
