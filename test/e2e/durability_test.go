package e2e

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/stretchr/testify/require"
)

var killCycles = flag.Int("kill-cycles", 50, "times that TestKill kills the server under load")

// TestKill kills the process under load, again and again on the same data: after each start every acknowledged write is whole.
func TestKill(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	dirs := []string{"--data", t.TempDir(), "--data", t.TempDir(), "--data", t.TempDir()}
	const writers = 8
	type state struct {
		acked   uint64 // generation that the server acknowledged
		attempt uint64 // generation last sent
	}
	var states [writers][4]state
	var name string
	for cycle := range *killCycles {
		s, err := launchBlobd(dirs...)
		require.NoErrorf(t, err, "start %d", cycle)
		if cycle == 0 {
			name = newContainer(t, s)
		}
		c := s.service(t).NewContainerClient(name)
		for w := range writers {
			for k := range states[w] {
				checkKill(t, c, w, k, states[w][k].acked, states[w][k].attempt, cycle)
			}
		}
		enough := make(chan struct{})
		var once sync.Once
		var done sync.WaitGroup
		stopAt := uint64(20 + rand.New(rand.NewPCG(seed, uint64(cycle))).IntN(150))
		var mu sync.Mutex
		var total uint64
		for w := range writers {
			done.Add(1)
			go func() {
				defer done.Done()
				r := rand.New(rand.NewPCG(seed, uint64(cycle*writers+w)))
				for {
					k := r.IntN(len(states[w]))
					st := &states[w][k]
					st.attempt++
					if err := putKill(c, w, k, st.attempt, r); err != nil {
						once.Do(func() { close(enough) }) // the server is gone
						return
					}
					st.acked = st.attempt
					mu.Lock()
					if total++; total == stopAt {
						once.Do(func() { close(enough) })
					}
					mu.Unlock()
				}
			}()
		}
		<-enough
		s.kill()
		done.Wait()
	}
}

// killContent is the content of a generation: its number, then bytes made from it.
func killContent(w, k int, gen uint64, size int) []byte {
	b := make([]byte, size)
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], gen)
	seed[8], seed[9] = byte(w), byte(k)
	src := rand.NewChaCha8(seed)
	src.Read(b)
	binary.LittleEndian.PutUint64(b, gen)
	return b
}

func putKill(c *container.Client, w, k int, gen uint64, r *rand.Rand) error {
	sizes := []int{100, 5000, 20000, 200000, 1 << 20}
	b := c.NewBlockBlobClient(fmt.Sprintf("w%d-k%d", w, k))
	data := killContent(w, k, gen, sizes[gen%uint64(len(sizes))])
	if r.IntN(3) > 0 {
		_, err := b.Upload(ctx, nopCloser{bytes.NewReader(data)}, nil)
		return err
	}
	half := len(data) / 2
	for i, part := range [][]byte{data[:half], data[half:]} {
		if _, err := b.StageBlock(ctx, blockID(i), nopCloser{bytes.NewReader(part)}, nil); err != nil {
			return err
		}
	}
	_, err := b.CommitBlockList(ctx, []string{blockID(0), blockID(1)}, &blockblob.CommitBlockListOptions{})
	return err
}

func checkKill(t *testing.T, c *container.Client, w, k int, acked, attempt uint64, cycle int) {
	t.Helper()
	r, err := c.NewBlockBlobClient(fmt.Sprintf("w%d-k%d", w, k)).DownloadStream(ctx, nil)
	if acked == 0 && err != nil {
		return
	}
	require.NoErrorf(t, err, "cycle %d, blob w%d-k%d, acknowledged generation %d is lost", cycle, w, k, acked)
	data, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	gen := binary.LittleEndian.Uint64(data)
	require.GreaterOrEqualf(t, gen, acked, "cycle %d, blob w%d-k%d went back", cycle, w, k)
	require.LessOrEqual(t, gen, attempt)
	require.Truef(t, bytes.Equal(killContent(w, k, gen, len(data)), data), "cycle %d, blob w%d-k%d generation %d has wrong bytes", cycle, w, k, gen)
}
