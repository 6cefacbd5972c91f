package table

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/engine"
)

// record is what the store keeps of a table:
//
//	version (1) | generation (8 bytes, big endian) | name | number of policies (uvarint) | policies
//
// A policy is id, start, expiry, whether it has a permission (1 byte) and the permission; strings have their length before
// them (uvarint).
type record struct {
	name       string // as it was created
	generation uint64
	policies   []auth.Policy
}

const recordVersion = 1

var errRecord = fmt.Errorf("table record: %w", engine.ErrCorrupt)

func (r *record) encode() []byte {
	b := binary.BigEndian.AppendUint64([]byte{recordVersion}, r.generation)
	b = appendString(b, r.name)
	b = binary.AppendUvarint(b, uint64(len(r.policies)))
	for i := range r.policies {
		p := &r.policies[i]
		b = appendString(appendString(appendString(b, p.ID), p.Start), p.Expiry)
		if p.HasPermission {
			b = append(b, 1)
		} else {
			b = append(b, 0)
		}
		b = appendString(b, p.Permission)
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func decodeRecord(b []byte) (r record, err error) {
	if len(b) < 9 {
		return r, errRecord
	}
	if b[0] != recordVersion {
		return r, fmt.Errorf("table record: unknown version %d", b[0])
	}
	r.generation = binary.BigEndian.Uint64(b[1:])
	d := stringReader{b[9:], nil}
	r.name = d.string()
	n := d.uvarint()
	for i := uint64(0); i < n && d.err == nil; i++ {
		p := auth.Policy{ID: d.string(), Start: d.string(), Expiry: d.string()}
		p.HasPermission = d.byte() != 0
		p.Permission = d.string()
		r.policies = append(r.policies, p)
	}
	if d.err != nil || len(d.rest) != 0 {
		return record{}, errRecord
	}
	return r, nil
}

// stringReader reads what appendString wrote; the first failure stays.
type stringReader struct {
	rest []byte
	err  error
}

func (d *stringReader) uvarint() uint64 {
	n, used := binary.Uvarint(d.rest)
	if used <= 0 {
		d.err, d.rest = errRecord, nil
		return 0
	}
	d.rest = d.rest[used:]
	return n
}

func (d *stringReader) byte() byte {
	if len(d.rest) == 0 {
		d.err = errRecord
		return 0
	}
	c := d.rest[0]
	d.rest = d.rest[1:]
	return c
}

func (d *stringReader) string() string {
	n := d.uvarint()
	if n > uint64(len(d.rest)) {
		d.err, d.rest = errRecord, nil
		return ""
	}
	s := string(d.rest[:n])
	d.rest = d.rest[n:]
	return s
}

// accountPrefix is what the keys of all tables of an account begin with. Account names hold no NUL.
func accountPrefix(account string) []byte {
	return append(append([]byte{'t'}, account...), 0)
}

// tableKey is the key of a table's record and the partition of everything about it but its entities.
func tableKey(account, name string) []byte {
	return append(append(accountPrefix(account), strings.ToLower(name)...), 0)
}

// queueKey is the key of a deleted table's place in the sweeper's queue.
func queueKey(account, name string, generation uint64) []byte {
	return binary.BigEndian.AppendUint64(tableKey(account, name), generation)
}

var errQueue = errors.New("malformed key in the sweeper's queue")

// splitQueueKey gives the partition that a place in the queue is of, and the generation.
func splitQueueKey(key []byte) (partition []byte, generation uint64, err error) {
	if len(key) < 9 || key[0] != 't' {
		return nil, 0, errQueue
	}
	at := len(key) - 8
	return key[:at], binary.BigEndian.Uint64(key[at:]), nil
}
