package extent

import (
	"github.com/blobd/blobd/internal/engine"
)

// Surface tells of chunks whether the files that they lie in are there and long enough, without reading them. It keeps the sizes of one
// extent: ask in the order of the references. It is for one goroutine.
type Surface struct {
	s     *Store
	id    uint64
	sizes [maxColumns]int64 // -1 for a file that is not there
}

// Surface begins to look at files as they are now.
func (s *Store) Surface() *Surface { return &Surface{s: s} }

// Lacks tells that too little of a chunk is there to read it (sure), or may be.
func (u *Surface) Lacks(ref engine.Ref) (lacks, sure bool) {
	p, err := parseRef(ref)
	if err != nil {
		return true, false
	}
	u.measure(p.extent)
	g := &u.s.g
	if !p.shape.packed {
		have := 0
		for c := range g.columns() {
			if u.sizes[c] >= g.reach(p, c) {
				have++
			}
		}
		return have < g.k, have < g.k
	}
	if u.sizes[p.shape.column] >= p.offset+int64(g.head)+p.shape.size {
		return false, false
	}
	// How many other columns the row has only its frames know: what may be lacking is to be read.
	have, parity := 0, 0
	for c := range g.columns() {
		if c != p.shape.column && u.sizes[c] > p.offset+int64(g.head) {
			have++
			if c >= g.k {
				parity++
			}
		}
	}
	return have < g.k, parity == 0
}

// reach is how long column c has to be to hold its part of a striped chunk.
func (g *geometry) reach(p place, c int) int64 {
	last := g.rowsOf(p.shape) - 1
	n := g.rowLength(p.shape, last)
	if c < g.k {
		n = g.length(p.shape, last, c)
	}
	end := p.offset + int64(last)*int64(g.frame())
	switch {
	case n > 0:
		return end + int64(g.head+n)
	case last > 0:
		return end
	}
	return 0 // it has no part of it
}

func (u *Surface) measure(id uint64) {
	if id == u.id {
		return
	}
	u.id = id
	for c := range u.sizes {
		u.sizes[c] = -1
	}
	x := u.s.acquire(id)
	if x == nil {
		return
	}
	defer u.s.release(x)
	for c := range x.cols {
		col := x.cols[c].Load()
		if col == nil || col.failed.Load() || col.disk.failed() {
			continue
		}
		if info, err := col.disk.FS.Stat(col.path); err == nil && !info.IsDir() {
			u.sizes[c] = info.Size()
		}
	}
}
