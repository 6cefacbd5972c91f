package extent

// geometry is how the rows of a store's extents are cut.
type geometry struct {
	k, m int
	head int // bytes of a frame header
	rows int // rows that a transfer buffers at a time
}

func newGeometry(k, m int) geometry {
	// About 256 KiB of content to a system call: enough to make the call cheap, little enough to stay in a core's cache.
	return geometry{k: k, m: m, head: headSize(k, m), rows: max(1, 4/k)}
}

// headSize returns the length of the frame headers of extents with k data and m parity columns.
func headSize(k, m int) int {
	if m == 0 {
		return frameFixed
	}
	return frameFixed + alignUp(k*cellSize)
}

func alignUp[T int | int64](n T) T { return (n + rowAlign - 1) &^ (rowAlign - 1) }

func (g geometry) columns() int { return g.k + g.m }

// frame is the length of a full frame, and so the distance between full rows.
func (g geometry) frame() int { return g.head + blockSize }

// need is how many columns must take a write for it to count. With m disks gone writes go on, without redundancy until what is
// missing has been healed: to refuse them would turn the loss of disks that the store is made to survive into an outage.
func (g geometry) need() int { return g.k }

// shape is how a chunk lies in its rows. A striped chunk has full rows of k blocks and a last row shared evenly; a packed one
// is whole in one column of a single row.
type shape struct {
	size   int64
	packed bool
	column int // of a packed one
}

// rowsOf returns the number of rows.
func (g geometry) rowsOf(s shape) int {
	row := int64(g.k) * blockSize
	if s.packed {
		return 1
	}
	return int((s.size + row - 1) / row)
}

// rowSize returns the bytes of content in row r.
func (g geometry) rowSize(s shape, r int) int {
	row := int64(g.k) * blockSize
	if s.packed {
		return int(s.size)
	}
	return int(min(row, s.size-int64(r)*row))
}

// rowLength returns the longest payload of row r of a striped chunk.
func (g geometry) rowLength(s shape, r int) int {
	n := g.rowSize(s, r)
	return min(alignUp((n+g.k-1)/g.k), n)
}

// length returns the payload of column c in row r of a striped chunk; 0 where the row ends before it.
func (g geometry) length(s shape, r, c int) int {
	each := g.rowLength(s, r)
	return max(0, min(each, g.rowSize(s, r)-c*each))
}

// region returns the bytes that a striped chunk takes in every column.
func (g geometry) region(s shape) int64 {
	last := g.rowsOf(s) - 1
	return int64(last)*int64(g.frame()) + int64(g.stride(g.rowLength(s, last)))
}

// stride returns the distance from a row with the given longest payload to the next.
func (g geometry) stride(rowLength int) int { return g.head + alignUp(rowLength) }
