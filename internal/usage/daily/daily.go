// Package daily keeps what each subscription has used, day by day, for billing.
//
// A day is one of UTC and has a record for each subscription that held or did anything in it: the sum of what was held at the beginning of
// each hour (byte hours), what was held and how many accounts there were at its end, and the requests and bytes that came and went.
// Hours in which the server did not run have what was held before and after, which is the same. What was held is as exact as the Ledger; of
// what came and went, the last minute before a crash is lost.
//
// A record lies in engine.SpaceAccount under usage/<day>/<subscription>/: the byte 1, the version of the format, and a JSON object (Record).
// usage/latest/ has the day from which the records are to be read at a start. Records are kept for Kept days.
package daily

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/usage"
)

// Kept is for how many days records are kept: a year, and a month to ask for it.
const Kept = 400

// Record is what a subscription has used in a day.
type Record struct {
	Day          string `json:"day"` // 2026-11-28
	Subscription string `json:"subscription"`
	Accounts     int    `json:"accounts"`
	// Hours is how many hours of the day have begun while the subscription was there; ByteHours of them are summed up.
	Hours          int   `json:"hours"`
	BlobByteHours  int64 `json:"blobByteHours"`
	TableByteHours int64 `json:"tableByteHours"`
	// What is held, now or at the end of the day.
	BlobBytes  int64 `json:"blobBytes"`
	Blobs      int64 `json:"blobs"`
	TableBytes int64 `json:"tableBytes"`
	Entities   int64 `json:"entities"`
	usage.Passed
	// Sampled is the last hour that is in the record or in one before, since 1970.
	Sampled int64 `json:"sampled"`
}

// mark is under usage/latest/.
type mark struct {
	Day string `json:"day"`
}

// idle tells that there is nothing to bill.
func (r *Record) idle() bool {
	return r.Accounts == 0 && r.Blobs == 0 && r.Entities == 0 && r.BlobByteHours == 0 && r.TableByteHours == 0 && r.Passed == usage.Passed{}
}

// Book writes the records. It is safe for concurrent use.
type Book struct {
	store    engine.Store
	ledger   *usage.Ledger
	accounts func(subscription string) int
	now      func() time.Time
	stop     context.CancelFunc
	done     chan struct{}

	mu      sync.Mutex
	current map[string]*entry // by subscription
	ended   []Record          // of days before, not yet written
	latest  string            // the day that is noted under usage/latest/
}

// entry is a subscription's record of the day.
type entry struct {
	Record
	written Record
	counted usage.Passed // of its meter, that is in the record or one before
}

const (
	version   = 1
	partition = "usage/"
	latestKey = partition + "latest/"
	hour      = int64(time.Hour / time.Second)
	// batch is how many records a transaction writes.
	batch = 500
)

func dayOf(h int64) string { return time.Unix(h*hour, 0).UTC().Format(time.DateOnly) }

func recordKey(day, subscription string) []byte {
	return []byte(partition + day + "/" + subscription + "/")
}

// Open reads the last records of a store and brings them up to the hour: the accounts are open, and nobody writes yet.
func Open(ctx context.Context, store engine.Store, ledger *usage.Ledger, accounts func(subscription string) int, now func() time.Time) (*Book, error) {
	b := &Book{store: store, ledger: ledger, accounts: accounts, now: now, current: map[string]*entry{}}
	err := store.View(ctx, nil, func(r engine.Reader) error {
		latest, err := r.Get(engine.SpaceAccount, []byte(latestKey))
		if errors.Is(err, engine.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		var m mark
		if err := decode([]byte(latestKey), latest, &m); err != nil {
			return err
		}
		b.latest = m.Day
		return scan(r, b.latest, "", func(rec *Record) error {
			b.current[rec.Subscription] = &entry{Record: *rec} // the later one of two
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read the daily usage: %w", err)
	}
	return b, b.Write(ctx)
}

func encode(v any) ([]byte, error) {
	body, err := json.Marshal(v)
	return append([]byte{version}, body...), err
}

func decode(key, value []byte, v any) error {
	if len(value) == 0 || value[0] != version || json.Unmarshal(value[1:], v) != nil {
		return fmt.Errorf("the record %q cannot be read: %w", key, engine.ErrCorrupt)
	}
	return nil
}

// scan visits the records from one day to another, both included; none for the last is all.
func scan(r engine.Reader, from, to string, visit func(*Record) error) error {
	end := []byte(latestKey)
	if to != "" {
		end = []byte(partition + to + "0") // behind the slash
	}
	it := r.Scan(engine.SpaceAccount, []byte(partition+from), end)
	defer it.Close()
	for it.Next() {
		value, err := it.Value()
		if err != nil {
			return err
		}
		var rec Record
		if err := decode(it.Key(), value, &rec); err != nil {
			return err
		}
		if err := visit(&rec); err != nil {
			return err
		}
	}
	return it.Close()
}

// Start writes at every minute until Close.
func (b *Book) Start(log *zap.Logger) {
	var ctx context.Context
	ctx, b.stop = context.WithCancel(context.Background())
	b.done = make(chan struct{})
	go func() {
		defer close(b.done)
		for {
			now := b.now()
			select {
			case <-time.After(now.Truncate(time.Minute).Add(time.Minute).Sub(now)):
			case <-ctx.Done():
				return
			}
			if err := b.Write(ctx); err != nil && ctx.Err() == nil {
				log.Warn("the daily usage could not be written, will try again", zap.Error(err))
			}
		}
	}()
}

// Close writes for the last time. Nobody uses the accounts any more.
func (b *Book) Close() error {
	if b.stop != nil {
		b.stop()
		<-b.done
	}
	return b.Write(context.Background())
}

// Write brings the records up to now.
func (b *Book) Write(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now().Unix() / hour
	for _, id := range b.ledger.Subscriptions() {
		e := b.current[id]
		if e == nil {
			e = &entry{Record: Record{Day: dayOf(now), Subscription: id, Sampled: now}}
			b.current[id] = e
		}
		b.advance(e, now)
	}
	records := b.ended
	for _, e := range b.current {
		if e.Record != e.written && !e.idle() {
			records = append(records, e.Record)
		}
	}
	for some := range slices.Chunk(records, batch) {
		err := b.store.Update(ctx, []byte(partition), func(tx engine.Tx) error {
			for i := range some {
				value, err := encode(&some[i])
				if err != nil {
					return err
				}
				tx.Set(engine.SpaceAccount, recordKey(some[i].Day, some[i].Subscription), value)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("write the daily usage: %w", err) // all of it is written again: to write a record twice changes nothing
		}
	}
	b.ended = nil
	for _, e := range b.current {
		e.written = e.Record
	}
	return b.forget(ctx, now)
}

// advance brings a record up to an hour. That of a day that ends keeps what was held when it was last written, and goes to those that are
// to be written for the last time.
func (b *Book) advance(e *entry, now int64) {
	m := b.ledger.Subscription(e.Subscription)
	blobs, tables, passed := m.Held(usage.Blobs), m.Held(usage.Tables), m.Passed()
	hold := func() {
		e.Accounts = b.accounts(e.Subscription)
		e.BlobBytes, e.Blobs, e.TableBytes, e.Entities = blobs.Bytes, blobs.Objects, tables.Bytes, tables.Objects
	}
	e.Sampled = max(e.Sampled, now-Kept*24) // of what was before nothing is kept
	for e.Sampled < now {
		e.Sampled++
		if day := dayOf(e.Sampled); day > e.Day {
			if !e.idle() {
				b.ended = append(b.ended, e.Record)
			}
			e.Record = Record{Day: day, Subscription: e.Subscription, Sampled: e.Sampled}
			hold()
		}
		e.Hours++
		e.BlobByteHours += blobs.Bytes
		e.TableByteHours += tables.Bytes
	}
	hold()
	e.Requests += passed.Requests - e.counted.Requests
	e.Received += passed.Received - e.counted.Received
	e.Sent += passed.Sent - e.counted.Sent
	e.counted = passed
}

// forget notes the day from which to read, once all records of the day before are written, and takes old records away.
func (b *Book) forget(ctx context.Context, now int64) error {
	today := dayOf(now)
	if today <= b.latest {
		return nil
	}
	cut := []byte(partition + dayOf(now-Kept*24))
	var old [][]byte
	err := b.store.View(ctx, nil, func(r engine.Reader) error {
		it := r.Scan(engine.SpaceAccount, []byte(partition), cut)
		defer it.Close()
		for it.Next() {
			old = append(old, bytes.Clone(it.Key()))
		}
		return it.Close()
	})
	for some := range slices.Chunk(old, batch) {
		if err == nil {
			err = b.store.Update(ctx, []byte(partition), func(tx engine.Tx) error {
				for _, key := range some {
					tx.Delete(engine.SpaceAccount, key)
				}
				return nil
			})
		}
	}
	if err == nil {
		err = b.store.Update(ctx, []byte(partition), func(tx engine.Tx) error {
			value, err := encode(mark{today})
			tx.Set(engine.SpaceAccount, []byte(latestKey), value)
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("write the daily usage: %w", err)
	}
	b.latest = today
	return nil
}

// ErrDay: what is given for a day is none.
var ErrDay = errors.New("a day is YYYY-MM-DD, as in 2026-11-28")

// Between returns the records from one day to another, both included, up to this moment, by day and subscription. With a subscription, only
// its.
func (b *Book) Between(ctx context.Context, from, to, subscription string) ([]Record, error) {
	for _, day := range []string{from, to} {
		if _, err := time.Parse(time.DateOnly, day); err != nil {
			return nil, fmt.Errorf("%q: %w", day, ErrDay)
		}
	}
	if err := b.Write(ctx); err != nil {
		return nil, err
	}
	var all []Record
	err := b.store.View(ctx, nil, func(r engine.Reader) error {
		return scan(r, from, to, func(rec *Record) error {
			if subscription == "" || strings.EqualFold(rec.Subscription, subscription) {
				all = append(all, *rec)
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read the daily usage: %w", err)
	}
	return all, nil
}
