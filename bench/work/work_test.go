package work

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/bench/ceiling"
	"github.com/blobd/blobd/bench/fleet"
)

// TestMain lets the test binary be a ceiling, as the bench's own binary is.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "ceiling" {
		serveCeiling(os.Args[2], os.Args[4]) // ceiling MODE --data DIR
		return
	}
	os.Exit(m.Run())
}

func serveCeiling(mode, dir string) {
	s, err := ceiling.New(mode, dir)
	if err == nil {
		var l net.Listener
		if l, err = net.Listen("tcp", fleet.AnyPort); err == nil {
			fmt.Println(l.Addr())
			stop := make(chan os.Signal, 1)
			signal.Notify(stop, syscall.SIGTERM)
			go func() { <-stop; _ = s.Close() }()
			err = s.Serve(l)
		}
	}
	if err != nil {
		println(err.Error())
		os.Exit(1)
	}
}

// Every workload runs against its ceilings, in a process of its own, and brings back figures that can be.
func TestWorkloadsOnCeilings(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	targets := map[string]*Target{}
	for _, g := range []Group{Small(), Large(), List(), Table(), Page()} {
		for _, w := range g.Workloads {
			for _, mode := range w.Ceilings {
				target := targets[mode]
				if target == nil {
					s, err := fleet.Start(context.Background(), fleet.Ceiling(self, mode), t.TempDir())
					require.NoError(t, err)
					t.Cleanup(func() { require.NoError(t, s.Stop()) })
					target = NewTarget(s, Fill{Small: 100, Names: 100})
					targets[mode] = target
				}
				w.MaxOps = 2
				turn, err := w.Run(context.Background(), target, 2, Limit{Time: 20 * time.Second, Bytes: 128 << 20})
				require.NoError(t, err)
				require.NoError(t, turn.Err, "%s on %s", w.Name, mode)
				require.Positive(t, turn.Ops, w.Name)
				require.Positive(t, turn.CPU, w.Name)
				require.Positive(t, turn.PeakRSS, w.Name)
				require.Equal(t, turn.Ops*int64(w.Bytes), turn.Bytes)
			}
		}
	}
}

// What a server gets wrong fails the turn: here one that stores nothing is asked for what it was given.
func TestWrongBytesFailTheTurn(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	spec := fleet.Ceiling(self, "network")
	spec.Ceiling = false // judge it as a real server
	s, err := fleet.Start(context.Background(), spec, t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Stop()) })
	target := NewTarget(s, Fill{Small: 100, Names: 100})
	for _, g := range []Group{List(), Table(), Page()} {
		for _, w := range g.Workloads {
			w.MaxOps = 2
			turn, err := w.Run(context.Background(), target, 1, Limit{Time: 20 * time.Second, Bytes: 1 << 20})
			require.NoError(t, err)
			require.Error(t, turn.Err, w.Name)
			require.Positive(t, turn.Errors, w.Name)
		}
	}
}

func TestPausedServerTakesNoTime(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	s, err := fleet.Start(context.Background(), fleet.Ceiling(self, "network"), t.TempDir())
	require.NoError(t, err)
	require.NoError(t, s.Pause())
	require.NoError(t, s.Settle(context.Background(), time.Minute)) // its threads stop one after the other
	before, err := s.Usage()
	require.NoError(t, err)
	target := NewTarget(s, Fill{})
	c := newClient(target, 0, 0)
	defer c.close()
	answered := make(chan error)
	go func() { answered <- c.warm() }()
	after, err := s.Usage()
	require.NoError(t, err)
	require.Equal(t, before.CPU, after.CPU)
	require.NoError(t, s.Resume())
	require.NoError(t, <-answered)
	stop, start, err := s.Restart(context.Background())
	require.NoError(t, err)
	require.Positive(t, stop)
	require.Positive(t, start)
	require.NoError(t, s.Stop())
	require.ErrorContains(t, s.Stop(), "had ended before")
}
