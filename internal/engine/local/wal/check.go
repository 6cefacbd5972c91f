package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/blobd/blobd/internal/engine/local/diskio"
)

// Check verifies that the logs of a folder hold all that is known to have been synced.
func (l *Frames) Check(fs vfs.FS, dir string) error {
	names, err := fs.List(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, name := range names {
		number, ok := l.framed(name)
		if !ok {
			continue
		}
		b, err := diskio.ReadFile(fs, fs.PathJoin(dir, name))
		if err == nil {
			_, _, err = l.content(b, number)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// Damaged names the logs of a folder, but for the newest, that do not have the end that Pebble gives a log when it closes it. What Pebble
// says of one that it cannot replay does not name it.
func (l *Frames) Damaged(fs vfs.FS, dir string) (damaged []string) {
	names, err := fs.List(dir)
	if err != nil {
		return nil
	}
	numbers := make(map[uint64]string)
	for _, name := range names {
		if n, ok := Number(name); ok {
			numbers[n] = name
		}
	}
	all := slices.Sorted(maps.Keys(numbers))
	for _, n := range all[:max(0, len(all)-1)] {
		if _, ok := l.framed(numbers[n]); !ok {
			continue
		}
		b, err := diskio.ReadFile(fs, fs.PathJoin(dir, numbers[n]))
		if err != nil || !l.Whole(numbers[n], b) {
			damaged = append(damaged, numbers[n])
		}
	}
	return damaged
}

// Whole tells whether the content of a log's file is undamaged and goes to the end that Pebble gave it. Of one without frames nothing is
// known, and it passes.
func (l *Frames) Whole(name string, b []byte) bool {
	number, ok := l.framed(name)
	if !ok {
		return true
	}
	content, _, err := l.content(b, number)
	return err == nil && closed(content, number)
}

// trailer is what Pebble ends a log with when it closes it: an empty chunk of 11 bytes with the number that follows.
const trailer = 11

// closed tells whether a log was written to its end.
func closed(content []byte, number uint64) bool {
	return len(content) >= trailer && binary.LittleEndian.Uint32(content[len(content)-4:]) == uint32(number)+1
}

// Size is what the logs of a folder hold, in bytes. Their files are longer: room was made ahead, and some are old ones.
func (l *Frames) Size(fs vfs.FS, dir string) (n int64, err error) {
	names, err := fs.List(dir)
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".log") {
			continue
		}
		b, err := diskio.ReadFile(fs, fs.PathJoin(dir, name))
		if err != nil {
			return 0, err
		}
		if number, ok := l.framed(name); ok {
			b, _, _ = l.content(b, number) // damage is for Check to find
		}
		n += int64(len(bytes.TrimRight(b, "\x00")))
	}
	return n, nil
}

// ValidPrefix tells how many bytes of a file with content b are good; ok is false if it is neither a log in frames nor the list.
func (l *Frames) ValidPrefix(name string, b []byte) (n int64, ok bool) {
	base := path.Base(name)
	if base == ListName {
		if _, _, _, err := readList(b); err != nil {
			return 0, true
		}
		records, _ := listRecords(b)
		return int64(listHeader + listRecord*len(records)), true
	}
	number, ok := l.framed(base)
	if !ok {
		return 0, false
	}
	_, end, _ := l.content(bytes.Clone(b), number)
	return int64(end), true
}
