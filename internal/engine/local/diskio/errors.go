package diskio

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/blobd/blobd/internal/engine"
)

// ErrNotPlain: what has the name of a file or folder of the store is something else. The disk is well; what the file held is not there.
var ErrNotPlain = fmt.Errorf("neither a file nor a folder: %w", engine.ErrCorrupt)

// ErrOtherDisk: what is at a path is not what was there when the store was opened.
var ErrOtherDisk error = otherDisk{}

type otherDisk struct{}

func (otherDisk) Error() string { return "another disk, or a copy of this one, is in its place" }

func (otherDisk) Is(kind error) bool { return kind == engine.ErrUnavailable }

// Busy tells whether a file operation failed for want of what the process or the machine is short of at the moment: descriptors or
// memory. That says nothing of the disk, and to try again helps.
func Busy(err error) bool {
	if err == nil {
		return false
	}
	if errors.Is(err, engine.ErrBusy) {
		return true
	}
	for _, e := range [...]error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EAGAIN, syscall.EINTR} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// NoSpace tells whether a file operation failed because the disk, or a quota on it, is full.
func NoSpace(err error) bool {
	return err != nil && (vfs.IsNoSpaceError(err) || errors.Is(err, syscall.EDQUOT))
}

// Excuse returns the engine's kind of an error for which the disk is not to blame, nil for one that condemns it.
func Excuse(err error) error {
	switch {
	case NoSpace(err):
		return engine.ErrNoSpace
	case Busy(err):
		return engine.ErrBusy
	}
	return nil
}

// Kind gives an excused error the engine's kind that callers look for; others are returned as they are.
func Kind(err error) error {
	if why := Excuse(err); why != nil && !errors.Is(err, why) {
		return fmt.Errorf("%w: %w", why, err)
	}
	return err
}
