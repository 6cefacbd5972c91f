package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/azurite"
	"github.com/blobd/blobd/internal/backup"
	"github.com/blobd/blobd/internal/blob/check"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local"
)

// backupCommand has a store backed up.
type backupCommand struct {
	Dir            string `arg:"" help:"Directory of backups, best on a disk of another machine. The server writes there."`
	dataFlag       `embed:""`
	OperatorSocket string `help:"Socket of the running server; default: operator.sock in the first data directory." placeholder:"FILE"`
	Offline        bool   `help:"Back up the store in --data, which no server has open, and not that of a running server."`
	Keep           int    `help:"Remove all but so many backups when the new one is made; 0 keeps them all." default:"0" placeholder:"N"`
	Rate           int64  `help:"Read at most so many bytes a second; 0: as fast as it goes." default:"0" placeholder:"BYTES"`
	List           bool   `help:"List the backups in the directory, and make none."`
}

// backupRequest asks a server for a backup.
type backupRequest struct {
	Dir  string
	Keep int
	Rate int64
}

// longAnswer is a line of the answer to a command that takes long.
type longAnswer struct {
	Progress *backup.Progress `json:"progress,omitempty"`
	Manifest *backup.Manifest `json:"manifest,omitempty"`
	Files    *filesReport     `json:"files,omitempty"`
	Azurite  *azurite.Report  `json:"azurite,omitempty"`
	Error    string           `json:"error,omitempty"`
}

// Run makes a backup, and fails if it is not whole.
func (c *backupCommand) Run(ctx context.Context, o *output) error {
	if c.Keep < 0 || c.Rate < 0 {
		return usageError{errors.New("--keep and --rate take 0 or more")}
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return err
	}
	if c.List {
		return listBackups(o, dir)
	}
	make := c.online
	if c.Offline {
		make = c.offline
	}
	m, err := make(ctx, o, backupRequest{Dir: dir, Keep: c.Keep, Rate: c.Rate})
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(o.out, "backup %d: %d entries, %d chunks of %s, of which %s are new\n", m.Number, m.Entries, m.Chunks, amount(m.Bytes), amount(m.Copied)); err != nil {
		return err
	}
	return printDamage(o.err, m)
}

// printDamage names what a backup lacks, and returns an error if there is any.
func printDamage(w io.Writer, m *backup.Manifest) error {
	if m.Complete {
		return nil
	}
	for _, d := range m.Damage {
		for _, name := range d.Names {
			_, _ = fmt.Fprintf(w, "content of %s cannot be read: %s\n", name, d.Error)
		}
		if len(d.Names) == 0 {
			_, _ = fmt.Fprintf(w, "chunk %s cannot be read: %s\n", d.Chunk, d.Error)
		}
	}
	return fmt.Errorf("the backup is incomplete: it lacks %d chunks of content; all else is in it", m.Damaged)
}

func listBackups(o *output, dir string) error {
	list, err := backup.List(local.PrivateFS(), dir)
	if err != nil {
		return err
	}
	for _, m := range list {
		state := "complete"
		if !m.Complete {
			state = fmt.Sprintf("lacks %d chunks", m.Damaged)
		}
		if _, err := fmt.Fprintf(o.out, "%d  %s  %s in %d chunks, %s new  %s\n", m.Number, m.Taken.Local().Format(time.DateTime), amount(m.Bytes), m.Chunks, amount(m.Copied), state); err != nil {
			return err
		}
	}
	return nil
}

// online has a running server back up its store.
func (c *backupCommand) online(ctx context.Context, o *output, q backupRequest) (*backup.Manifest, error) {
	a, err := askLong(ctx, o, socketIn(c.OperatorSocket, c.Data), "backup", q)
	if err != nil {
		return nil, err
	}
	return a.Manifest, nil
}

// askLong has a server carry out a command, and shows how far it is.
func askLong(ctx context.Context, o *output, socket, command string, q any) (*longAnswer, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://operator/"+command, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	answer, err := socketClient(socket).Do(req)
	if err != nil {
		return nil, fmt.Errorf("no server answers at %s (--data or --operator-socket say where it is; --offline is for a store that no server has open): %w", socket, errors.Unwrap(err))
	}
	defer answer.Body.Close()
	show := shower(o)
	defer show(backup.Progress{})
	for d := json.NewDecoder(answer.Body); ; {
		var a longAnswer
		if err := d.Decode(&a); err != nil {
			return nil, fmt.Errorf("the server's answer broke off: %w", err)
		}
		switch {
		case a.Error != "":
			return nil, errors.New(a.Error)
		case a.Progress == nil:
			return &a, nil
		}
		show(*a.Progress)
	}
}

// shower draws a bar on a terminal, a few times a second; it is taken away by progress that says nothing.
func shower(o *output) func(backup.Progress) {
	if !terminal(o.out) {
		return func(backup.Progress) {}
	}
	var last time.Time
	return func(p backup.Progress) {
		if p.Doing == "" {
			_, _ = fmt.Fprint(o.out, "\r\x1b[K")
			return
		}
		if time.Since(last) < 200*time.Millisecond {
			return
		}
		last = time.Now()
		if p.Total == 0 {
			_, _ = fmt.Fprintf(o.out, "\r%s: %s\x1b[K", p.Doing, amount(p.Done))
			return
		}
		n := int(min(barWidth, p.Done*barWidth/p.Total))
		_, _ = fmt.Fprintf(o.out, "\r[%s%s] %s: %s of %s\x1b[K", strings.Repeat("#", n), strings.Repeat(".", barWidth-n), p.Doing, amount(p.Done), amount(p.Total))
	}
}

// offline backs up a store that nobody serves.
func (c *backupCommand) offline(ctx context.Context, o *output, q backupRequest) (m *backup.Manifest, err error) {
	store, err := openStill(c.Data, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	show := shower(o)
	defer show(backup.Progress{})
	return backUp(ctx, store, q, show, zap.NewNop())
}

func backUp(ctx context.Context, store check.Store, q backupRequest, show func(backup.Progress), log *zap.Logger) (*backup.Manifest, error) {
	s, ok := store.(backup.Store)
	if !ok {
		return nil, errors.New("this store cannot be backed up")
	}
	if err := outsideStores(q.Dir); err != nil {
		return nil, err
	}
	return backup.Run(ctx, s, backup.Options{Dir: q.Dir, FS: local.PrivateFS(), Keep: q.Keep, Rate: q.Rate, Progress: show,
		Names: func(ctx context.Context, refs []engine.Ref) map[engine.Ref][]string {
			names, err := check.Names(ctx, store, refs)
			if err != nil {
				log.Warn("what is kept in damaged chunks is not known", zap.Error(err))
			}
			return names
		}})
}

// outsideStores refuses a directory within the data directory of any store: a backup there goes with the disk that it is to outlive.
func outsideStores(dir string) error {
	real := dir
	for rest := ""; ; {
		at, err := filepath.EvalSymlinks(real)
		if err == nil {
			real = filepath.Join(at, rest)
			break
		}
		if up := filepath.Dir(real); up != real {
			rest, real = filepath.Join(filepath.Base(real), rest), up
			continue
		}
		return err
	}
	for at := real; ; at = filepath.Dir(at) {
		if local.IsData(at) {
			return fmt.Errorf("%s is within %s, the data directory of a store: name a directory on another disk", dir, at)
		}
		if at == filepath.Dir(at) {
			return nil
		}
	}
}

// serveBackup makes backups for the operator.
func serveBackup(store engine.Store, log *zap.Logger) http.HandlerFunc {
	return long(func(ctx context.Context, body io.Reader, show func(backup.Progress)) (*longAnswer, error) {
		var q backupRequest
		if err := json.NewDecoder(body).Decode(&q); err != nil || !filepath.IsAbs(q.Dir) || q.Keep < 0 || q.Rate < 0 {
			return nil, errors.New("the request cannot be read")
		}
		s, ok := store.(check.Store)
		if !ok {
			return nil, errors.New("this store cannot be backed up")
		}
		begun := time.Now()
		m, err := backUp(ctx, s, q, show, log)
		if err != nil {
			log.Error("a backup has failed", zap.String("directory", q.Dir), zap.Error(err))
			return nil, err
		}
		log.Info("a backup is made", zap.String("directory", q.Dir), zap.Uint64("number", m.Number), zap.Bool("complete", m.Complete), zap.Int64("bytes", m.Bytes),
			zap.Int64("copied", m.Copied), zap.Duration("took", time.Since(begun)))
		return &longAnswer{Manifest: m}, nil
	})
}

// long answers a command with how far it is, and at last with its outcome. It ends when whoever gave it goes away.
func long(do func(ctx context.Context, body io.Reader, show func(backup.Progress)) (*longAnswer, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		if req.Method != http.MethodPost {
			http.NotFound(w, req)
			return
		}
		control := http.NewResponseController(w)
		_ = control.SetWriteDeadline(time.Time{}) // it takes as long as it takes
		_ = control.SetReadDeadline(time.Time{})
		body, err := io.ReadAll(io.LimitReader(req.Body, 64<<10))
		if err != nil {
			http.Error(w, "the request cannot be read", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
		lines := json.NewEncoder(w)
		var last time.Time
		show := func(p backup.Progress) {
			if time.Since(last) > 200*time.Millisecond {
				last = time.Now()
				_ = errors.Join(lines.Encode(longAnswer{Progress: &p}), control.Flush()) // who goes away ends the context
			}
		}
		a, err := do(req.Context(), bytes.NewReader(body), show)
		if err != nil {
			a = &longAnswer{Error: err.Error()}
		}
		_ = lines.Encode(a) // a failure is the client's
	}
}

// restoreCommand makes a store from a backup.
type restoreCommand struct {
	Dir        string `arg:"" help:"Directory of backups."`
	dataFlag   `embed:""`
	Number     uint64 `help:"Number of the backup, as backup --list has it; default: the last." default:"0" placeholder:"N"`
	Rate       int64  `help:"Read at most so many bytes a second of the backup; 0: as fast as it goes." default:"0" placeholder:"BYTES"`
	Incomplete bool   `help:"Restore a backup that lacks content: to read what is missing fails, all else is there."`
	Verify     bool   `help:"Read all of the backup and compare it with its checksums, and make no store."`
}

// Run makes a store in empty directories, of which there may be more or fewer than there were.
func (c *restoreCommand) Run(ctx context.Context, o *output) error {
	if c.Rate < 0 {
		return usageError{errors.New("--rate takes 0 or more")}
	}
	files, err := descriptors(len(c.Data))
	if err != nil {
		return err
	}
	show := shower(o)
	q := backup.RestoreOptions{Dir: c.Dir, FS: local.PrivateFS(), Number: c.Number, Rate: c.Rate, Incomplete: c.Incomplete, Progress: show, Refs: record.EachRef,
		Open: func() (engine.Restorer, error) {
			return local.Open(local.Options{Dirs: c.Data, Restore: true, Logger: newLogger(o.err), MaxFiles: files.store, ScrubRate: -1})
		}}
	do, done := backup.Restore, "is restored to "+strings.Join(c.Data, ", ")
	if c.Verify {
		do, done = backup.Verify, "is whole"
	}
	m, err := do(ctx, q)
	show(backup.Progress{})
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(o.out, "backup %d of %s %s: %d entries, %d chunks of %s\n", m.Number, m.Taken.Local().Format(time.DateTime), done, m.Entries, m.Chunks, amount(m.Bytes)); err != nil {
		return err
	}
	if c.Verify {
		return printDamage(o.err, m)
	}
	return nil
}
