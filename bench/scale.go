package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/blobd/blobd/bench/fleet"
	"github.com/blobd/blobd/bench/result"
	"github.com/blobd/blobd/bench/work"
)

type scaleCommand struct {
	common
	Items   int      `default:"1000000" help:"Blobs, and entities."`
	Looks   int      `default:"10" help:"How often the store is looked at while it grows."`
	Size    int      `default:"4096" help:"Size of a blob, in bytes."`
	Clients int      `default:"32" help:"Clients that fill."`
	Kinds   []string `default:"blobs,entities" enum:"blobs,entities" help:"What is filled in."`
	Disks   int      `default:"1" help:"Data folders of blobd: 1, 3 or 6."`
}

func (c *scaleCommand) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.MaxTime)
	defer cancel()
	s, err := c.begin()
	if err != nil {
		return err
	}
	s.run.Limits = fmt.Sprintf("%d items by %d clients, blobs of %d bytes", c.Items, c.Clients, c.Size)
	s.run.Versions["blobd"] = version(s.Blobd, "version")
	return s.end(c.measure(ctx, s))
}

func (c *scaleCommand) measure(ctx context.Context, s *session) error {
	for _, kind := range c.Kinds {
		server, err := fleet.Start(ctx, s.blobdSpec("blobd", c.Disks), filepath.Join(s.dir, kind))
		if err != nil {
			return err
		}
		t := work.NewTarget(server, work.Fill{})
		err = work.Grow(ctx, t, work.Growth{Kind: kind, Items: c.Items, Looks: c.Looks, Size: c.Size, Clients: c.Clients}, func(l work.Look) {
			s.run.Scale = append(s.run.Scale, scaleRow(kind, t.Name, &l))
			fmt.Fprintf(os.Stderr, "%s: %d, %.0f/s, RSS %d MB\n", kind, l.Items, l.Rate, l.RSS/1e6)
		})
		if err != nil {
			err = fmt.Errorf("%s: %w; its output ends with:\n%s", kind, err, t.LogTail())
		}
		if e := server.Stop(); err == nil {
			err = e
		}
		if e := server.Remove(); err == nil {
			err = e
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func scaleRow(kind, server string, l *work.Look) result.Scale {
	return result.Scale{
		Kind: kind, Server: server, Items: l.Items, OpsPerS: l.Rate, P50: micros(l.P50), P99: micros(l.P99), CPU: micros(l.CPU),
		GetP50: micros(l.GetP50), GetP99: micros(l.GetP99), RSS: float64(l.RSS) / 1e6, PeakRSS: float64(l.PeakRSS) / 1e6,
		DiskPerByte: float64(l.Disk) / float64(l.Content), WritePerByte: float64(l.Written) / float64(l.Content),
		StopMS: millis(l.Stop), StartMS: millis(l.Start), RestartRSS: float64(l.RestartRSS) / 1e6, ListP50: micros(l.ListPage), SmallP50: micros(l.SmallPage), PrefixP50: micros(l.PrefixPage),
	}
}

func micros(d time.Duration) float64 { return float64(d) / 1e3 }

func millis(d time.Duration) float64 { return float64(d) / 1e6 }
