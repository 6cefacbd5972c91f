package files

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/blobd/blobd/internal/blob/record"
)

const (
	maxPart = 200 // bytes of a part of a path, as file systems bound it at 255
	maxPath = 900 // bytes of a path in a container's folder
)

// place is where the file of a blob is best put under a container's folder. What means something to a file system is escaped by %, which
// no other part of a path has; names that are long are cut. Snapshots and versions lie beside the blob, with their id behind a %. Two names
// may get one path: see create.
func place(name string, slot record.Slot) string {
	past := strings.NewReplacer(" ", "%", ":", "").Replace(words(slot))
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = part(p)
	}
	if p := path.Join(parts...); len(p) <= maxPath {
		return p + past
	}
	sum := sha256.Sum256([]byte(name))
	return path.Join("%long", hex.EncodeToString(sum[:])) + past
}

func part(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch end := i == len(s)-1; {
		case c < ' ', c == 0x7f, strings.IndexByte(`<>:"\|?*%`, c) >= 0, end && (c == '.' || c == ' '):
			fmt.Fprintf(&b, "%%%02X", c)
		default:
			b.WriteByte(c)
		}
	}
	switch t := b.String(); {
	case t == "":
		return "%"
	case len(t) > maxPart:
		return strings.ToValidUTF8(strings.TrimRight(t[:maxPart], "%. "), "") + "%+"
	case reserved[strings.ToLower(strings.SplitN(t, ".", 2)[0])]:
		return "%-" + t
	default:
		return t
	}
}

// reserved are names of devices on Windows.
var reserved = func() map[string]bool {
	m := map[string]bool{"con": true, "prn": true, "aux": true, "nul": true}
	for i := range 10 {
		m[fmt.Sprint("com", i)], m[fmt.Sprint("lpt", i)] = true, true
	}
	return m
}()

// create makes the file of a blob. Where another blob's file or folder is in its way, be it that the file system knows no case, it gets a
// number behind a %.
func create(root *os.Root, container, at string) (*os.File, string, error) {
	dir := container
	parts := strings.Split(at, "/")
	for i, p := range parts {
		last := i == len(parts)-1
		for n := 0; ; n++ {
			name := path.Join(dir, p)
			if n > 0 {
				name += fmt.Sprint("%", n)
			}
			if last {
				f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
				if taken(err) {
					continue
				}
				return f, name, err
			}
			err := root.Mkdir(name, 0o700)
			if errors.Is(err, fs.ErrExist) {
				info, serr := root.Lstat(name)
				if serr == nil && !info.IsDir() {
					continue
				}
				err = serr
			}
			if err != nil {
				return nil, "", err
			}
			dir = name
			break
		}
	}
	return nil, "", fs.ErrInvalid
}

func taken(err error) bool { return errors.Is(err, fs.ErrExist) || errors.Is(err, syscall.EISDIR) }
