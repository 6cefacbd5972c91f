package record

import (
	"bytes"
	"encoding/binary"
	"strings"
	"time"

	"github.com/blobd/blobd/internal/engine"
)

// Stamp is a moment as records hold it: ticks of 100 ns since 0001-01-01.
type Stamp = engine.Stamp

// StampOf returns a moment as a stamp.
func StampOf(t time.Time) Stamp { return engine.StampOf(t) }

// MaxInContainer is the longest key of a container's contents without the generation that it begins with, in bytes.
const MaxInContainer = engine.MaxKey - 8

// Generation numbers the life of a container from its creation to its deletion. It is the stamp of the creation, so its first
// byte is below every letter: no partition of a blob is a prefix of a container's or the other way round.
type Generation uint64

// A name in a key is escaped so that byte order of keys is that of names and no partition is a prefix of another: 00 becomes
// 00 FF and the end is 00 01.
const (
	escapeByte = 0x00
	escaped00  = 0xFF
	terminator = 0x01
)

// AppendContainerKey appends the key, and partition, of a container's record. Neither name can hold a 00.
func AppendContainerKey(b []byte, account, container string) []byte {
	b = append(b, account...)
	b = append(b, 0)
	b = append(b, container...)
	return append(b, 0)
}

func AppendGeneration(b []byte, g Generation) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(g))
}

// AppendEscaped appends a name, or the beginning of one, without the terminator.
func AppendEscaped(b []byte, name string) []byte {
	for {
		i := strings.IndexByte(name, 0)
		if i < 0 {
			return append(b, name...)
		}
		b = append(b, name[:i]...)
		b = append(b, escapeByte, escaped00)
		name = name[i+1:]
	}
}

// AppendPartition appends the partition of a blob name.
func AppendPartition(b []byte, g Generation, name string) []byte {
	b = AppendGeneration(b, g)
	b = AppendEscaped(b, name)
	return append(b, escapeByte, terminator)
}

// SplitKey cuts a key of a blob space into the partition's length and the name. The name aliases the key unless it holds a 00.
func SplitKey(key []byte) (name []byte, partition int, ok bool) {
	if len(key) < 10 {
		return nil, 0, false
	}
	rest := key[8:]
	i := bytes.IndexByte(rest, escapeByte)
	if i >= 0 && i+1 < len(rest) && rest[i+1] == terminator {
		return rest[:i], 8 + i + 2, true
	}
	for pos := 0; ; {
		i := bytes.IndexByte(rest[pos:], escapeByte)
		if i < 0 || pos+i+1 >= len(rest) {
			return nil, 0, false
		}
		name = append(name, rest[pos:pos+i]...)
		pos += i + 2
		switch rest[pos-1] {
		case terminator:
			return name, 8 + pos, true
		case escaped00:
			name = append(name, 0)
		default:
			return nil, 0, false
		}
	}
}

// After returns the first key that is above every key with the prefix, nil if there is none. The result may share b's array.
func After(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xFF {
			prefix[i]++
			return prefix[:i+1]
		}
	}
	return nil
}

// Slot tells where in a partition a blob lies: the zero Slot is the current blob, every other one is in the history.
type Slot struct {
	Stamp engine.Stamp // the snapshot or version id, or the time of the deletion
	Kind  SlotKind
}

// SlotKind is what a blob in the history is. At one stamp they sort in this order.
type SlotKind byte

// The kinds of slot.
const (
	SlotCurrent  SlotKind = 0
	SlotSnapshot SlotKind = 's'
	SlotDeleted  SlotKind = 't' // the base blob as a soft delete without versioning took it; once the name lives again, a soft-deleted snapshot
	SlotVersion  SlotKind = 'v'
)

const SlotSize = 9

func AppendSlot(b []byte, s Slot) []byte {
	if s.Kind == SlotCurrent {
		return b
	}
	b = binary.BigEndian.AppendUint64(b, uint64(s.Stamp))
	return append(b, byte(s.Kind))
}

func ParseSlot(b []byte) (Slot, bool) {
	if len(b) != SlotSize {
		return Slot{}, false
	}
	s := Slot{engine.Stamp(binary.BigEndian.Uint64(b)), SlotKind(b[8])}
	return s, s.Kind == SlotSnapshot || s.Kind == SlotDeleted || s.Kind == SlotVersion
}

// The kinds of key in SpaceBlock.
const (
	KeyContentPage  = 'c'
	KeyContentHead  = 'h'
	keyPending      = 'p'
	KeyPendingBlock = 'u'
)

func AppendContentKey(b, partition []byte, kind byte, id engine.Stamp) []byte {
	b = append(b, partition...)
	b = append(b, kind)
	return binary.BigEndian.AppendUint64(b, uint64(id))
}

func DeletedContainerKey(key []byte, g Generation) []byte {
	return AppendGeneration(append([]byte(nil), key...), g)
}

func PendingKey(partition []byte) []byte {
	return append(partition[:len(partition):len(partition)], keyPending)
}

// PendingPrefix begins the keys of an epoch's blocks; their ids follow.
func PendingPrefix(partition []byte, epoch engine.Stamp) []byte {
	return AppendContentKey(make([]byte, 0, len(partition)+9+MaxBlockID), partition, KeyPendingBlock, epoch)
}
