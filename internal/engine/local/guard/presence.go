package guard

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/blobd/blobd/internal/engine"
)

// CheckPresence verifies that the files are there by which Pebble finds the others: without them it would begin anew.
func CheckPresence(fs vfs.FS, dir string) error {
	names, err := fs.List(dir)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(names) == 0 {
		return fmt.Errorf("%s, the folder of the key space, is missing or empty; put it back: %w", dir, engine.ErrCorrupt)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if err := checkNames(fs, dir, names); err != nil {
		return err
	}
	missing := func(name string) error {
		return fmt.Errorf("%s is missing, without which the store is not found; put it back: %w", fs.PathJoin(dir, name), engine.ErrCorrupt)
	}
	if newestMarker(names, "format-version") == "" {
		return missing("marker.format-version")
	}
	manifest := newestMarker(names, "manifest")
	switch {
	case manifest == "":
		return missing("marker.manifest")
	case !slices.Contains(names, manifest):
		return missing(manifest)
	case !slices.Contains(names, manifest+companionSuffix):
		return missing(manifest + companionSuffix)
	}
	return nil
}

// lastNumber is the highest number that a file of the key space may have: the log list keeps them in 32 bits, and those of new files go on from
// the highest there is. No store comes near it by itself.
const lastNumber = 1<<32 - 1<<24

// checkNames refuses files that Pebble would take for its own and that it cannot have made: it does not doubt a name, and goes on from the
// highest number there is.
func checkNames(fs vfs.FS, dir string, names []string) error {
	for _, name := range names {
		why := ""
		if rest, ok := strings.CutPrefix(name, "marker."); ok {
			parts := strings.SplitN(rest, ".", 3)
			if _, err := strconv.ParseUint(parts[min(1, len(parts)-1)], 10, 64); err != nil {
				why = "a marker has a number"
			}
		} else if digits, ok := fileNumber(name); ok {
			switch n, err := strconv.ParseUint(digits, 10, 64); {
			case err != nil || n > lastNumber:
				why = "none can have so high a number"
			case digits != fmt.Sprintf("%06d", n):
				why = fmt.Sprintf("the number would be written %06d", n)
			}
		}
		if why != "" {
			return fmt.Errorf("%s is no file of the store, as %s: move it away: %w", fs.PathJoin(dir, name), why, engine.ErrCorrupt)
		}
	}
	return nil
}

// fileNumber returns the digits in the name of a log, table, manifest or file of options.
func fileNumber(name string) (digits string, ok bool) {
	for _, prefix := range []string{"MANIFEST-", "OPTIONS-"} {
		if digits, ok = strings.CutPrefix(name, prefix); ok {
			break
		}
	}
	for _, suffix := range []string{".log", ".sst", ".blob"} {
		if !ok {
			digits, ok = strings.CutSuffix(name, suffix)
		}
	}
	return digits, ok && digits != "" && strings.Trim(digits, "0123456789") == ""
}

// newestMarker returns what the marker of a kind says, by its name: marker.KIND.ITERATION.VALUE.
func newestMarker(names []string, kind string) (value string) {
	var newest uint64
	for _, name := range names {
		rest, ok := strings.CutPrefix(name, "marker."+kind+".")
		if !ok {
			continue
		}
		iteration, target, _ := strings.Cut(rest, ".")
		if n, err := strconv.ParseUint(iteration, 10, 64); err == nil && n >= newest {
			newest, value = n, target
		}
	}
	return value
}
