package store

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/tagquery"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

// gathered are the names of a listing.
type gathered []string

func (g *gathered) Blob(name string, e *Entry) {
	*g = append(*g, fmt.Sprint(name, " ", e.Slot.Kind, e.Blob.Deleted.At != 0))
}
func (g *gathered) Prefix(name string) { *g = append(*g, name) }
func (g *gathered) Full() bool         { return false }

// overtaken is a context whose request is given up while it is served.
type overtaken struct {
	context.Context
	asked int
}

func (c *overtaken) Err() error {
	if c.asked++; c.asked > 1 {
		return context.DeadlineExceeded
	}
	return nil
}

// hiding has names with a long history that most listings do not show, page blobs that are mostly the same, and deleted containers.
func hiding(t *testing.T) *rig {
	r := newRig(t, 0)
	r.account = &account.Account{Name: "acct", Switches: account.Switches{ContainerRetentionDays: 7}, Blob: &account.Properties{
		DeleteRetention: account.DeleteRetention{Retention: account.Retention{Enabled: true, Days: 7}}}}
	for _, name := range []string{"a", "b/1", "b/2", "c"} {
		r.put(name, "x", protocol.Pair{Name: "k", Value: "v"})
		for range 7 {
			r.snapshot(name)
		}
		r.put(name, "y", protocol.Pair{Name: "k", Value: "v"})
		if name == "b/2" {
			_, err := r.Delete(context.Background(), &DeleteRequest{Target: r.on(name), Snapshots: SnapshotsInclude})
			require.NoError(t, err)
		}
	}
	return r
}

// TestPagesHaveAnEnd: whatever a page passes over, it ends after so much of it, and its pages together are what one without that bound
// shows.
func TestPagesHaveAnEnd(t *testing.T) {
	r := hiding(t)
	a := r.on("")
	c, err := r.Container(context.Background(), &a)
	require.NoError(t, err)
	list := func(include Include, delimiter string) (all gathered, pages int) {
		for q := (ListRequest{Max: 2, Include: include, Delimiter: delimiter, Now: r.now()}); ; pages++ {
			next, err := r.List(context.Background(), c, &q, &all)
			require.NoError(t, err)
			if next == nil {
				return all, pages
			}
			require.Greater(t, string(next), q.Marker, "it gets on")
			q.Marker = string(next)
		}
	}
	for include := range IncludeNothing {
		for _, delimiter := range []string{"", "/"} {
			r.looked = math.MaxInt
			want, few := list(include, delimiter)
			r.looked = 2
			got, many := list(include, delimiter)
			require.Equal(t, want, got, "include %b", include)
			if include == IncludeVersions {
				require.Greater(t, many, few+5)
			}
		}
	}
}

// TestPagesOfContainersHaveAnEnd: also where one name has more deleted containers than a page takes.
func TestPagesOfContainersHaveAnEnd(t *testing.T) {
	r := hiding(t)
	for range 9 {
		require.NoError(t, r.CreateContainer(context.Background(), "acct", "many", &record.Container{}))
		a := r.on("")
		a.Container = "many"
		require.NoError(t, r.DeleteContainer(context.Background(), &a))
	}
	require.NoError(t, r.CreateContainer(context.Background(), "acct", "next", &record.Container{}))
	for _, looked := range []int{math.MaxInt, 2} {
		for deleted, want := range map[bool]string{false: "con next", true: "con" + strings.Repeat(" many", 9) + " next"} {
			r.looked = looked
			var got []string
			q := ContainersQuery{Account: "acct", Limit: 4, Deleted: deleted, Now: r.now()}
			for pages := 0; ; pages++ {
				require.Less(t, pages, 20)
				next, err := r.Containers(context.Background(), &q, func(name string, _ *record.Container) bool {
					got = append(got, name)
					return false
				})
				require.NoError(t, err)
				if q.From = next; next == "" {
					break
				}
			}
			require.Equal(t, want, strings.Join(got, " "), "%d %t", looked, deleted)
		}
	}
}

// TestPagesOfRangesHaveAnEnd: ranges that are the same in both snapshots of a difference give no run, and are looked at all the same.
func TestPagesOfRangesHaveAnEnd(t *testing.T) {
	r := newRig(t, 0)
	r.create("p", record.PageBlob, 1<<20)
	snap := r.snapshot("p")
	for i := range int64(20) {
		r.write("p", i*1024, strings.Repeat(string(rune('a'+i)), 512))
	}
	for _, previous := range []engine.Stamp{0, snap} {
		for _, looked := range []int{0, 3} {
			r.looked = looked
			covered, pages := int64(0), 0
			for q := (PageQuery{Target: r.on("p"), Limit: 1000, Previous: previous}); q.Start >= 0; pages++ {
				_, next, err := r.PageRanges(context.Background(), &q, func(from, to int64, _ bool) { covered += to - from })
				require.NoError(t, err)
				require.True(t, next < 0 || next > q.Start, "it gets on")
				q.Start = next
			}
			require.EqualValues(t, 20*512, covered)
			require.Equal(t, looked > 0, pages > 1)
		}
	}
}

// TestPagesEndWithTheirRequest: nothing goes on for long whose request is given up.
func TestPagesEndWithTheirRequest(t *testing.T) {
	r := hiding(t)
	for range ctxEvery {
		r.snapshot("a")
	}
	r.create("p", record.PageBlob, 1<<20)
	for i := range int64(ctxEvery) {
		r.write("p", i*1024, strings.Repeat("w", 512))
	}
	for i := range ctxEvery {
		r.put(fmt.Sprint("tagged", i), "", protocol.Pair{Name: "k", Value: "v"})
	}
	a := r.on("")
	c, err := r.Container(context.Background(), &a)
	require.NoError(t, err)
	where, err := tagquery.ParseWhere(`"k"='v'`, tagquery.Find)
	require.NoError(t, err)
	for name, op := range map[string]func(context.Context) error{
		"list": func(ctx context.Context) error {
			_, err := r.List(ctx, c, &ListRequest{Max: MaxPage, Include: IncludeVersions}, new(gathered))
			return err
		},
		"ranges": func(ctx context.Context) error {
			_, _, err := r.PageRanges(ctx, &PageQuery{Target: r.on("p"), Limit: math.MaxInt}, func(int64, int64, bool) {})
			return err
		},
		"find": func(ctx context.Context) error {
			_, err := r.Find(ctx, &FindRequest{Account: "acct", Where: where, Limit: MaxPage}, func(string, string, *record.Blob) {})
			return err
		},
	} {
		require.NoError(t, op(context.Background()), name)
		require.ErrorIs(t, op(&overtaken{Context: context.Background()}), context.DeadlineExceeded, name)
	}
}
