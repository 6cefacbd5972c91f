package diskset

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/minio/crc64nvme"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/diskio"
	"github.com/blobd/blobd/internal/engine/siphash"
)

// The format file says which store and which of its disks a directory is. docs/format.md, "Format file", has its bytes.
const (
	FormatName    = "blobd.format" // under a data directory
	formatMagic   = "BLOBDFMT"
	formatVersion = 2
	formatRecord  = 512  // bytes of the record, its checksum in the last 8
	formatCopyAt  = 4096 // offset of the second copy: another sector, another flash page
	formatSize    = formatCopyAt + formatRecord
	maxDisks      = 16
	maxWords      = 8
	maxRuns       = 6
)

// format is the record of a format file.
type format struct {
	store   [16]byte
	disk    [16]byte
	index   uint8
	k, m    uint8
	epoch   uint64             // raised by every start and every change of members; 0 while the store is being made
	members uint32             // bit i: the metadata replica on disk i is current in this epoch
	disks   [maxDisks][16]byte // ids of all disks by index, zero beyond k+m

	version uint32

	// Since version 2; zero in what was read of version 1.
	secret siphash.Key // of the store: marks what is its own beside bytes that clients chose
	extent uint64      // extents below this number are of version 1
	log    uint64      // logs below this number are of version 1

	started  uint64 // the log list in meta/ is of this start or a later one; 0 before the first start that kept one
	promised uint64 // some start has taken numbers up to here for its epochs
	left     uint32 // bit i: the operator has said that the store goes on without disk i

	leftEpoch uint64           // the newest epoch known when that was said last: a disk that was left and has a later one went on as well
	words     [maxWords]uint64 // random numbers of the last times it was said, the newest first
	run       uint64           // random number of the process that wrote the epoch; 0 if that knew none
	runs      [maxRuns]uint64  // the last processes that promised an epoch, the newest first: see runOf
}

func (f *format) n() int { return int(f.k) + int(f.m) }

// encode returns the whole file.
func (f *format) encode() []byte {
	b := make([]byte, formatSize)
	copy(b, formatMagic)
	binary.BigEndian.PutUint32(b[8:], f.version)
	copy(b[16:], f.store[:])
	copy(b[32:], f.disk[:])
	b[48], b[49], b[50] = f.index, f.k, f.m
	binary.BigEndian.PutUint32(b[52:], f.members)
	binary.BigEndian.PutUint64(b[56:], f.epoch)
	for i, id := range f.disks {
		copy(b[64+16*i:], id[:])
	}
	if f.version > 1 {
		copy(b[320:], f.secret[:])
		binary.BigEndian.PutUint64(b[336:], f.extent)
		binary.BigEndian.PutUint64(b[344:], f.log)
		binary.BigEndian.PutUint64(b[352:], f.started)
		binary.BigEndian.PutUint64(b[360:], f.promised)
		binary.BigEndian.PutUint32(b[368:], f.left)
		binary.BigEndian.PutUint64(b[376:], f.leftEpoch)
		for i, word := range f.words {
			binary.BigEndian.PutUint64(b[384+8*i:], word)
		}
		binary.BigEndian.PutUint64(b[448:], f.run)
		for i, run := range f.runs {
			binary.BigEndian.PutUint64(b[456+8*i:], run)
		}
	}
	binary.BigEndian.PutUint64(b[formatRecord-8:], crc64nvme.Checksum(b[:formatRecord-8]))
	copy(b[formatCopyAt:], b[:formatRecord])
	return b
}

var errFormatVersion = errors.New("made by a newer version of blobd")

// decodeFormat reads a format file from either of its copies; whole tells that it is what encode makes, both copies and all between.
func decodeFormat(b []byte) (f *format, whole bool, err error) {
	f, err = decodeRecord(b)
	var second *format
	var err2 error
	if len(b) >= formatCopyAt {
		second, err2 = decodeRecord(b[formatCopyAt:])
	} else {
		err2 = fmt.Errorf("format file of %d bytes: %w", len(b), engine.ErrCorrupt)
	}
	switch {
	case err == nil:
		return f, bytes.Equal(b, f.encode()), nil
	case err2 == nil:
		return second, false, nil
	case errors.Is(err2, errFormatVersion):
		return nil, false, err2
	}
	return nil, false, err
}

func decodeRecord(b []byte) (*format, error) {
	if len(b) < formatRecord {
		return nil, fmt.Errorf("format record of %d bytes: %w", len(b), engine.ErrCorrupt)
	}
	b = b[:formatRecord]
	// The sum comes first: a bit flipped in the version is damage, no newer format. Every version keeps size and sum.
	if string(b[:8]) != formatMagic || binary.BigEndian.Uint64(b[formatRecord-8:]) != crc64nvme.Checksum(b[:formatRecord-8]) {
		return nil, fmt.Errorf("format record: %w", engine.ErrCorrupt)
	}
	v := binary.BigEndian.Uint32(b[8:])
	if v < 1 || v > formatVersion {
		return nil, fmt.Errorf("format version %d, known are those up to %d: %w", v, formatVersion, errFormatVersion)
	}
	f := &format{version: v, index: b[48], k: b[49], m: b[50], members: binary.BigEndian.Uint32(b[52:]), epoch: binary.BigEndian.Uint64(b[56:])}
	copy(f.store[:], b[16:])
	copy(f.disk[:], b[32:])
	for i := range f.disks {
		copy(f.disks[i][:], b[64+16*i:])
	}
	if v > 1 {
		copy(f.secret[:], b[320:])
		f.extent, f.log = binary.BigEndian.Uint64(b[336:]), binary.BigEndian.Uint64(b[344:])
		if f.secret == (siphash.Key{}) {
			return nil, fmt.Errorf("format record without a secret: %w", engine.ErrCorrupt)
		}
		f.started, f.promised = binary.BigEndian.Uint64(b[352:]), binary.BigEndian.Uint64(b[360:])
		f.left, f.leftEpoch = binary.BigEndian.Uint32(b[368:]), binary.BigEndian.Uint64(b[376:])
		for i := range f.words {
			f.words[i] = binary.BigEndian.Uint64(b[384+8*i:])
		}
		f.run = binary.BigEndian.Uint64(b[448:])
		for i := range f.runs {
			f.runs[i] = binary.BigEndian.Uint64(b[456+8*i:])
		}
	}
	if f.k < 1 || f.n() > maxDisks || int(f.index) >= f.n() || f.disks[f.index] != f.disk {
		return nil, fmt.Errorf("format record names disk %d of %d+%d: %w", f.index, f.k, f.m, engine.ErrCorrupt)
	}
	return f, nil
}

// updateFormat writes a record into a format file that is whole, one copy after the other, so that one of them is good at any moment.
// It takes no room, which a full disk may not have. The record of another disk, mounted there since, is left as it is: that disk would pass for
// this one, which has what it has not.
func updateFormat(fs vfs.FS, name string, f *format) error {
	if _, err := fs.Stat(name); err != nil {
		return err // opened for writing, it would be made
	}
	file, err := fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	there := make([]byte, formatSize)
	n, _ := file.ReadAt(there, 0) // what cannot be read is written anew
	if other, _, derr := decodeFormat(there[:n]); derr == nil && (other.store != f.store || other.disk != f.disk) {
		err = diskio.ErrOtherDisk
	}
	for _, at := range []int64{0, formatCopyAt} {
		if err == nil {
			_, err = file.WriteAt(f.encode()[at:at+formatRecord], at)
		}
		if err == nil {
			err = file.Sync()
		}
	}
	return errors.Join(err, file.Close())
}
