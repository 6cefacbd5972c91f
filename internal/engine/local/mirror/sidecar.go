package mirror

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/minio/crc64nvme"

	"github.com/blobd/blobd/internal/engine"
)

// A sidecar holds the checksums of a file that is written once. docs/format.md, "Sidecar", has its bytes.
const (
	sumSuffix  = ".sum"
	tmpSuffix  = ".mirror" // of a file being copied to a replica
	sumMagic   = "BLOBDSUM"
	sumVersion = 1
	sumHeader  = 24
	sumBlock   = 16 << 10 // bytes under one checksum
)

// sealed tells whether a file is written once and has a sidecar. Logs, their list and manifests are appended to for long; markers are
// empty and say what they say by their name.
func sealed(name string) bool {
	base := path.Base(name)
	return !strings.HasSuffix(base, ".log") && !strings.HasPrefix(base, "MANIFEST-") && !strings.HasPrefix(base, "marker.") &&
		!strings.HasPrefix(base, "LOGS")
}

// summer computes the checksums of what is written in order.
type summer struct {
	size int64
	sums []uint64
	part uint64 // sum of the block begun
	n    int    // bytes in it
}

func (s *summer) add(p []byte) {
	s.size += int64(len(p))
	for len(p) > 0 {
		n := min(len(p), sumBlock-s.n)
		s.part = crc64nvme.Update(s.part, p[:n])
		s.n += n
		p = p[n:]
		if s.n == sumBlock {
			s.sums = append(s.sums, s.part)
			s.part, s.n = 0, 0
		}
	}
}

// encode returns the sidecar.
func (s *summer) encode() []byte {
	sums := s.sums
	if s.n > 0 {
		sums = append(sums[:len(sums):len(sums)], s.part)
	}
	b := make([]byte, sumHeader, sumHeader+8*len(sums)+8)
	copy(b, sumMagic)
	binary.BigEndian.PutUint32(b[8:], sumVersion)
	binary.BigEndian.PutUint32(b[12:], sumBlock)
	binary.BigEndian.PutUint64(b[16:], uint64(s.size))
	for _, sum := range sums {
		b = binary.BigEndian.AppendUint64(b, sum)
	}
	return binary.BigEndian.AppendUint64(b, crc64nvme.Checksum(b))
}

// sums are the checksums of a sealed file.
type sums struct {
	size int64
	raw  []byte // the sums, 8 bytes each
}

func decodeSums(b []byte) (*sums, error) {
	if len(b) < sumHeader+8 || string(b[:8]) != sumMagic ||
		binary.BigEndian.Uint64(b[len(b)-8:]) != crc64nvme.Checksum(b[:len(b)-8]) {
		return nil, fmt.Errorf("sidecar: %w", engine.ErrCorrupt)
	}
	if v, block := binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[12:]); v != sumVersion || block != sumBlock {
		return nil, fmt.Errorf("sidecar of unknown version %d with blocks of %d bytes", v, block)
	}
	s := &sums{size: int64(binary.BigEndian.Uint64(b[16:])), raw: b[sumHeader : len(b)-8]}
	if s.size < 0 || int64(len(s.raw)) != 8*((s.size+sumBlock-1)/sumBlock) {
		return nil, fmt.Errorf("sidecar: %w", engine.ErrCorrupt)
	}
	return s, nil
}

// check compares whole blocks, the first of which begins at off, with their sums. The last block of the file may be short.
func (s *sums) check(p []byte, off int64) bool {
	for i := int(off / sumBlock); len(p) > 0; i++ {
		n := min(len(p), sumBlock)
		if crc64nvme.Checksum(p[:n]) != binary.BigEndian.Uint64(s.raw[8*i:]) {
			return false
		}
		p = p[n:]
	}
	return true
}

// writeSidecar writes the sidecar of a file and syncs it.
func writeSidecar(r *replica, name string, b []byte) error {
	f, err := r.FS.Create(r.path(name+sumSuffix), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(bytes.Clone(b)) // Write may change what it is given
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
