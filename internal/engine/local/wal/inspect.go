package wal

import (
	"encoding/binary"
	"errors"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/inspect"
)

// Inspect tells of a log's frames. l is nil if the store's secret is not known, without which no frame can be told from what a client wrote.
func (l *Frames) Inspect(name string, b []byte, visit inspect.Visit) error {
	number, ok := Number(name)
	if !ok {
		return errors.New("no log has that name")
	}
	if l == nil {
		return visit(inspect.New("log", 0, int64(len(b))).Add("number", number).Bad("the store's secret is not known: name the file in its data directory"))
	}
	if _, ok := l.framed(name); !ok {
		return visit(inspect.New("log of version 1", 0, int64(len(b))).Add("number", number).Add("", "without frames; its content is Pebble's business"))
	}
	frames, content := 0, []byte(nil)
	end := 0
	for {
		payload, next, synced := l.next(b, number, end)
		if next == end {
			break
		}
		if err := visit(inspect.New("frame", int64(end), int64(next-end)).Add("synced before", synced)); err != nil {
			return err
		}
		frames, content, end = frames+1, append(content, payload...), next
	}
	sum := inspect.New("end of the log", int64(end), 0).Add("frames", frames).Add("bytes in them", len(content)).
		Add("closed by Pebble", closed(content, number)).Add("bytes behind it", len(b)-end)
	if err := l.later(b, number, end); err != nil {
		sum.Bad("%v", err)
	}
	return visit(sum)
}

// InspectList tells of the list of the logs.
func InspectList(b []byte, visit inspect.Visit) error {
	store, start, logs, err := readList(b)
	head := inspect.New("header of the list of logs", 0, listHeader)
	if err != nil {
		head.Bad("%v", err)
	} else {
		head.Add("store", store[:]).Add("written by start", start).Add("logs", len(logs))
	}
	if err := visit(head); err != nil || len(b) < listHeader {
		return err
	}
	for at := listHeader; at < len(b); at += listRecord {
		r := b[at:min(at+listRecord, len(b))]
		if err := visit(inspectRecord(r, int64(at))); err != nil {
			return err
		}
	}
	return nil
}

func inspectRecord(r []byte, at int64) *inspect.Item {
	i := inspect.New("record", at, int64(len(r)))
	good, _ := listRecords(append(make([]byte, listHeader), r...))
	if len(good) == 0 {
		return i.Bad("%v: the last one may be what a crash left", engine.ErrCorrupt)
	}
	i.Add("log", Name(uint64(binary.BigEndian.Uint32(r))))
	if binary.BigEndian.Uint32(r[4:]) == isGone {
		return i.Add("", "is gone")
	}
	return i.Add("bytes at least", binary.BigEndian.Uint64(r[8:]))
}
