package md5lanes

import (
	"crypto/md5"
	"runtime"
	"sync"

	"github.com/blobd/blobd/internal/speedup"
)

// worthwhile is the shortest body for which looking for company pays, in bytes: a party costs each of its members a few hundred
// nanoseconds.
const worthwhile = 1 << 10

// longest is the longest body that is hashed in company, in bytes, since the leader of a party stays until the last is done.
const longest = 64 << 10

// Sum returns the MD5 of p. It hashes together the bodies of goroutines that call it at the same time, however many they are, if
// they are neither very short nor very long.
func Sum(p []byte) [md5.Size]byte { return gathering.sum(p) }

// gathering is where callers of Sum meet. The first of a party leads: it steps back once so that whoever is about to call can,
// hashes the bodies of all who came, and hands them their sums.
var gathering gate

type gate struct {
	mu    sync.Mutex
	open  *party // that may be joined; nil if there is none
	alone int    // how many leaders in turn found no company
	skip  int    // how many callers need not look for any
}

// A step back is not free: the scheduler may wake another core, which carries the caller off from what its own core has in its
// cache. When patience leaders in turn have found no company the next callers do without it: 2^patience of them, and twice as many
// whenever another finds none, up to 2^despair, which are a few milliseconds of hashing.
const (
	patience = 4
	despair  = 10
)

// party is callers whose bodies are hashed together. It is guarded by the gate's mutex while it is open, and the leader's
// afterwards.
type party struct {
	group
	n      int
	bodies [maxLanes][]byte
	tails  [maxLanes][2 * blockSize]byte
	// sums are not buffered: once the leader has handed over all of them nobody else knows the party, and it may be used again.
	sums [maxLanes]chan [md5.Size]byte
	own  [md5.Size]byte // the leader's sum
	end  func(stream int)
}

var parties = sync.Pool{New: func() any {
	p := new(party)
	for i := range p.sums {
		p.sums[i] = make(chan [md5.Size]byte)
	}
	p.end = p.ended
	return p
}}

func (g *gate) sum(body []byte) [md5.Size]byte {
	if len(body) < worthwhile || len(body) > longest || widest() == 1 {
		return md5.Sum(body)
	}
	g.mu.Lock()
	if p := g.open; p != nil {
		sum := p.sums[p.n]
		p.join(body)
		if p.n == widest() {
			g.open = nil
		}
		g.mu.Unlock()
		return <-sum
	}
	if g.skip > 0 {
		g.skip--
		g.mu.Unlock()
		speedup.MD5Rounds.Add(0, 1)
		speedup.MD5Bodies.Add(0, 1)
		return md5.Sum(body)
	}
	p := parties.Get().(*party)
	p.join(body)
	g.open = p
	g.mu.Unlock()
	runtime.Gosched()
	g.mu.Lock()
	if g.open == p {
		g.open = nil
	}
	if p.n > 1 {
		g.alone = 0
	} else if g.alone = min(g.alone+1, despair); g.alone >= patience {
		g.skip = 1 << g.alone
	}
	g.mu.Unlock()
	return p.lead()
}

func (p *party) join(body []byte) {
	p.bodies[p.n] = body
	p.n++
}

// lead hashes all bodies, the first of which is the caller's own, and disbands the party.
func (p *party) lead() (sum [md5.Size]byte) {
	speedup.MD5Rounds.Add(0, 1)
	speedup.MD5Bodies.Add(0, int64(p.n))
	if p.n == 1 {
		sum = md5.Sum(p.bodies[0])
	} else {
		for i, b := range p.bodies[:p.n] {
			whole := len(b) &^ (blockSize - 1)
			p.streams[i] = stream{state: initial, blocks: b[:whole], tail: pad(&p.tails[i], b[whole:], uint64(len(b)))}
		}
		p.run(p.n, p.end)
		sum = p.own
	}
	clear(p.bodies[:p.n])
	p.n = 0
	parties.Put(p)
	return sum
}

func (p *party) ended(i int) {
	if i == 0 {
		p.own = p.streams[0].sum()
	} else {
		p.sums[i] <- p.streams[i].sum()
	}
}
