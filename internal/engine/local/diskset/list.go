package diskset

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/diskio"
)

// Info is what is known of one disk of a store, from the outside.
type Info struct {
	Name  string // by which AcceptMissing and Replace know it; empty if it is none of a store
	Index int
	Dir   string // empty if it is in none of the directories
	State string // what a person has to know of it
	Good  bool   // it is there, and as far as the newest
}

// List tells which disks a store has and what is in the directories, from blobd.format alone. It changes nothing and takes no lock, so
// the store may be open.
func List(fs vfs.FS, dirs []string) ([]Info, error) {
	found := make(map[string]*format)
	var newest *format
	states := make(map[string]string)
	for _, dir := range dirs {
		b, err := diskio.ReadFile(fs, fs.PathJoin(dir, FormatName))
		switch {
		case err == nil:
			f, _, err := decodeFormat(b)
			if err != nil {
				states[dir] = FormatName + ": " + err.Error()
				continue
			}
			found[dir] = f
			if newest == nil || f.epoch > newest.epoch {
				newest = f
			}
		case errors.Is(err, os.ErrNotExist):
			states[dir] = "no disk of a store: not there, not mounted, or empty"
			if names, err := fs.List(dir); err == nil && slices.ContainsFunc(names, func(name string) bool { return name == MetaDir || name == ExtentDir }) {
				states[dir] = FormatName + " is missing from it"
			}
		default:
			states[dir] = err.Error()
		}
	}
	if newest == nil {
		return nil, fmt.Errorf("there is no store in %s: %w", strings.Join(dirs, ", "), engine.ErrUnavailable)
	}
	list := make([]Info, newest.n())
	for i := range list {
		list[i] = Info{Name: diskWord(newest.disks[i]), Index: i, State: "missing: in none of the directories"}
		if newest.left&(1<<i) != 0 {
			list[i].State = "missing: the store goes on without it, as --accept-missing said"
		}
	}
	for _, dir := range dirs {
		f := found[dir]
		switch {
		case f == nil:
			list = append(list, Info{Index: -1, Dir: dir, State: states[dir]})
		case f.store != newest.store:
			list = append(list, Info{Index: -1, Dir: dir, State: "a disk of another store"})
		case list[f.index].Dir != "":
			list = append(list, Info{Index: -1, Dir: dir, State: "a copy of " + list[f.index].Dir})
		default:
			d := &list[f.index]
			d.Dir, d.Good, d.State = dir, f.epoch == newest.epoch, "in use"
			if !d.Good {
				d.State = "out of date: a start with all disks brings it what it missed"
			} else if newest.members&(1<<f.index) != 0 {
				d.State = "in use, with metadata"
			}
		}
	}
	return list, nil
}
