package record

import (
	"bytes"

	"github.com/blobd/blobd/internal/protocol"
)

// tagPartition is the index of one container's life. No container key begins with it: after the 00 there is a generation, whose
// first byte is below every letter.
func AppendTagPartition(b []byte, account string, g Generation) []byte {
	b = append(append(b, account...), 0)
	return AppendGeneration(b, g)
}

func AppendTagKey(b, partition []byte, tag protocol.Pair, name string) []byte {
	b = append(append(append(b, partition...), tag.Name...), 0)
	b = append(append(b, tag.Value...), 0)
	return append(AppendEscaped(b, name), escapeByte, terminator)
}

// ParseTagKey reads what follows the partition.
func ParseTagKey(k []byte) (tag protocol.Pair, name string, ok bool) {
	n, rest, ok1 := bytes.Cut(k, []byte{0})
	v, rest, ok2 := bytes.Cut(rest, []byte{0})
	b, end, ok3 := SplitKey(append(make([]byte, 8, 8+len(rest)), rest...))
	return protocol.Pair{Name: string(n), Value: string(v)}, string(b), ok1 && ok2 && ok3 && end == 8+len(rest)
}
