package local

import (
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/tally"
)

// pins protects chunks from collection for as long as someone in this process needs them: from Put to Forget, and while a
// reader is open. They need not survive a restart: what nobody owns by then is garbage.
type pins struct{ tally.Tally[engine.Ref] }

func (p *pins) pin(ref engine.Ref)         { p.Add(ref, 1) }
func (p *pins) unpin(ref engine.Ref)       { p.Add(ref, -1) }
func (p *pins) pinned(ref engine.Ref) bool { return p.Has(ref) }
