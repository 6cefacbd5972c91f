package guard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/minio/crc64nvme"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/diskio"
)

const companionSuffix = ".synced"

// manifest is a manifest being written. Pebble uses it from one goroutine at a time.
type manifest struct {
	vfs.File
	companion vfs.File
	owner     Owner
	length    int64
	sum       uint64
}

// A record of a companion: length, sum of the manifest up to it, sum of the record. docs/format.md, "Companion".
const companionRecord = 24

// Write implements vfs.File.
func (m *manifest) Write(p []byte) (int, error) {
	m.sum = crc64nvme.Update(m.sum, p)
	m.length += int64(len(p))
	return m.File.Write(p)
}

// Sync implements vfs.File: when it returns, the companion vouches for what was synced.
func (m *manifest) Sync() error {
	if err := m.owner.Failed(); err != nil {
		return err
	}
	if err := m.File.Sync(); err != nil {
		return err
	}
	var b [companionRecord]byte
	binary.BigEndian.PutUint64(b[:], uint64(m.length))
	binary.BigEndian.PutUint64(b[8:], m.sum)
	binary.BigEndian.PutUint64(b[16:], crc64nvme.Checksum(b[:16]))
	if _, err := m.companion.Write(b[:]); err != nil {
		return err
	}
	return m.companion.Sync()
}

// SyncData implements vfs.File.
func (m *manifest) SyncData() error { return m.Sync() }

// Close implements vfs.File.
func (m *manifest) Close() error { return errors.Join(m.File.Close(), m.companion.Close()) }

// CheckManifest verifies that the manifest in use, whose name it returns, has all that is known to have been synced.
func CheckManifest(fs vfs.FS, dir string) (name string, err error) {
	names, err := fs.List(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	name = newestMarker(names, "manifest")
	if !slices.Contains(names, name) || !slices.Contains(names, name+companionSuffix) {
		return name, nil
	}
	if err := checkManifest(fs, fs.PathJoin(dir, name)); err != nil {
		return name, fmt.Errorf("%s: %w", name, err)
	}
	return name, nil
}

func checkManifest(fs vfs.FS, name string) error {
	c, err := diskio.ReadFile(fs, name+companionSuffix)
	if err != nil {
		return err
	}
	var length int64
	var sum uint64
	for _, r := range companionRecords(c) {
		length, sum = int64(binary.BigEndian.Uint64(r)), binary.BigEndian.Uint64(r[8:])
	}
	b, err := diskio.ReadFile(fs, name)
	if err != nil {
		return err
	}
	if int64(len(b)) < length || crc64nvme.Checksum(b[:length]) != sum {
		return fmt.Errorf("the first %d bytes are not what was synced: %w", length, engine.ErrCorrupt)
	}
	return nil
}

// companionRecords returns the records of a companion that verify. One that does not is the tail that a crash left, or damaged: the
// others are enough.
func companionRecords(c []byte) (good [][]byte) {
	for ; len(c) >= companionRecord; c = c[companionRecord:] {
		if binary.BigEndian.Uint64(c[16:]) == crc64nvme.Checksum(c[:16]) {
			good = append(good, c[:companionRecord])
		}
	}
	return good
}

// ValidPrefix tells how many bytes of a file with content b are good; ok is false if it is no companion.
func ValidPrefix(name string, b []byte) (n int64, ok bool) {
	if !strings.HasSuffix(name, companionSuffix) {
		return 0, false
	}
	return int64(companionRecord * len(companionRecords(b))), true
}
