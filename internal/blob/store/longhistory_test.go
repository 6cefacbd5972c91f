package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/usage"
)

// errCut stands for the end of the process.
var errCut = errors.New("cut off")

// bounded is a store that fails transactions of more than a limit, and all after so many.
type bounded struct {
	engine.Store
	limit, left int
	most        int // bytes that a transaction has written
}

type boundedTx struct {
	engine.Tx
	size int
}

func (t *boundedTx) Set(space engine.Space, key, value []byte) {
	t.size += len(key) + len(value)
	t.Tx.Set(space, key, value)
}

func (t *boundedTx) Delete(space engine.Space, key []byte) {
	t.size += len(key)
	t.Tx.Delete(space, key)
}

func (b *bounded) Update(ctx context.Context, partition []byte, fn func(engine.Tx) error) error {
	if b.left == 0 {
		return errCut
	}
	b.left--
	return b.Store.Update(ctx, partition, func(tx engine.Tx) error {
		t := &boundedTx{Tx: tx}
		err := fn(t)
		if b.most = max(b.most, t.size); err == nil && t.size > b.limit {
			return engine.ErrTooLarge
		}
		return err
	})
}

// TestOperationsOnALongHistoryAreBounded: whatever grows with the history that a client gave a name is done in transactions of a
// bounded size. Cut off after any of them and asked for again, it leaves what one that was not cut off leaves.
func TestOperationsOnALongHistoryAreBounded(t *testing.T) {
	const history, step = 40, 4 << 10
	metadata := []protocol.Pair{{Name: "m", Value: strings.Repeat("x", 500)}}
	remove := func(what SnapshotsToo) func(*rig) error {
		return func(r *rig) error {
			_, err := r.Delete(context.Background(), &DeleteRequest{Target: r.on("b"), Snapshots: what})
			return err
		}
	}
	undelete := func(r *rig) error {
		a := r.on("b")
		return r.Undelete(context.Background(), &a)
	}
	retention := func(r *rig, versioning bool) {
		r.account = &account.Account{Name: "acct", Switches: account.Switches{Versioning: versioning}, Blob: &account.Properties{
			DeleteRetention: account.DeleteRetention{Retention: account.Retention{Enabled: true, Days: 7}}}}
	}
	snapshots := func(r *rig, content string) {
		r.put("b", content, protocol.Pair{Name: "k", Value: "v"})
		for range history {
			a := r.on("b")
			_, _, err := r.Snapshot(context.Background(), &a, metadata)
			require.NoError(r.t, err)
		}
	}
	for _, c := range []struct {
		name  string
		setup func(*rig)
		op    func(*rig) error
	}{
		{"delete for good", func(r *rig) { snapshots(r, strings.Repeat("i", 300)) }, remove(SnapshotsInclude)},
		{"delete chunks for good", func(r *rig) { snapshots(r, strings.Repeat("c", 30_000)) }, remove(SnapshotsInclude)},
		{"delete softly", func(r *rig) { retention(r, false); snapshots(r, "s") }, remove(SnapshotsInclude)},
		{"delete snapshots only", func(r *rig) { retention(r, false); snapshots(r, "s") }, remove(SnapshotsOnly)},
		{"undelete", func(r *rig) {
			retention(r, false)
			snapshots(r, "s")
			require.NoError(r.t, remove(SnapshotsInclude)(r))
		}, undelete},
		{"undelete what was deleted many times", func(r *rig) {
			retention(r, false)
			for i := range history {
				r.put("b", strings.Repeat(fmt.Sprint(i%10), 600))
				r.delete("b", 0)
			}
		}, undelete},
		{"undelete versions", func(r *rig) {
			retention(r, true)
			for i := range history {
				r.put("b", strings.Repeat(fmt.Sprint(i%10), 600))
			}
			require.NoError(r.t, r.eachVersion("b", func(s engine.Stamp) error {
				_, err := r.Delete(context.Background(), &DeleteRequest{Target: r.on("b"), Slot: Selector{Version: s}})
				return err
			}))
		}, undelete},
		{"sweep of a container", func(r *rig) {
			snapshots(r, "s")
			a := r.on("")
			require.NoError(r.t, r.DeleteContainer(context.Background(), &a))
		}, func(r *rig) error { return r.Sweep(context.Background()) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			whole := ""
			for cut, cutOff := -1, true; cutOff; cut++ {
				r := newRig(t, 0)
				c.setup(r)
				r.historyStep = step
				b := &bounded{Store: r.store, limit: 3 * step, left: cut}
				if c.name == "sweep of a container" {
					b.limit = sweepBatch * step
				}
				r.store = b
				err := c.op(r)
				if cutOff = cut < 0 || errors.Is(err, errCut); cutOff && cut >= 0 {
					b.left = -1
					if err = c.op(r); errors.Is(err, protocol.ErrBlobNotFound) { // only what tidies up was cut off
						err = nil
					}
				}
				require.NoError(t, err)
				r.store = b.Store
				if got := r.shape("b"); cut < 0 {
					whole = got
				} else {
					require.Equal(t, whole, got, "cut off after %d transactions", cut)
				}
			}
		})
	}
}

func (r *rig) eachVersion(name string, fn func(engine.Stamp) error) error {
	p, stamps := r.at(name), []engine.Stamp(nil)
	err := r.store.View(context.Background(), p.key, func(v engine.Reader) error {
		return visitHistory(v, p, record.Slot{}, func(s record.Slot, _ *record.Blob) (bool, error) {
			stamps = append(stamps, s.Stamp)
			return true, nil
		})
	})
	for i := 0; i < len(stamps) && err == nil; i++ {
		err = fn(stamps[i])
	}
	return err
}

// shape tells what there is of a name, without stamps.
func (r *rig) shape(name string) string {
	var b strings.Builder
	a := r.on(name)
	p, err := r.place(context.Background(), &a)
	if errors.Is(err, protocol.ErrContainerNotFound) {
		return "no container"
	}
	require.NoError(r.t, err)
	err = r.store.View(context.Background(), p.key, func(v engine.Reader) error {
		rec, err := getRecord(v, p, record.Slot{})
		if err != nil {
			return err
		}
		fmt.Fprintln(&b, "base", rec != nil)
		return visitHistory(v, p, record.Slot{}, func(s record.Slot, rec *record.Blob) (bool, error) {
			fmt.Fprintln(&b, string(s.Kind), rec.Deleted.At != 0, rec.Size, len(rec.Metadata))
			return true, nil
		})
	})
	require.NoError(r.t, err)
	used, err := r.used()
	require.NoError(r.t, err)
	fmt.Fprintln(&b, "used", used)
	return b.String()
}

func (r *rig) used() (n int64, err error) {
	l, err := usage.Open(context.Background(), r.store)
	if err != nil {
		return 0, err
	}
	return l.Account("acct").Held(usage.Blobs).Bytes, nil
}
