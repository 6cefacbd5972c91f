package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/blobd/blobd/bench/fleet"
	"github.com/blobd/blobd/bench/result"
	"github.com/blobd/blobd/bench/work"
)

// common are the flags of every command that starts servers.
type common struct {
	Blobd     string        `default:"bin/blobd" help:"The blobd binary."`
	BlobdArgs []string      `sep:"none" help:"Further arguments for blobd serve."`
	Azurite   string        `default:"bench/azurite" help:"Folder with Azurite's package-lock.json."`
	Dir       string        `help:"Where the servers keep their data (a fresh folder is made in it and removed)."`
	Out       string        `default:"bench/results" help:"Where the JSON file and the page go."`
	Name      string        `help:"Name of the result files; the time by default."`
	MaxTime   time.Duration `default:"90m" help:"The run is given up after this."`
	Profile   bool          `help:"Take CPU and allocation profiles of blobd during its turns."`
}

type runCommand struct {
	common
	Quick     bool          `help:"One short turn for each, at the usual number of clients."`
	Servers   string        `help:"Regular expression for the servers: blobd, blobd-2+1, blobd-4+2, azurite, ceiling-network, ceiling-commit, ceiling-file, ceiling-file-crc."`
	Workloads string        `help:"Regular expression for the workloads or their group."`
	Clients   []int         `help:"Numbers of clients, instead of each workload's own."`
	Time      time.Duration `help:"Length of a turn (2s; quick: 1s)."`
	Rounds    int           `help:"Turns of each server (3; quick: 1)."`
	Bytes     int64         `help:"The most content that a turn moves, in MiB (512; quick: 256)."`
	Small     int           `help:"Small blobs and entities that are there to be read (10000; quick: 2000)."`
	Names     int           `help:"Names to list (20000)."`
}

func (c *runCommand) defaults() {
	set(&c.Time, 2*time.Second, time.Second, c.Quick)
	set(&c.Rounds, 3, 1, c.Quick)
	set(&c.Bytes, 512, 256, c.Quick)
	set(&c.Small, 10000, 2000, c.Quick)
	set(&c.Names, 20000, 20000, c.Quick)
}

func set[T comparable](v *T, whole, quick T, isQuick bool) {
	var zero T
	if *v == zero {
		*v = whole
		if isQuick {
			*v = quick
		}
	}
}

// session is what a command needs to run servers.
type session struct {
	common
	dir  string // of this run
	self string
	run  *result.Run
	base string // path of the result files without ending
}

// begin makes the folders and looks at the machine.
func (c *common) begin() (*session, error) {
	s := &session{common: *c}
	var err error
	if s.self, err = os.Executable(); err != nil {
		return nil, err
	}
	if s.dir, err = os.MkdirTemp(c.Dir, "blobd-bench-"); err != nil {
		return nil, err
	}
	for _, p := range []*string{&s.Blobd, &s.Azurite, &s.dir} {
		if *p, err = filepath.Abs(*p); err != nil {
			return nil, err
		}
	}
	now := time.Now().UTC()
	if s.Name == "" {
		s.Name = now.Format("20060102-150405")
	}
	if err := os.MkdirAll(s.Out, 0o755); err != nil {
		return nil, err
	}
	s.base = filepath.Join(s.Out, s.Name)
	s.run = &result.Run{Started: now, Commit: commit(), Machine: fleet.Describe(s.dir, runtime.NumCPU()), Versions: map[string]string{}}
	return s, nil
}

// end removes the data and writes the results, also those of a failed run.
func (s *session) end(err error) error {
	s.run.Took = time.Since(s.run.Started).Round(time.Second).String()
	s.run.Compare()
	if err != nil {
		s.run.Failures = append(s.run.Failures, err.Error())
	}
	for _, e := range []error{os.RemoveAll(s.dir), s.run.Save(s.base + ".json"), writeHTML(s.run, s.base+".html")} {
		if e != nil {
			s.run.Failures = append(s.run.Failures, e.Error())
		}
	}
	fmt.Println()
	s.run.Print(os.Stdout)
	fmt.Printf("\n%s.json, %s.html\n", s.base, s.base)
	if len(s.run.Failures) > 0 {
		return fmt.Errorf("%d failures", len(s.run.Failures))
	}
	return nil
}

func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty", "--abbrev=10").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

func version(args ...string) string {
	out, err := exec.Command(args[0], args[1:]...).Output()
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}

// blobdSpec is blobd on a number of disks.
func (s *session) blobdSpec(name string, disks int) fleet.Spec {
	args := s.BlobdArgs
	if s.Profile {
		args = append([]string{"--profiling"}, args...)
	}
	return fleet.Blobd(s.Blobd, name, disks, args)
}

// specs are the servers that there are.
func (s *session) specs() []fleet.Spec {
	all := []fleet.Spec{
		s.blobdSpec("blobd", 1),
		s.blobdSpec("blobd-2+1", 3),
		s.blobdSpec("blobd-4+2", 6),
		fleet.Azurite(s.Azurite),
	}
	for _, mode := range []string{"network", "commit", "file", "file-crc"} {
		all = append(all, fleet.Ceiling(s.self, mode))
	}
	return all
}

func (c *runCommand) Run(ctx context.Context) error {
	c.defaults()
	servers, err := regexp.Compile(c.Servers)
	if err != nil {
		return err
	}
	workloads, err := regexp.Compile(c.Workloads)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.MaxTime)
	defer cancel()
	s, err := c.begin()
	if err != nil {
		return err
	}
	s.run.Quick = c.Quick
	s.run.Limits = fmt.Sprintf("%d turns of %v or %d MiB for each server, in alternation", c.Rounds, c.Time, c.Bytes)
	return s.end(c.measure(ctx, s, servers, workloads))
}

func (c *runCommand) measure(ctx context.Context, s *session, servers, workloads *regexp.Regexp) error {
	var specs []fleet.Spec
	for _, spec := range s.specs() {
		if c.Servers != "" && !servers.MatchString(spec.Name) {
			continue
		}
		switch {
		case strings.HasPrefix(spec.Name, "blobd"):
			s.run.Versions[spec.Name] = version(s.Blobd, "version")
		case spec.Name == "azurite":
			if err := fleet.InstallAzurite(ctx, s.Azurite); err != nil {
				return err
			}
			s.run.Versions[spec.Name] = "3.37.0 on Node.js " + version("node", "--version")
		}
		specs = append(specs, spec)
	}
	for _, g := range []work.Group{work.Small(), work.Large(), work.List(), work.Table(), work.Page()} {
		g.Workloads = slices.DeleteFunc(g.Workloads, func(w work.Workload) bool { return !workloads.MatchString(g.Name + ": " + w.Name) })
		if len(g.Workloads) > 0 {
			if err := c.group(ctx, s, specs, g); err != nil {
				return fmt.Errorf("%s: %w", g.Name, err)
			}
		}
	}
	return nil
}

// group runs a group's workloads on fresh servers.
func (c *runCommand) group(ctx context.Context, s *session, specs []fleet.Spec, g work.Group) (err error) {
	var targets []*work.Target
	defer func() {
		for _, t := range targets {
			err = errors.Join(err, t.Stop(), t.Remove())
		}
	}()
	lost := map[*work.Target]bool{} // ended by themselves
	for _, spec := range specs {
		if !slices.ContainsFunc(g.Workloads, func(w work.Workload) bool { return takes(&w, spec) }) {
			continue
		}
		server, err := fleet.Start(ctx, spec, filepath.Join(s.dir, strings.ReplaceAll(g.Name, " ", "-"), spec.Name))
		if err != nil {
			return err
		}
		t := work.NewTarget(server, work.Fill{Small: c.Small, Names: c.Names})
		targets = append(targets, t)
		if !spec.Ceiling {
			fmt.Fprintf(os.Stderr, "%s: filling %s\n", g.Name, spec.Name)
			var missing work.NotOffered
			if err := g.Prepare(ctx, t); errors.As(err, &missing) {
				s.run.Notes = append(s.run.Notes, fmt.Sprintf("%s: %v", spec.Name, err))
				targets = targets[:len(targets)-1]
				if err := errors.Join(t.Stop(), t.Remove()); err != nil {
					return err
				}
				continue
			} else if err != nil {
				return fmt.Errorf("%s: %w; its output ends with:\n%s", spec.Name, err, t.LogTail())
			}
		}
		if err := t.Settle(ctx, 10*time.Second); err != nil {
			return err
		}
		if err := t.Pause(); err != nil {
			return err
		}
	}
	if err := fleet.FlushDisk(s.dir); err != nil {
		return err
	}
	for i := range g.Workloads {
		w := &g.Workloads[i]
		clients := w.Clients
		if len(c.Clients) > 0 {
			clients = c.Clients
		} else if c.Quick {
			clients = []int{w.Usual}
		}
		for _, n := range clients {
			if err := c.cells(ctx, s, targets, lost, g.Name, w, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// takes tells whether a server runs a workload.
func takes(w *work.Workload, spec fleet.Spec) bool {
	if mode, ok := strings.CutPrefix(spec.Name, "ceiling-"); ok {
		return slices.Contains(w.Ceilings, mode)
	}
	return w.Layouts || !strings.HasPrefix(spec.Name, "blobd-")
}

// cells runs one workload at one number of clients on all servers, turn by turn. A server that is lost fails the run in the end;
// the others are measured nevertheless.
func (c *runCommand) cells(ctx context.Context, s *session, targets []*work.Target, lost map[*work.Target]bool, group string, w *work.Workload, clients int) error {
	first := len(s.run.Cells)
	var mine []*work.Target
	for _, t := range targets {
		if takes(w, t.Spec) {
			mine = append(mine, t)
			s.run.Cells = append(s.run.Cells, result.Cell{Group: group, Workload: w.Name, Clients: clients, Server: t.Name, Ceilings: w.Ceilings})
		}
	}
	wrote := make([]bool, len(mine)) // in the turn before
	// Round 0 warms up: code that is compiled at run time, caches, pools. It is checked like the others but not counted.
	for round := range c.Rounds + 1 {
		for i, t := range mine {
			cell := &s.run.Cells[first+i]
			if cell.Errors > 0 || lost[t] {
				continue
			}
			limit := work.Limit{Time: c.Time, Bytes: c.Bytes << 20}
			if round == 0 {
				limit = work.Limit{Time: min(c.Time, time.Second), Bytes: c.Bytes << 20 / 4}
			}
			stop := func() {}
			if s.Profile && round > 0 && strings.HasPrefix(t.Name, "blobd") {
				stop = profile(t.Management, fmt.Sprintf("%s-%s-%d-%s", s.base, strings.NewReplacer(" ", "-", "/", "-").Replace(w.Name), clients, t.Name), c.Time)
			}
			if wrote[i] {
				if err := fleet.WarmMemory(); err != nil {
					return err
				}
			}
			turn, err := c.turn(ctx, t, w, clients, limit, stop)
			if err != nil {
				if ctx.Err() != nil {
					return err
				}
				lost[t] = true
				s.run.Failures = append(s.run.Failures, err.Error())
				continue
			}
			if turn.Err != nil {
				s.run.Failures = append(s.run.Failures, turn.Err.Error())
			}
			if round > 0 || turn.Err != nil {
				cell.Add(turn)
			}
			if wrote[i] = turn.Written > 1<<20; wrote[i] {
				if err := fleet.FlushDisk(s.dir); err != nil {
					return err
				}
			}
		}
	}
	s.run.Compare()
	for i := range mine {
		s.run.Cells[first+i].Print(os.Stderr)
	}
	return nil
}

// turn lets one server work.
func (c *runCommand) turn(ctx context.Context, t *work.Target, w *work.Workload, clients int, limit work.Limit, stop func()) (*work.Turn, error) {
	if err := t.Resume(); err != nil {
		return nil, err
	}
	turn, err := w.Run(ctx, t, clients, limit)
	stop()
	if err != nil {
		return nil, err
	}
	return turn, t.Pause()
}
