package scrub

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/blobd/blobd/internal/engine/inspect"
)

// record is what is kept of the scrub over restarts; docs/format.md, "Scrub", has its bytes.
type record struct {
	running, paused bool
	pass            uint64
	started         time.Time // of the pass
	finished        time.Time // of the last that came to its end
	next            uint64    // extent to go on with; 0: the metadata
	last            uint64    // extent at which the pass ends
	read            Found     // by the pass
}

const recordVersion = 1

var errRecord = errors.New("the record of the scrub is malformed")

func (r *record) encode() []byte {
	b := make([]byte, 0, 64)
	b = append(b, recordVersion, flag(r.running)|flag(r.paused)<<1)
	for _, v := range []uint64{r.pass, stamp(r.started), stamp(r.finished), r.next, r.last,
		uint64(r.read.Bytes), uint64(r.read.Found), uint64(r.read.Healed), uint64(r.read.Lost)} {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

// decode reads a record. One of a version that is not known is begun anew: nothing is lost with it but how far a pass was.
func (r *record) decode(b []byte) error {
	if len(b) < 2 {
		return errRecord
	}
	if b[0] != recordVersion {
		*r = record{}
		return nil
	}
	flags := b[1]
	b = b[2:]
	var v [9]uint64
	for i := range v {
		n := 0
		if v[i], n = binary.Uvarint(b); n <= 0 {
			return errRecord
		}
		b = b[n:]
	}
	*r = record{running: flags&1 != 0, paused: flags&2 != 0, pass: v[0], started: moment(v[1]), finished: moment(v[2]), next: v[3], last: v[4],
		read: Found{int64(v[5]), int64(v[6]), int64(v[7]), int64(v[8])}}
	return nil
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// stamp is a time in nanoseconds since 1970, 0 for none.
func stamp(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(t.UnixNano())
}

func moment(v uint64) time.Time {
	if v == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(v))
}

// Tell tells of a record.
func Tell(b []byte, i *inspect.Item) error {
	var r record
	if err := r.decode(b); err != nil {
		return err
	}
	i.Add("pass", r.pass).Add("running", r.running).Add("paused", r.paused).Add("began", r.started).Add("last one ended", r.finished).
		Add("goes on with extent", r.next).Add("ends with extent", r.last).Add("read", r.read.Bytes).Add("found", r.read.Found).Add("healed", r.read.Healed).Add("lost", r.read.Lost)
	return nil
}
