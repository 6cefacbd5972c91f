package usage

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/blobd/blobd/internal/engine"
)

// Meter is what an account or a subscription uses. A nil Meter measures nothing and allows everything.
type Meter struct {
	held     [2]struct{ bytes, objects atomic.Int64 } // blobs, tables
	owner    atomic.Pointer[Meter]                    // of the subscription that an account belongs to
	capacity atomic.Int64                             // of bytes held; 0 for none
	paces    atomic.Pointer[paces]                    // nil without a limit of what passes
	passed   struct{ requests, received, sent atomic.Int64 }
	setting  sync.Mutex
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

// Limit sets the limits, which hold from now on.
func (m *Meter) Limit(l Limits) {
	m.setting.Lock()
	defer m.setting.Unlock()
	m.capacity.Store(l.Capacity)
	was := m.paces.Load()
	if was == nil {
		was = &paces{}
	}
	now := &paces{was.requests.keep(l.Requests), was.egress.keep(l.Egress)}
	if now.requests == nil && now.egress == nil {
		now = nil
	}
	m.paces.Store(now)
}

// Admits tells whether so many bytes more may be held, here and in the subscription. Fewer always may. Writers that ask at the same time
// are all admitted if each alone is: they pass the limit by one write each at most.
func (m *Meter) Admits(more int64) bool {
	for ; m != nil && more > 0; m = m.owner.Load() {
		if limit := m.capacity.Load(); limit > 0 && m.held[0].bytes.Load()+m.held[1].bytes.Load()+more > limit {
			return false
		}
	}
	return true
}

// Enter counts a request that comes in, unless it is beyond a limit: then it tells which, whether that is the subscription's, and how long
// it will be. A request that its account refuses takes nothing from the subscription.
func (m *Meter) Enter(at time.Time) (over Excess, subscription bool, wait time.Duration) {
	for u := m; u != nil; u = u.owner.Load() {
		p := u.paces.Load()
		if p == nil {
			continue
		}
		now := since(at)
		if p.egress != nil {
			if wait := p.egress.owed(now); wait > 0 {
				return OverEgress, u != m, wait
			}
		}
		if p.requests != nil {
			if wait := p.requests.take(now); wait > 0 {
				return OverRequests, u != m, time.Duration(wait)
			}
		}
	}
	for ; m != nil; m = m.owner.Load() {
		m.passed.requests.Add(1)
	}
	return Within, false, 0
}

// Leave counts what a request that has entered brought and took, in bytes. What it took is charged now: requests at the same time pass
// the limit by one answer each at most.
func (m *Meter) Leave(received, sent int64, at time.Time) {
	for ; m != nil; m = m.owner.Load() {
		if received > 0 {
			m.passed.received.Add(received)
		}
		if sent == 0 {
			continue
		}
		m.passed.sent.Add(sent)
		if p := m.paces.Load(); p != nil && p.egress != nil {
			p.egress.charge(sent, since(at))
		}
	}
}

// Passed is what has come and gone.
type Passed struct {
	Requests int64 `json:"requests"`
	Received int64 `json:"received"` // bytes of bodies
	Sent     int64 `json:"sent"`
}

// Passed returns what has come and gone since the start.
func (m *Meter) Passed() Passed {
	if m == nil {
		return Passed{}
	}
	return Passed{m.passed.requests.Load(), m.passed.received.Load(), m.passed.sent.Load()}
}
