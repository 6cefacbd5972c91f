// Package fleet starts the servers that the bench measures, each with a fresh folder on free loopback ports, watches what they
// take from the machine, and ends them by pid. One server works at a time: the others are paused, so that none pays for
// another's afterwork.
package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/blobd/blobd/bench/wire"
)

// Spec says how a server is started.
type Spec struct {
	Name string
	// Disks is the number of data folders it is given.
	Disks int
	// Ceiling tells a server of the harness's own, which stores nothing that could be read back.
	Ceiling bool
	// Tables tells that it is ready only when its table service is.
	Tables bool
	// Slow tells that preparation has to be modest.
	Slow bool
	// Command returns the program and its arguments; its addresses are to be AnyPort.
	Command func(p Place) []string
	// Told fills in the addresses that a started server tells of, in its folder or in what it has printed, if it has.
	Told func(p *Place, printed []byte) bool
	// Env is added to the environment.
	Env []string
}

// AnyPort lets the system choose: a port that the harness chose could be taken by others before the server has it.
const AnyPort = "127.0.0.1:0"

// Place is where a server works.
type Place struct {
	Blob, Table, Management string // host:port; known when it runs
	Data                    []string
	Dir                     string
}

// Server is a running server.
type Server struct {
	Spec
	Place
	cmd    *exec.Cmd
	exited chan struct{} // closed when the process has ended and was waited for
	ended  error         // how it ended; set before exited is closed
	paused bool
}

// Bounds of waiting.
const (
	startPatience = 60 * time.Second
	stopPatience  = 60 * time.Second
)

// Start starts a server in dir, which it makes, and waits until it answers a signed request.
func Start(ctx context.Context, spec Spec, dir string) (*Server, error) {
	s := &Server{Spec: spec}
	s.Dir = dir
	for i := range spec.Disks {
		d := filepath.Join(dir, fmt.Sprintf("disk%d", i))
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, fmt.Errorf("start %s: %w", spec.Name, err)
		}
		s.Data = append(s.Data, d)
	}
	if _, err := s.launch(ctx); err != nil {
		_ = s.Stop()
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	return s, nil
}

// launch runs the program and returns the time until its first answer.
func (s *Server) launch(ctx context.Context) (time.Duration, error) {
	args := s.Command(s.Place)
	log, err := os.Create(s.logPath())
	if err != nil {
		return 0, err
	}
	defer log.Close()
	s.cmd = exec.Command(args[0], args[1:]...)
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = s.Dir, log, log
	s.cmd.Env = append(os.Environ(), s.Env...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // no server outlives the bench
	begin := time.Now()
	if err := startOnSteadyThread(s.cmd); err != nil {
		return 0, err
	}
	s.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		s.ended = cmd.Wait()
		close(exited)
	}(s.cmd, s.exited)
	for {
		err := s.answers()
		if err == nil {
			return time.Since(begin), nil
		}
		select {
		case <-s.exited:
			return 0, fmt.Errorf("it ended at once (%v); its output ends with:\n%s", s.ended, s.LogTail())
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
		if time.Since(begin) > startPatience {
			return 0, fmt.Errorf("it does not serve after %v: %w; its output ends with:\n%s", startPatience, err, s.LogTail())
		}
	}
}

// startOnSteadyThread starts a command from a thread that lives as long as the bench does: Pdeathsig is sent when the thread that
// started the process ends, and other threads may.
func startOnSteadyThread(cmd *exec.Cmd) error {
	done := make(chan error)
	starter() <- func() { done <- cmd.Start() }
	return <-done
}

var starter = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

// answers asks for something signed.
func (s *Server) answers() error {
	printed, err := os.ReadFile(s.logPath())
	if err != nil {
		return err
	}
	if !s.Told(&s.Place, printed) {
		return errors.New("it does not tell its addresses")
	}
	c := wire.NewConn(s.Blob, wire.Emulator)
	defer c.Close()
	resp, err := c.Do(&wire.Request{Method: "GET", Path: "/", Query: []wire.Field{{Name: "comp", Value: "list"}}}, nil)
	if err == nil && resp.Status != 200 {
		err = fmt.Errorf("it answers %d %s", resp.Status, resp.Code)
	}
	if err == nil && s.Tables {
		t := wire.NewConn(s.Table, wire.Emulator)
		defer t.Close()
		_, err = t.Do(&wire.Request{Table: true, Method: "GET", Path: "/Tables"}, nil)
	}
	return err
}

func (s *Server) logPath() string { return filepath.Join(s.Dir, "output.log") }

// LogTail returns the end of what the server printed.
func (s *Server) LogTail() string {
	b, err := os.ReadFile(s.logPath())
	if err != nil {
		return err.Error()
	}
	if len(b) > 2000 {
		b = b[len(b)-2000:]
	}
	return strings.TrimSpace(string(b))
}

// Pid returns the process id.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// Pause stops the server's clockwork until Resume.
func (s *Server) Pause() error { return s.signal(syscall.SIGSTOP, true) }

// Resume undoes Pause.
func (s *Server) Resume() error { return s.signal(syscall.SIGCONT, false) }

func (s *Server) signal(sig syscall.Signal, paused bool) error {
	if s.paused == paused {
		return nil
	}
	if err := s.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("%s: %v: %w", s.Name, sig, err)
	}
	s.paused = paused
	return nil
}

// Stop ends the server: asked first, then killed. It returns an error if it had to be killed or had ended before.
func (s *Server) Stop() error {
	if s.exited == nil {
		return nil
	}
	select {
	case <-s.exited:
		return fmt.Errorf("%s had ended before it was asked to (%v); its output ends with:\n%s", s.Name, s.ended, s.LogTail())
	default:
	}
	_ = s.Resume()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", s.Name, err)
	}
	select {
	case <-s.exited:
		return nil
	case <-time.After(stopPatience):
	}
	_ = s.cmd.Process.Kill()
	<-s.exited
	return fmt.Errorf("%s did not stop within %v and was killed", s.Name, stopPatience)
}

// Restart stops the server and starts it again on the same data. It returns the times both took; the second runs from the
// start of the process to its first answer.
func (s *Server) Restart(ctx context.Context) (stop, start time.Duration, err error) {
	begin := time.Now()
	if err = s.Stop(); err != nil {
		return 0, 0, err
	}
	stop = time.Since(begin)
	s.paused = false
	start, err = s.launch(ctx)
	return stop, start, err
}

// Remove deletes the server's folder. It must be stopped.
func (s *Server) Remove() error { return os.RemoveAll(s.Dir) }

// Blobd is the server that this repository makes, with the given number of disks.
func Blobd(binary, name string, disks int, extra []string) Spec {
	return Spec{Name: name, Disks: disks, Command: func(p Place) []string {
		args := []string{binary, "serve", "--blob-addr", AnyPort, "--table-addr", AnyPort, "--management-addr", AnyPort,
			"--ready-file", filepath.Join(p.Dir, readyFile), "--access-log", "errors"} // as silent as Azurite is asked to be
		for _, d := range p.Data {
			args = append(args, "--data", d)
		}
		return append(args, extra...)
	}, Told: func(p *Place, _ []byte) bool {
		text, err := os.ReadFile(filepath.Join(p.Dir, readyFile))
		var listens struct{ Blob, Table, Management string }
		if err != nil || json.Unmarshal(text, &listens) != nil {
			return false
		}
		p.Blob, p.Table, p.Management = address(listens.Blob), address(listens.Table), address(listens.Management)
		return true
	}}
}

const readyFile = "ready.json"

func address[T string | []byte](url T) string { return strings.TrimPrefix(string(url), "http://") }

// Azurite is the peer, installed under dir by npm ci.
func Azurite(dir string) Spec {
	return Spec{Name: "azurite", Disks: 1, Tables: true, Slow: true, Command: func(p Place) []string {
		return []string{"node", filepath.Join(dir, "node_modules/azurite/dist/src/azurite.js"),
			"--silent", "--skipApiVersionCheck", "--loose", "--disableTelemetry", "--location", p.Data[0],
			"--blobPort", "0", "--tablePort", "0", "--queuePort", "0", // it insists on a queue service
			"--blobKeepAliveTimeout", "600", "--tableKeepAliveTimeout", "600"}
	}, Told: func(p *Place, printed []byte) bool {
		found := azuriteListens.FindSubmatch(printed)
		if found == nil {
			return false
		}
		p.Blob, p.Table = address(found[1]), address(found[2])
		return true
	}, Env: []string{"NODE_ENV=production"}}
}

var azuriteListens = regexp.MustCompile(`(?s)Blob service is successfully listening at (\S+)\n.*Table service is successfully listening at (\S+)\n`)

// Ceiling is one of the harness's own servers: this program, run again.
func Ceiling(self, mode string) Spec {
	return Spec{Name: "ceiling-" + mode, Disks: 1, Ceiling: true, Command: func(p Place) []string {
		return []string{self, "ceiling", mode, "--data", p.Data[0]}
	}, Told: func(p *Place, printed []byte) bool {
		line, _, whole := bytes.Cut(printed, []byte("\n"))
		p.Blob = string(line)
		return whole
	}}
}

// InstallAzurite runs npm ci in dir unless the pinned version is there already.
func InstallAzurite(ctx context.Context, dir string) error {
	lock, err := os.ReadFile(filepath.Join(dir, "package-lock.json"))
	if err != nil {
		return fmt.Errorf("install azurite: %w", err)
	}
	mark := filepath.Join(dir, "node_modules", ".installed-lock.json")
	if have, err := os.ReadFile(mark); err == nil && bytes.Equal(have, lock) {
		return nil
	}
	cmd := exec.CommandContext(ctx, "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci in %s: %w\n%s", dir, err, out)
	}
	return os.WriteFile(mark, lock, 0o644)
}
