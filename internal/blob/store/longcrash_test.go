package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/source"
	"github.com/blobd/blobd/internal/blob/store/storetest"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local"
	"github.com/blobd/blobd/internal/engine/local/crashtest"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/usage"
)

// longBlob is the state of a name: what its blob reads as, empty for none, and how many uncommitted blocks it has.
type longBlob struct {
	content string
	pending int
}

// atOnceInCrash is how many chunks of a list these tests write in one transaction: few, so that a list takes many.
const atOnceInCrash = 8

// TestPowerCutWhileALongListIsLaid: after each cut the blob is the old one or the new one, whole, with the blocks that are not
// yet committed; what was laid and not adopted is swept, and every chunk has as many owners as name it.
func TestPowerCutWhileALongListIsLaid(t *testing.T) {
	crashtest.Run(t, crashtest.Config[longBlob]{
		Store: local.Options{Dirs: []string{"data"}, CacheSize: 1 << 20, MemTableSize: 64 << 10, ExtentSize: 512 << 10, SealGarbage: 64 << 10},
		Seed:  rand.Uint64(), Points: longCuts, Every: longCutEvery,
		Script: func(disk *local.Store, j *crashtest.Journal[longBlob], rng *rand.Rand) error {
			return layLongLists(t, disk, j, rng)
		},
		Check: checkLongLists,
	})
}

// layLongLists commits long lists to a, the later ones of committed and uncommitted blocks, and copies one to b.
func layLongLists(t *testing.T, disk *local.Store, j *crashtest.Journal[longBlob], rng *rand.Rand) error {
	ctx := context.Background()
	h := &rig{t: t, Service: New(Options{Store: disk, AtOnce: atOnceInCrash}), account: &account.Account{Name: "acct"}}
	defer h.Close()
	if err := h.CreateContainer(ctx, "acct", "con", &record.Container{}); err != nil {
		return err
	}
	var a longBlob
	blocks := map[string]string{}
	next := 0
	stage := func(n int) (ids []string, err error) {
		for range n {
			id := fmt.Sprintf("%04d", next)
			next++
			ids, blocks[id] = append(ids, id), strings.Repeat(string(rune('a'+rng.IntN(26))), 1+rng.IntN(1000))
			a.pending++
			if err = j.Do("a", a, func() error {
				at := h.on("a")
				_, err := h.StageBlock(ctx, &at, id, uploadOf(blocks[id]))
				return err
			}); err != nil {
				break
			}
		}
		return ids, err
	}
	commit := func(ids []string) error {
		a = longBlob{}
		var refs []BlockRef
		for _, id := range ids {
			a.content += blocks[id]
			refs = append(refs, BlockRef{ID: id})
		}
		return j.Do("a", a, func() error {
			return h.Commit(ctx, h.new("a", record.BlockBlob), refs)
		})
	}
	first, err := stage(20)
	if err == nil {
		err = commit(first)
	}
	if err != nil {
		return err
	}
	second, err := stage(6)
	if err != nil {
		return err
	}
	mixed := append(append(slices.Clone(second[:5]), first...), second[:5]...) // one block is left out
	if err := commit(mixed); err != nil {
		return err
	}
	if err := j.Do("b", a, func() error {
		url, err := source.Parse("http://here/acct/con/a")
		if err != nil {
			return err
		}
		own := &OwnSource{Container: "con", Name: "a", Admit: func(context.Context, bool, bool) (*account.Account, error) { return h.account, nil }}
		c := CopyRequest{Target: h.on("b"), Source: &Source{URL: url, Own: own}}
		c.Source.Limit = MaxSyncCopy
		_, err = h.CopyFromURL(ctx, &c)
		return err
	}); err != nil {
		return err
	}
	if err := commit(first[:3]); err != nil {
		return err
	}
	if err := h.Sweep(ctx); err != nil {
		return err
	}
	return j.Do("b", longBlob{}, func() error {
		_, err := h.Delete(ctx, &DeleteRequest{Target: h.on("b")})
		return err
	})
}

func checkLongLists(disk *local.Store, want map[string][]longBlob, _ int) (err error) {
	ctx := context.Background()
	svc := New(Options{Store: disk, AtOnce: atOnceInCrash})
	defer func() { err = errors.Join(err, svc.Close()) }()
	c, err := svc.container(ctx, "acct", "con")
	if errors.Is(err, protocol.ErrContainerNotFound) && len(want) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if err := svc.Sweep(ctx); err != nil {
		return err
	}
	owners := map[engine.Ref]int64{}
	var bytes int64
	for _, name := range []string{"a", "b"} {
		p := newPlace(&account.Account{Name: "acct"}, c.Generation, name)
		found, size, err := svc.lookAtLong(ctx, p, owners)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if states := want[name]; !slices.Contains(states, found) && (len(states) > 0 || found != longBlob{}) {
			return fmt.Errorf("%s has %d bytes and %d uncommitted blocks; possible are %d states", name, len(found.content), found.pending, len(states))
		}
		bytes += size
	}
	if err := owned(ctx, disk, owners); err != nil {
		return err
	}
	l, err := usage.Open(ctx, disk)
	if err != nil {
		return err
	}
	if used := l.Account("acct").Held(usage.Blobs).Bytes; used != bytes {
		return fmt.Errorf("%d bytes are counted as used, %d are", used, bytes)
	}
	return svc.endLong(ctx, disk, c.Generation)
}

// lookAtLong reads a name, counts the owners that its chunks should have, and the bytes that it takes.
func (s *Service) lookAtLong(ctx context.Context, p *place, owners map[engine.Ref]int64) (found longBlob, size int64, err error) {
	var rec *record.Blob
	err = s.store.View(ctx, p.key, func(r engine.Reader) error {
		if rec, err = getRecord(r, p, record.Slot{}); err != nil {
			return err
		}
		if rec != nil {
			size += rec.Size
			if err := visitList(r, p, rec.Content.ID, 0, func(_ int64, c *record.Piece) bool { owners[c.Ref]++; return true }); err != nil {
				return err
			}
		}
		h, err := getPending(r, p)
		if err != nil || h == nil {
			return err
		}
		size += h.Bytes
		return visitPending(r, p, h, func(b *block) error {
			found.pending++
			for i := range b.Chunks {
				owners[b.Chunks[i].Ref]++
			}
			return nil
		})
	})
	if err != nil || rec == nil {
		return found, size, err
	}
	rd, err := s.open(ctx, nil, p, Selector{}, func(rd *Reading) error { rd.Length = rd.Blob.Size; return nil })
	if err != nil {
		return found, size, err
	}
	b, err := rd.All()
	found.content = string(b)
	return found, size, err
}

// owned compares the owners of chunks with those that they should have.
func owned(ctx context.Context, disk *local.Store, want map[engine.Ref]int64) error {
	named := len(want)
	err := disk.Owners(ctx, func(ref engine.Ref, n int64) error {
		if named--; n != want[ref] {
			return fmt.Errorf("chunk %x has %d owners, %d name it", ref, n, want[ref])
		}
		return nil
	})
	if err == nil && named != 0 {
		err = fmt.Errorf("%d chunks are named and have no owner", named)
	}
	return err
}

// endLong goes on where the cut was: it commits what is uncommitted of a, three times over, and then takes all away.
func (s *Service) endLong(ctx context.Context, disk *local.Store, generation record.Generation) error {
	a := newPlace(&account.Account{Name: "acct"}, generation, "a")
	var refs []BlockRef
	var size int64
	err := s.store.View(ctx, a.key, func(r engine.Reader) error {
		h, err := getPending(r, a)
		if err != nil || h == nil {
			return err
		}
		size = h.Bytes
		return visitPending(r, a, h, func(b *block) error {
			refs = append(refs, BlockRef{ID: b.ID, Source: UncommittedBlock})
			return nil
		})
	})
	if err != nil {
		return err
	}
	if len(refs) > 0 {
		rec := &record.Blob{Type: record.BlockBlob, HTTP: record.HTTPProperties{ContentType: record.DefaultContentType}}
		if err := s.commit(ctx, a, &Target{}, rec, slices.Repeat(refs, 3)); err != nil {
			return err
		}
		found, _, err := s.lookAtLong(ctx, a, map[engine.Ref]int64{})
		if err != nil {
			return err
		}
		if found.pending != 0 || int64(len(found.content)) != 3*size {
			return fmt.Errorf("%d bytes and %d uncommitted blocks are there after %d bytes were committed thrice", len(found.content), found.pending, size)
		}
	}
	for _, name := range []string{"a", "b"} {
		p := newPlace(&account.Account{Name: "acct"}, generation, name)
		err := s.change(ctx, p, func(t *txn) error {
			_, err := t.purge()
			return err
		})
		if err != nil {
			return err
		}
	}
	if err := s.Sweep(ctx); err != nil {
		return err
	}
	return errors.Join(storetest.NothingKept(disk), owned(ctx, disk, nil))
}
