package md5lanes

import (
	"crypto/md5"
	"encoding/binary"

	"github.com/blobd/blobd/internal/speedup"
)

// maxLanes is the number of lanes of the widest kernel that there is for any processor.
const maxLanes = 32

const blockSize = md5.BlockSize

// initial is the state at the start of a body (RFC 1321, 3.3).
var initial = [4]uint32{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476}

// kernel advances every one of its lanes by n blocks, at least one.
type kernel struct {
	name    string
	lanes   int
	advance func(state *[4][maxLanes]uint32, from *[maxLanes]*byte, n int)
}

// kernels are those of this processor, the narrowest, which has one lane, first. There are none where crypto/md5 does the work.
var kernels = detect()

// widest is how many streams are hashed at once at most.
func widest() int {
	if len(kernels) == 0 || !speedup.MD5Lanes.On() {
		return 1
	}
	return kernels[len(kernels)-1].lanes
}

// stream is what a lane hashes.
type stream struct {
	state  [4]uint32
	blocks []byte // whole blocks
	tail   []byte // whole blocks that follow them: the end of a body with its padding
}

// group is streams that are hashed together, and the registers of the kernels.
type group struct {
	streams [maxLanes]stream
	state   [4][maxLanes]uint32
	from    [maxLanes]*byte
	lanes   [maxLanes]uint8 // the stream of each lane
}

// run hashes the first n streams to their ends. It lets go of their bytes and calls ended with the number of each as it ends.
func (g *group) run(n int, ended func(stream int)) {
	live := 0
	for i := range n {
		if !g.streams[i].rest() {
			ended(i)
			continue
		}
		g.lanes[live] = uint8(i)
		for row, v := range g.streams[i].state {
			g.state[row][live] = v
		}
		live++
	}
	for live > 0 {
		k := narrowest(live)
		least := len(g.streams[g.lanes[0]].blocks)
		for lane := range live {
			blocks := g.streams[g.lanes[lane]].blocks
			g.from[lane] = &blocks[0]
			least = min(least, len(blocks))
		}
		for lane := live; lane < k.lanes; lane++ {
			// Nobody asks what comes out of these.
			g.from[lane] = g.from[0]
		}
		k.advance(&g.state, &g.from, least/blockSize)
		for lane := live - 1; lane >= 0; lane-- {
			i := g.lanes[lane]
			s := &g.streams[i]
			s.blocks = s.blocks[least:]
			if s.rest() {
				continue
			}
			live--
			for row := range s.state {
				s.state[row] = g.state[row][lane]
				g.state[row][lane] = g.state[row][live]
			}
			g.lanes[lane] = g.lanes[live]
			ended(int(i))
		}
	}
	clear(g.from[:])
}

// rest tells whether there is more, and has it in blocks.
func (s *stream) rest() bool {
	if len(s.blocks) == 0 {
		s.blocks, s.tail = s.tail, nil
	}
	if len(s.blocks) == 0 {
		s.blocks = nil
		return false
	}
	return true
}

// narrowest is the kernel for so many streams.
func narrowest(streams int) *kernel {
	for i := range kernels {
		if kernels[i].lanes >= streams {
			return &kernels[i]
		}
	}
	panic("more streams than lanes")
}

// pad is the last blocks of a body of length bytes: end, which is shorter than a block, then RFC 1321's padding.
func pad(to *[2 * blockSize]byte, end []byte, length uint64) []byte {
	blocks := to[:blockSize]
	if len(end) > blockSize-9 {
		blocks = to[:2*blockSize]
	}
	clear(blocks)
	blocks[copy(blocks, end)] = 0x80
	binary.LittleEndian.PutUint64(blocks[len(blocks)-8:], length<<3)
	return blocks
}

// sum is the MD5 of a body whose last block has been hashed.
func (s *stream) sum() (sum [md5.Size]byte) {
	for i, v := range s.state {
		binary.LittleEndian.PutUint32(sum[4*i:], v)
	}
	return sum
}
