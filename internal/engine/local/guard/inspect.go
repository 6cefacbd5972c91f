package guard

import (
	"encoding/binary"

	"github.com/minio/crc64nvme"

	"github.com/blobd/blobd/internal/engine/inspect"
)

// CompanionSuffix is what the name of a companion ends with, behind that of its manifest.
const CompanionSuffix = companionSuffix

// Inspect tells of a companion and holds its manifest to it; there tells whether that is there.
func Inspect(companion, manifest []byte, there bool, visit inspect.Visit) error {
	good := companionRecords(companion)
	for at := 0; at < len(companion); at += companionRecord {
		r := companion[at:min(at+companionRecord, len(companion))]
		i := inspect.New("record", int64(at), int64(len(r)))
		if len(companionRecords(r)) == 0 {
			i.Bad("it does not verify: the last one may be what a crash left")
		} else {
			i.Add("vouches for bytes of the manifest", binary.BigEndian.Uint64(r)).Add("of sum", r[8:16])
		}
		if err := visit(i); err != nil {
			return err
		}
	}
	sum := inspect.New("manifest", -1, int64(len(manifest)))
	switch {
	case len(good) == 0:
		sum.Bad("nothing vouches for it")
	case !there:
		sum.Bad("it is not there")
	default:
		last := good[len(good)-1]
		n := binary.BigEndian.Uint64(last)
		sum.Add("vouched for bytes", n)
		if n > uint64(len(manifest)) || crc64nvme.Checksum(manifest[:n]) != binary.BigEndian.Uint64(last[8:]) {
			sum.Bad("they are not what was synced")
		}
	}
	return visit(sum)
}
