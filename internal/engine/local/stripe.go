package local

import (
	"hash/maphash"
	"sync"
)

// stripes is how many locks the partitions share (lock striping).
const stripes = 1024

// stripe serialises the transactions of the partitions that hash to it, and knows which of them are on their way to the disk.
//
// A transaction is visible from its queueing on, before its sync (docs/design/001-visibility.md). Sequence numbers count the
// stripe's transactions: queued is raised before the batch is applied, durable when the log that holds it is synced. As the log
// is a prefix, a durable transaction makes all earlier ones of the stripe durable.
type stripe struct {
	tx sync.Mutex // held while a transaction runs and is queued

	mu      sync.Mutex
	moved   *sync.Cond // of mu: durable moved or err was set
	queued  uint64
	durable uint64
	waiters int
	err     error // sticky: the log failed, nothing queued will become durable
}

type stripeSet struct {
	seed maphash.Seed
	s    [stripes]stripe
}

func newStripes() *stripeSet {
	set := &stripeSet{seed: maphash.MakeSeed()}
	for i := range set.s {
		set.s[i].moved = sync.NewCond(&set.s[i].mu)
	}
	return set
}

func (set *stripeSet) of(partition []byte) *stripe {
	return &set.s[maphash.Bytes(set.seed, partition)%stripes]
}

// queue numbers a transaction that is about to be applied. Called with tx held.
func (p *stripe) queue() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queued++
	return p.queued
}

// endCommit tells the outcome of the transaction with number seq.
func (p *stripe) endCommit(seq uint64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		if p.err == nil {
			p.err = err
		}
	} else {
		p.durable = max(p.durable, seq)
	}
	if p.waiters > 0 {
		p.moved.Broadcast()
	}
}

// wait returns when everything queued so far is durable, or why that cannot be waited for.
func (p *stripe) wait(st *state) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	target := p.queued
	for p.durable < target && p.err == nil {
		if err := st.held(); err != nil {
			return err
		}
		p.waiters++
		p.moved.Wait()
		p.waiters--
	}
	if p.durable < p.queued {
		return p.err
	}
	return nil
}

// wakeAll wakes all who wait, to see that the log is held up.
func (set *stripeSet) wakeAll() {
	for i := range set.s {
		p := &set.s[i]
		p.mu.Lock()
		p.moved.Broadcast()
		p.mu.Unlock()
	}
}
