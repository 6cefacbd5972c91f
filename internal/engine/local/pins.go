package local

import (
	"sync"

	"github.com/blobd/blobd/internal/engine"
)

// pins protects chunks from collection for as long as someone in this process needs them: from Put to Forget, and while a
// reader is open. They need not survive a restart: what nobody owns by then is garbage.
type pins struct {
	mu sync.Mutex
	n  map[engine.Ref]int
}

func (p *pins) pin(ref engine.Ref) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n == nil {
		p.n = make(map[engine.Ref]int)
	}
	p.n[ref]++
}

func (p *pins) unpin(ref engine.Ref) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n[ref] > 1 {
		p.n[ref]--
	} else {
		delete(p.n, ref)
	}
}

func (p *pins) pinned(ref engine.Ref) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n[ref] > 0
}

// all returns the chunks that are pinned.
func (p *pins) all() []engine.Ref {
	p.mu.Lock()
	defer p.mu.Unlock()
	refs := make([]engine.Ref, 0, len(p.n))
	for ref := range p.n {
		refs = append(refs, ref)
	}
	return refs
}
