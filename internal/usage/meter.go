package usage

import (
	"sync/atomic"

	"github.com/blobd/blobd/internal/engine"
)

// Meter is what an account or a subscription uses. A nil Meter measures nothing and allows everything.
type Meter struct {
	held  [2]struct{ bytes, objects atomic.Int64 } // blobs, tables
	owner atomic.Pointer[Meter]                    // of the subscription that an account belongs to
	limit atomic.Int64                             // of bytes held; 0 for none
}

func index(service byte) int {
	if service == Tables {
		return 1
	}
	return 0
}

func (m *Meter) add(service byte, by engine.Amount) {
	for i := index(service); m != nil; m = m.owner.Load() {
		m.held[i].bytes.Add(by.Bytes)
		m.held[i].objects.Add(by.Objects)
	}
}

// Held returns what is held in a service now.
func (m *Meter) Held(service byte) engine.Amount {
	if m == nil {
		return engine.Amount{}
	}
	h := &m.held[index(service)]
	return engine.Amount{Bytes: h.bytes.Load(), Objects: h.objects.Load()}
}

// Bytes returns what is held in all services now.
func (m *Meter) Bytes() int64 { return m.Held(Blobs).Plus(m.Held(Tables)).Bytes }

// Limit sets how many bytes may be held, 0 for any number.
func (m *Meter) Limit(bytes int64) { m.limit.Store(bytes) }

// Admits tells whether so many bytes more may be held, here and in the subscription. Fewer always may. Writers that ask at the same time
// are all admitted if each alone is: they pass the limit by one write each at most.
func (m *Meter) Admits(more int64) bool {
	for ; m != nil && more > 0; m = m.owner.Load() {
		if limit := m.limit.Load(); limit > 0 && m.held[0].bytes.Load()+m.held[1].bytes.Load()+more > limit {
			return false
		}
	}
	return true
}
