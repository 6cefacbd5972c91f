package diskspace

import "io"

// ChargedFrom is the size from which on a chunk's charge goes as it is written.
const ChargedFrom = 1 << 20

// Charge reads a chunk that was admitted, and ends its charge as the chunk is written: the file system tells of that part.
type Charge struct {
	r    io.Reader
	w    *Watch
	size int64 // of the chunk
	lag  int64 // bytes that are read ahead of what is written
	all  int64 // what was admitted
	read int64
	gave int64
}

// Charge returns a reader of a chunk of size bytes from r, for which n bytes were admitted, and of which lag bytes are read ahead of what
// is written.
func (w *Watch) Charge(r io.Reader, size, lag, n int64) *Charge {
	return &Charge{r: r, w: w, size: size, lag: lag, all: n}
}

// Read implements io.Reader.
func (c *Charge) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.read += int64(n)
	if give := max(0, c.read-c.lag) * c.all / c.size; give > c.gave {
		c.w.Done(give - c.gave)
		c.gave = give
	}
	return n, err
}

// Done ends what is left of the charge.
func (c *Charge) Done() { c.w.Done(c.all - c.gave) }
