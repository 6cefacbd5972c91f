package extent

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/crc64"
	"github.com/blobd/blobd/internal/engine/siphash"
)

// Chunks whose bytes look like what the store writes itself. TestHostileContent in the package local draws them at random.

// hostileWidths are those in which a client's bytes lie in a column as they are, and one in which they do in several.
var hostileWidths = []struct{ k, m int }{{1, 0}, {1, 1}, {2, 1}, {2, 2}, {4, 2}}

// formerStore opens a store that writes extents of version 1, as far as chunks go.
func formerStore(t *testing.T, opts Options) *Store {
	t.Helper()
	opts.Version2 = 1 << 40
	s := open(t, opts)
	s.last = 0
	return s
}

// forgedFooter is a footer that says of itself that it belongs at an offset, as a client can make it.
func forgedFooter(version uint32, id uint64, c int, off int64, secret siphash.Key) []byte {
	b := footer{extent: id, column: uint8(c), length: off, data: 5}.encode(&secret)
	if version == 1 {
		binary.BigEndian.PutUint32(b[8:], 1)
		binary.BigEndian.PutUint64(b[footerSum:], crc64.Sum(b[:footerSum]))
	}
	return b
}

// TestAChunkThatEndsInAFooter is whole after its extent has been sealed, by its writer or by the next start, and so is its neighbour.
func TestAChunkThatEndsInAFooter(t *testing.T) {
	for _, w := range hostileWidths {
		for _, former := range []bool{false, true} {
			fs := vfs.NewMem()
			opts := options(w.k, w.m, disksOn(fs, w.k+w.m))
			refs := sealedStore(t, opts, []int64{3000}) // for a real footer
			path := columnPaths(t, opts.Disks, ID(refs[0]), w.k+w.m)[0]
			real := content(t, fs, path)
			real = real[len(real)-footerSize:]
			off := int64(headerSize + newGeometry(w.k, w.m).frame()) // of the second row
			head := newGeometry(w.k, w.m).head
			endings := map[string][]byte{
				"a real footer":               real,
				"only the magic":              append([]byte(magicFooter), make([]byte, footerSize-8)...),
				"only the length":             binary.BigEndian.AppendUint64(make([]byte, 24), uint64(off)+uint64(head)+4096),
				"a footer of version 1":       forgedFooter(1, 1, 0, off+int64(head)+4096, secret),
				"one with another secret":     forgedFooter(2, 1, 0, off+int64(head)+4096, siphash.Key{9}),
				"one that cuts the neighbour": forgedFooter(1, 1, 0, headerSize+100, secret),
			}
			for name, tail := range endings {
				tail = append(bytes.Clone(tail), make([]byte, footerSize-len(tail))...)
				for _, bySeal := range []bool{true, false} {
					t.Run(fmt.Sprintf("%d+%d former %v, %s, sealed %v", w.k, w.m, former, name, bySeal), func(t *testing.T) {
						fs := vfs.NewMem()
						opts := options(w.k, w.m, disksOn(fs, w.k+w.m))
						s := open(t, opts)
						if former {
							s = formerStore(t, opts)
						}
						neighbour := pattern(3, blockSize*int64(w.k))
						first := put(t, s, neighbour)
						hostile := append(pattern(4, 4096), tail...) // to the end of the file
						if w.k > 1 {
							hostile = nil // each data column ends in it
							for range w.k {
								hostile = append(append(hostile, pattern(4, blockSize-footerSize)...), tail...)
							}
						}
						second := put(t, s, hostile)
						if bySeal {
							require.NoError(t, s.Seal(ID(first)))
							s.work.idle()
						}
						require.NoError(t, s.Close())
						if former {
							opts.Version2 = 2
						}
						for range 2 {
							s = open(t, opts)
							s.work.idle()
							requireContent(t, s, first, neighbour)
							requireContent(t, s, second, hostile)
							rep, err := s.Verify(context.Background(), ID(first))
							require.NoError(t, err)
							require.Empty(t, rep.Bad)
							require.True(t, s.Extents()[0].Sealed)
							require.EqualValues(t, len(neighbour)+len(hostile), s.Extents()[0].Data)
							require.NoError(t, s.Close())
						}
					})
				}
			}
		}
	}
}

// TestARowInAChunk: where a damaged row makes the walk look for the next one, it looks through a client's bytes. What a client made
// there changes nothing: not what is counted, and above all not what lies under it.
func TestARowInAChunk(t *testing.T) {
	for _, w := range hostileWidths {
		for _, former := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d+%d former %v", w.k, w.m, former), func(t *testing.T) {
				fs := vfs.NewMem()
				opts := options(w.k, w.m, disksOn(fs, w.k+w.m))
				s := open(t, opts)
				if former {
					s = formerStore(t, opts)
				}
				g := &s.g
				// In each data column of the first row: a frame that lies where it says, and reaches over the second row.
				at := headerSize + (blockSize-1024)&^(rowAlign-1)
				hostile := make([]byte, 0, w.k*blockSize)
				cells := make([]cell, w.k)
				payload := bytes.Repeat([]byte("forged! "), blockSize/8)
				var table []byte
				if w.m > 0 {
					for c := range cells {
						cells[c] = cell{blockSize, crc64.Sum(payload)}
					}
					table = make([]byte, w.k*cellSize)
					encodeTable(table, cells)
				}
				for c := range w.k {
					f := frame{kind: kindStriped, column: uint8(c), k: uint8(w.k), m: uint8(w.m), extent: 1, offset: uint32(at), length: 512, rowLength: 512,
						chunkOffset: uint32(at), chunkLength: uint32(512 * w.k), sum: crc64.Sum(payload[:512]), table: table}
					if w.m > 0 {
						for i := range cells {
							cells[i] = cell{512, f.sum}
						}
						encodeTable(table, cells)
					}
					b := make([]byte, g.head)
					f.encode(b, binary.BigEndian.Uint64(opts.StoreID[:])) // all that a client can know
					column := pattern(uint64(c), blockSize)
					copy(column[at-headerSize-g.head:], append(b, payload[:512]...))
					hostile = append(hostile, column...)
				}
				first, second := put(t, s, hostile), put(t, s, pattern(77, int64(w.k)*blockSize))
				require.NoError(t, s.Close())
				paths := columnPaths(t, opts.Disks, 1, w.k+w.m)
				before := content(t, fs, paths[w.k+w.m-1])
				for _, p := range paths { // nothing is left of the first row's headers
					overwrite(t, fs, p, headerSize, make([]byte, g.head))
				}
				if former {
					opts.Version2, opts.Owned = 2, func(ref engine.Ref) bool { return ref == first || ref == second }
				}
				s = open(t, opts)
				s.work.idle()
				rep, err := s.Heal(context.Background(), 1)
				require.NoError(t, err)
				require.Equal(t, 1, rep.Rows, "only the second row is one")
				requireContent(t, s, second, pattern(77, int64(w.k)*blockSize))
				after := content(t, fs, paths[w.k+w.m-1])
				require.Equal(t, before[headerSize+g.head:], after[headerSize+g.head:len(before)], "no byte of a row was changed")
				_, err = read(s, first, 0, 10)
				require.ErrorIs(t, err, engine.ErrCorrupt)
			})
		}
	}
}

// TestACopyOfTheExtentInItself: all frames, the header and the footer of an extent as the content of chunks in it and in the next.
func TestACopyOfTheExtentInItself(t *testing.T) {
	for _, w := range hostileWidths {
		t.Run(fmt.Sprintf("%d+%d", w.k, w.m), func(t *testing.T) {
			fs := vfs.NewMem()
			opts := options(w.k, w.m, disksOn(fs, w.k+w.m))
			s := open(t, opts)
			want := map[engine.Ref][]byte{}
			add := func(b []byte) {
				ref := put(t, s, b)
				want[ref] = b
			}
			add(pattern(1, 200_000))
			add(pattern(2, 900))
			for range 3 {
				for id := range uint64(len(s.Extents())) {
					for _, p := range columnPaths(t, opts.Disks, id+1, w.k+w.m) {
						b := content(t, fs, p)
						add(b[:min(len(b), engine.MaxChunk)])
						add(b[headerSize:min(len(b), headerSize+blockSize)])
						add(b[len(b)-footerSize:])
					}
				}
				require.NoError(t, s.Seal(uint64(len(s.Extents()))))
				s.work.idle()
				require.NoError(t, s.Close())
				s = open(t, opts)
				s.work.idle()
				for ref, b := range want {
					requireContent(t, s, ref, b)
				}
				for _, info := range s.Extents() {
					rep, err := s.Verify(context.Background(), info.ID)
					require.NoError(t, err)
					require.Empty(t, rep.Bad)
				}
			}
		})
	}
}
