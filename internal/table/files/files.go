// Package files copies the tables of an account to plain files and back: of each a file in a folder whose name no container has. Its first
// line is the table, the last one tells how many entities there are between, and their sum; each of those is an entity in JSON with the
// types of its properties.
//
// Timestamps are new where entities are imported.
package files

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/engine/crc64"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/table"
)

const (
	folder  = "%tables" // no name of a container has a %
	fileEnd = ".jsonl"
	maxLine = 16 << 20 // bytes of a line: an entity has 1 MiB, which escapes make longer
)

// Report counts what was copied.
type Report struct {
	Tables   int64 `json:"tables"`
	Entities int64 `json:"entities"`
}

// Options of Export and Import.
type Options struct {
	Tables   *table.Service
	Account  string
	Dir      string
	Progress func(bytes int64)
}

// first is the first line of a file, last the last.
type (
	first struct {
		Table    string        `json:"table"`
		Policies []auth.Policy `json:"policies,omitempty"`
	}
	last struct {
		Entities *int64 `json:"entities"`
		CRC64    string `json:"crc64"` // of the lines before
	}
)

const lastBegins = `{"entities":`

// Export copies the tables of an account to a directory that is there.
func Export(ctx context.Context, o Options) (rep *Report, err error) {
	root, err := os.OpenRoot(o.Dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	if err := root.Mkdir(folder, 0o700); err != nil {
		return nil, err
	}
	rep = &Report{}
	for from := ""; ; {
		var names []string
		if from, err = o.Tables.Tables(ctx, o.Account, from, func(name string) bool {
			if len(names) == 1000 {
				return false // the next page begins with it
			}
			names = append(names, strings.Clone(name))
			return true
		}); err != nil {
			return nil, err
		}
		for _, name := range names {
			n, err := o.export(ctx, root, name)
			if errors.Is(err, protocol.ErrTableNotFound) {
				continue // it was deleted
			}
			if err != nil {
				return nil, fmt.Errorf("table %s: %w", name, err)
			}
			rep.Tables++
			rep.Entities += n
		}
		if from == "" {
			return rep, nil
		}
	}
}

// export writes the file of a table, which gets its name when all is in it.
func (o *Options) export(ctx context.Context, root *os.Root, name string) (n int64, err error) {
	at := folder + "/" + name + fileEnd
	policies, err := o.Tables.Policies(ctx, o.Account, name)
	if err != nil {
		return 0, err
	}
	f, err := root.Create(at + ".tmp")
	if err != nil {
		return 0, err
	}
	w := bufio.NewWriter(f)
	sum := uint64(0)
	line := func(b []byte) error {
		sum = crc64.Update(crc64.Update(sum, b), []byte("\n"))
		o.Progress(int64(len(b)))
		_, err := w.Write(b)
		return errors.Join(err, w.WriteByte('\n'))
	}
	head, err := json.Marshal(first{Table: name, Policies: policies})
	if err == nil {
		err = line(head)
	}
	if err == nil {
		err = o.Tables.Lines(ctx, o.Account, name, func(b []byte) error {
			n++
			return line(b)
		})
	}
	if err == nil {
		err = json.NewEncoder(w).Encode(last{&n, fmt.Sprintf("%016x", sum)})
	}
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, errors.Join(err, root.Remove(at+".tmp"))
	}
	return n, root.Rename(at+".tmp", at)
}

// Import makes the tables that Export has written. Tables that are there are refused, before anything is made; where it fails later, and by
// undo, those that it made are deleted.
func Import(ctx context.Context, o Options) (rep *Report, undo func() error, err error) {
	var made []string
	undo = func() error {
		for _, name := range made {
			if err := o.Tables.DeleteTable(context.WithoutCancel(ctx), o.Account, name); err != nil && !errors.Is(err, protocol.ErrTableNotFound) {
				return fmt.Errorf("table %s, which was begun, is not deleted: %w", name, err)
			}
		}
		made = nil
		return nil
	}
	rep = &Report{}
	root, err := os.OpenRoot(o.Dir)
	if err != nil {
		return nil, undo, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	entries, err := fs.ReadDir(root.FS(), folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, undo, err
	}
	var names []string
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), fileEnd)
		if !ok {
			return nil, undo, fmt.Errorf("%s/%s: the export did not come to its end, or it is no file of one: export again", folder, e.Name())
		}
		if _, err := o.Tables.Policies(ctx, o.Account, name); !errors.Is(err, protocol.ErrTableNotFound) {
			return nil, undo, errors.Join(err, fmt.Errorf("the account has a table %s already: nothing is imported", name))
		}
		names = append(names, name)
	}
	for _, name := range names {
		n, err := o.table(ctx, root, name, &made)
		if err != nil {
			return nil, undo, errors.Join(fmt.Errorf("%s/%s%s: %w", folder, name, fileEnd, err), undo())
		}
		rep.Tables++
		rep.Entities += n
	}
	return rep, undo, nil
}

// table makes a table of its file.
func (o *Options) table(ctx context.Context, root *os.Root, name string, made *[]string) (n int64, err error) {
	at := folder + "/" + name + fileEnd
	if info, err := root.Stat(at); err != nil || !info.Mode().IsRegular() { // another kind could keep whoever opens it waiting for ever
		return 0, errors.Join(err, errors.New("it is no regular file"))
	}
	f, err := root.Open(at)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxLine)
	sum := uint64(0)
	count := func() {
		sum = crc64.Update(crc64.Update(sum, lines.Bytes()), []byte("\n"))
		o.Progress(int64(len(lines.Bytes())))
	}
	var head first
	if !lines.Scan() || strict(lines.Bytes(), &head) != nil || head.Table != name {
		return 0, errors.Join(lines.Err(), fmt.Errorf("its first line is not that of table %s", name))
	}
	count()
	if err := o.Tables.CreateTable(ctx, o.Account, name); err != nil {
		return 0, err
	}
	*made = append(*made, name)
	if len(head.Policies) > 0 {
		if err := o.Tables.SetPolicies(ctx, o.Account, name, head.Policies); err != nil {
			return 0, err
		}
	}
	var end last
	n, err = o.Tables.InsertLines(ctx, o.Account, name, func() ([]byte, error) {
		if !lines.Scan() {
			return nil, errors.Join(lines.Err(), errors.New("it has been cut off: its last line is missing"))
		}
		if bytes.HasPrefix(lines.Bytes(), []byte(lastBegins)) { // or it is an entity with a property of that name, beside its keys
			var l last
			if strict(lines.Bytes(), &l) == nil && l.Entities != nil {
				end = l
				return nil, nil
			}
		}
		count()
		return lines.Bytes(), nil
	})
	switch {
	case err != nil:
		return 0, err
	case n != *end.Entities || end.CRC64 != fmt.Sprintf("%016x", sum):
		return 0, errors.New("it is not of the sum that its last line says")
	case lines.Scan():
		return 0, errors.New("there is more behind its last line")
	}
	return n, nil
}

// strict decodes a line that has no other members.
func strict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil && d.More() {
		err = io.ErrUnexpectedEOF
	}
	return err
}
