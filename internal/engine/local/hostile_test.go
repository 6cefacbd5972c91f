package local_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/crc64"
	"github.com/blobd/blobd/internal/engine/local"
)

var (
	hostileRestarts = flag.Int("hostile", 200, "restarts of TestHostileContent in all")
	hostileSeed     = flag.Uint64("hostileseed", 1, "first seed of TestHostileContent")
)

// TestHostileContent stores what the store itself writes: whole files and parts of them, of this store and of another, and forgeries
// made with all that a client can know, cut so that rows and extents end with them. In between the store is killed, stopped, and
// collected. Whatever was acknowledged is there afterwards, and nothing else.
func TestHostileContent(t *testing.T) {
	layouts := []int{1, 2, 3, 4, 6}
	foreign := strangersFiles(t)
	const lives = 40 // of a store
	for i, n := range layouts {
		t.Run(fmt.Sprintf("%d disks", n), func(t *testing.T) {
			t.Parallel()
			restarts := (*hostileRestarts + len(layouts) - 1) / len(layouts)
			for done, seed := 0, *hostileSeed+uint64(i)<<32; done < restarts && !t.Failed(); seed++ {
				m := &hostileModel{disks: n, foreign: foreign, rng: rand.New(rand.NewPCG(seed, 3)), mem: vfs.NewCrashableMem(), want: map[string][]byte{}}
				for life := range lives {
					if done == restarts {
						break
					}
					done++
					if err := m.live(); err != nil {
						t.Errorf("seed %d, life %d: %v", seed, life, err)
						break
					}
				}
			}
			t.Logf("%d restarts", restarts)
		})
	}
}

// strangersFiles returns the files of another store.
func strangersFiles(t *testing.T) (all [][]byte) {
	m := &hostileModel{disks: 3, rng: rand.New(rand.NewPCG(99, 3)), mem: vfs.NewCrashableMem(), want: map[string][]byte{}}
	for range 3 {
		require.NoError(t, m.live())
	}
	for name := range files(t, m.mem, "") {
		b, err := contentOf(m.mem, name)
		require.NoError(t, err)
		all = append(all, b)
	}
	return all
}

func contentOf(fs vfs.FS, name string) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	return b, errors.Join(err, f.Close())
}

// hostileModel is a store and what was acknowledged to its clients.
type hostileModel struct {
	disks   int
	foreign [][]byte
	rng     *rand.Rand

	mu   sync.Mutex
	mem  *vfs.MemFS
	want map[string][]byte
	// A name that is being written, and what with; nil to remove it.
	pending string
	next    []byte
}

// copy returns the model as it is, on the disks that a kill with so much of what was not synced leaves.
func (m *hostileModel) copy(percent int, rng *rand.Rand) *hostileModel {
	m.mu.Lock() // first what was acknowledged, then the disks: see crashtest
	c := &hostileModel{want: maps.Clone(m.want), pending: m.pending, next: m.next}
	m.mu.Unlock()
	c.mem = m.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
	return c
}

// live opens the store, looks at all of it, writes, and ends it.
func (m *hostileModel) live() error {
	var left *hostileModel // after a kill
	after, percent, cut := -1, []int{0, 50, 100}[m.rng.IntN(3)], rand.New(rand.NewPCG(m.rng.Uint64(), 0))
	if m.rng.IntN(3) > 0 {
		after = m.rng.IntN(250)
	}
	var mu sync.Mutex // guards left and after
	o := small(m.disks)
	o.ExtentSize = hostileExtent
	o.FS = errorfs.Wrap(m.mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || op.Kind == errorfs.OpFileClose {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		if after--; after == 0 {
			left = m.copy(percent, cut)
		}
		return nil
	}))
	s, err := local.Open(o)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	if err := m.use(s); err != nil {
		return errors.Join(err, s.Close())
	}
	if err := s.Close(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if left == nil {
		left = m.copy(0, nil) // stopped: all is synced
	}
	m.mem, m.want, m.pending, m.next = left.mem, left.want, left.pending, left.next
	return nil
}

func (m *hostileModel) use(s *local.Store) error {
	if m.rng.IntN(2) == 0 {
		s.Idle()
	}
	if err := m.check(s); err != nil {
		return err
	}
	for range 3 + m.rng.IntN(5) {
		if err := m.write(s); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		if m.rng.IntN(8) == 0 {
			if err := s.Collect(background); err != nil {
				return fmt.Errorf("collect: %w", err)
			}
		}
	}
	return m.check(s)
}

// write puts hostile content under a name, or removes it.
func (m *hostileModel) write(s *local.Store) error {
	name := fmt.Sprintf("n%02d/", m.rng.IntN(20))
	content := m.draw()
	if m.rng.IntN(6) == 0 {
		content = nil
	}
	m.mu.Lock()
	m.pending, m.next = name, content
	m.mu.Unlock()
	var refs []engine.Ref
	if len(content) > engine.MaxInline || len(content) > 0 && m.rng.IntN(2) == 0 {
		for part := range slices.Chunk(content, engine.MaxChunk) {
			c, err := s.Put(background, bytes.NewReader(part), int64(len(part)))
			if err != nil {
				return err
			}
			refs = append(refs, c.Ref)
		}
	}
	err := s.Update(background, []byte(name), func(tx engine.Tx) error {
		old, err := tx.Get(recordSpace, []byte(name))
		if err != nil && err != engine.ErrNotFound {
			return err
		}
		for ref := range slices.Chunk(old, len(engine.Ref{})) {
			tx.Release(engine.Ref(ref))
		}
		tx.Delete(dataSpace, []byte(name))
		if content == nil {
			tx.Delete(recordSpace, []byte(name))
			return nil
		}
		var record []byte
		for _, ref := range refs {
			tx.Retain(ref)
			record = append(record, ref[:]...)
		}
		tx.Set(recordSpace, []byte(name), record)
		if refs == nil {
			tx.Set(dataSpace, []byte(name), content)
		}
		return nil
	})
	s.Forget(refs...)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settle(content)
	return nil
}

// settle notes what became of the write under way.
func (m *hostileModel) settle(content []byte) {
	if content == nil {
		delete(m.want, m.pending)
	} else {
		m.want[m.pending] = content
	}
	m.pending, m.next = "", nil
}

// check reads the whole store.
func (m *hostileModel) check(s *local.Store) error {
	found := map[string][]byte{}
	refs := map[string][]byte{}
	err := s.View(background, nil, func(r engine.Reader) error {
		it := r.Scan(recordSpace, nil, nil)
		for it.Next() {
			v, err := it.Value()
			if err != nil {
				return errors.Join(err, it.Close())
			}
			refs[string(it.Key())] = bytes.Clone(v)
			found[string(it.Key())] = []byte{}
		}
		if err := it.Close(); err != nil {
			return err
		}
		it = r.Scan(dataSpace, nil, nil)
		for it.Next() {
			v, err := it.Value()
			if err != nil {
				return errors.Join(err, it.Close())
			}
			found[string(it.Key())] = bytes.Clone(v)
		}
		return it.Close()
	})
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	for name, list := range refs {
		for ref := range slices.Chunk(list, len(engine.Ref{})) {
			ref := engine.Ref(ref)
			b, err := readChunk(s, ref, int64(binary.BigEndian.Uint32(ref[12:])))
			if err != nil {
				return fmt.Errorf("%s of %d bytes: %w", name, len(m.want[name]), err)
			}
			found[name] = append(found[name], b...)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.pending != "" {
		got, ok := found[m.pending]
		if is := ok && m.next != nil && bytes.Equal(got, m.next) || !ok && m.next == nil; is {
			m.settle(m.next)
		} else {
			m.pending, m.next = "", nil // what was there before, as is seen below
		}
	}
	for name, b := range found {
		if want, ok := m.want[name]; !ok || !bytes.Equal(b, want) {
			return fmt.Errorf("%s has %d bytes that are not the %d written there", name, len(b), len(want))
		}
	}
	if len(found) != len(m.want) {
		return fmt.Errorf("%d names are found of %d", len(found), len(m.want))
	}
	return nil
}

const (
	hostileExtent = 192 << 10
	block         = 64 << 10 // payload of a full frame
)

// draw makes the content of a client.
func (m *hostileModel) draw() []byte {
	var piece []byte
	switch m.rng.IntN(8) {
	case 0, 1, 2: // of this store
		piece = m.file()
	case 3:
		piece = m.stranger()
	case 4: // a part that was cut out where structures begin or end
		piece = m.file()
		if n := len(piece) / 64; n > 0 {
			piece = piece[64*m.rng.IntN(n):]
		}
	case 5:
		piece = m.footer()
	case 6:
		piece = m.logChunks()
	default:
		piece = m.frames()
	}
	// The last bytes of a structure are the last of the content.
	k := map[int]int{1: 1, 2: 1, 3: 2, 4: 2, 6: 4}[m.disks]
	var size int
	switch m.rng.IntN(6) {
	case 0: // a full row
		size = k * block
	case 1: // a full block
		size = block
	case 2: // an extent
		size = k * (hostileExtent - 4096)
	case 3: // a few bytes of it
		size = 128 << m.rng.IntN(4)
	case 4:
		size = 1 + m.rng.IntN(k*2*block)
	default:
		size = max(1, len(piece))
	}
	size = min(size, 400<<10)
	if len(piece) >= size {
		return bytes.Clone(piece[len(piece)-size:])
	}
	content := make([]byte, size-len(piece), size)
	if m.rng.IntN(2) == 0 && len(piece) > 0 { // over and over
		for i := range content {
			content[i] = piece[(i+len(piece)-len(content)%len(piece))%len(piece)]
		}
	}
	return append(content, piece...)
}

// paths lists the files of the store that end in a suffix.
func (m *hostileModel) paths(suffix string) (all []string) {
	for i := range m.disks {
		for _, dir := range []string{"", "meta", "extents"} {
			dir = m.mem.PathJoin(fmt.Sprintf("d%d", i), dir)
			names, err := m.mem.List(dir)
			if err != nil {
				continue
			}
			for _, name := range names {
				if strings.HasSuffix(name, suffix) {
					all = append(all, m.mem.PathJoin(dir, name))
				}
			}
		}
	}
	slices.Sort(all)
	return all
}

// file returns a file of the store as it is now.
func (m *hostileModel) file() []byte {
	all := m.paths("")
	f, err := m.mem.Open(all[m.rng.IntN(len(all))])
	if err != nil {
		return nil // it is gone
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.IsDir() {
		return nil
	}
	b := make([]byte, info.Size())
	n, _ := f.ReadAt(b, 0)
	return b[:n]
}

func (m *hostileModel) stranger() []byte {
	if len(m.foreign) == 0 {
		return nil
	}
	return m.foreign[m.rng.IntN(len(m.foreign))]
}

// newest returns the number of the newest extent and the length of a column of it, and the id of the store, all of which a client may
// know or guess.
func (m *hostileModel) newest() (id uint64, length int, store [16]byte) {
	for _, p := range m.paths("") {
		name := m.mem.PathBase(p)
		if n, err := strconv.ParseUint(strings.SplitN(name, ".", 2)[0], 16, 64); err == nil && len(name) == 19 && n >= id {
			if info, err := m.mem.Stat(p); err == nil {
				id, length = n, int(info.Size())
			}
		}
	}
	if f, err := m.mem.Open(m.mem.PathJoin("d0", "blobd.format")); err == nil {
		_, _ = f.ReadAt(store[:], 16)
		_ = f.Close()
	}
	return id, length, store
}

// footer forges a footer for the place where the content is likely to end.
func (m *hostileModel) footer() []byte {
	id, length, _ := m.newest()
	id += uint64(m.rng.IntN(2))
	b := make([]byte, 128)
	copy(b, "blobdsea")
	binary.BigEndian.PutUint32(b[8:], uint32(1+m.rng.IntN(2)))
	b[12] = byte(m.rng.IntN(m.disks))
	binary.BigEndian.PutUint64(b[16:], id)
	places := []int{length, 4096, 4096 + 64 + block - 128, 4096 + 128 + block - 128, hostileExtent, length + 64 + block - 128, length + 128 + block - 128}
	binary.BigEndian.PutUint64(b[24:], uint64(places[m.rng.IntN(len(places))]))
	binary.BigEndian.PutUint64(b[64:], uint64(m.rng.IntN(1<<20)))
	binary.BigEndian.PutUint64(b[120:], crc64.Sum(b[:120]))
	return b
}

// frames forges frames of version 1 for every place in the newest extents.
func (m *hostileModel) frames() (out []byte) {
	id, length, store := m.newest()
	width := map[int][2]byte{1: {1, 0}, 2: {1, 1}, 3: {2, 1}, 4: {2, 2}, 6: {4, 2}}[m.disks]
	head := 64
	if width[1] > 0 {
		head = 128
	}
	for at := length &^ 63; len(out) < block; at += 192 {
		b := make([]byte, 192)
		copy(b, "bdFR")
		b[4], b[5], b[6], b[7] = 1, byte(m.rng.IntN(m.disks)), width[0], width[1]
		binary.BigEndian.PutUint64(b[8:], id)
		copy(b[16:], store[:8])
		binary.BigEndian.PutUint32(b[24:], uint32(at))
		binary.BigEndian.PutUint32(b[28:], 64)
		binary.BigEndian.PutUint32(b[32:], block)
		binary.BigEndian.PutUint32(b[36:], uint32(at))
		binary.BigEndian.PutUint32(b[40:], 64)
		sum := crc64.Sum(b[head : head+64])
		binary.BigEndian.PutUint64(b[48:], sum)
		for c := range int(width[0]) {
			if head > 64 {
				binary.BigEndian.PutUint32(b[64+12*c:], 64)
				binary.BigEndian.PutUint64(b[68+12*c:], sum)
			}
		}
		s := crc64.Sum(b[:56])
		if head > 64 {
			s = crc64.Update(s, b[64:head])
		}
		binary.BigEndian.PutUint64(b[56:], s)
		out = append(out, b...)
	}
	return out
}

// logChunks forges a wall of chunks of Pebble's log, for the logs to come: each a batch that overwrites what others wrote, and says that
// much was synced.
func (m *hostileModel) logChunks() (out []byte) {
	var number uint64
	for _, p := range m.paths(".log") {
		if n, err := strconv.ParseUint(strings.TrimSuffix(m.mem.PathBase(p), ".log"), 10, 32); err == nil {
			number = max(number, n)
		}
	}
	number += uint64(m.rng.IntN(6))
	batch := binary.LittleEndian.AppendUint64(nil, 1<<40) // sequence number
	batch = binary.LittleEndian.AppendUint32(batch, 1)
	key := append([]byte{byte(recordSpace)}, fmt.Sprintf("n%02d/", m.rng.IntN(20))...)
	batch = append(append(append(batch, 1, byte(len(key))), key...), 0)
	chunk := make([]byte, 19, 19+len(batch))
	binary.LittleEndian.PutUint16(chunk[4:], uint16(len(batch)))
	chunk[6] = 9
	binary.LittleEndian.PutUint32(chunk[7:], uint32(number))
	binary.LittleEndian.PutUint64(chunk[11:], 1<<40)
	chunk = append(chunk, batch...)
	c := crc32.Checksum(chunk[6:], crc32.MakeTable(crc32.Castagnoli))
	binary.LittleEndian.PutUint32(chunk, (c>>15|c<<17)+0xa282ead8)
	for len(out) < engine.MaxInline-len(chunk) {
		out = append(out, chunk...)
	}
	return out
}
