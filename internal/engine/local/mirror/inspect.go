package mirror

import (
	"errors"
	"io"
	"strings"

	"github.com/blobd/blobd/internal/engine/inspect"
)

// SumSuffix is what the name of a sidecar ends with, behind that of its file.
const SumSuffix = sumSuffix

// Sealed tells whether a file of the metadata is written once, and has a sidecar if there is redundancy.
func Sealed(name string) bool { return sealed(name) && !strings.HasSuffix(name, sumSuffix) }

// Inspect tells of a sidecar and holds the file that it is of, of size bytes, to it; r is nil if that is not there.
func Inspect(sidecar []byte, r io.ReaderAt, size int64, visit inspect.Visit) error {
	s, err := decodeSums(sidecar)
	head := inspect.New("sidecar", 0, int64(len(sidecar)))
	if err != nil {
		return visit(head.Bad("%v", err))
	}
	head.Add("vouches for bytes", s.size).Add("blocks", len(s.raw)/8).Add("bytes in a block", sumBlock)
	switch {
	case r == nil:
		head.Add("", "its file is not there")
	case size != s.size:
		head.Bad("its file has %d bytes", size)
	}
	if err := visit(head); err != nil || r == nil || size != s.size {
		return err
	}
	b := make([]byte, sumBlock)
	bad := 0
	for off := int64(0); off < size; off += sumBlock {
		p := b[:min(sumBlock, size-off)]
		n, err := r.ReadAt(p, off)
		if n == len(p) && s.check(p, off) {
			continue
		}
		bad++
		block := inspect.New("block of the file", off, int64(len(p)))
		if n < len(p) {
			block.Bad("it cannot be read: %v", errors.Join(err))
		}
		if err := visit(block.Bad("it is not of its sum")); err != nil {
			return err
		}
	}
	sum := inspect.New("file", 0, size).Add("blocks of their sum", len(s.raw)/8-bad)
	if bad > 0 {
		sum.Bad("%d blocks are not", bad)
	}
	return visit(sum)
}
