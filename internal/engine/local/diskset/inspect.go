package diskset

import (
	"fmt"
	"math"

	"github.com/blobd/blobd/internal/engine/inspect"
)

// StoreOf reads from a format file which store its directory is of, and what that has since version 2 of its format: all extents and logs
// of a store of version 1 are before that.
func StoreOf(b []byte) (store [16]byte, since Since, ok bool) {
	f, _, err := decodeFormat(b)
	if err != nil {
		return store, since, false
	}
	since = Since{f.secret, f.extent, f.log}
	if f.version < 2 {
		since.Extent, since.Log = math.MaxUint64, math.MaxUint64
	}
	return f.store, since, true
}

// Inspect tells of both copies of the record that says which disk of which store a directory is. The secret is not told.
func Inspect(b []byte, visit inspect.Visit) error {
	var good []*format
	for _, at := range []int{0, formatCopyAt} {
		i := inspect.New("record", int64(at), formatRecord)
		f, err := decodeRecord(b[min(at, len(b)):])
		if err != nil {
			i.Bad("%v", err)
		} else {
			good = append(good, f)
			f.tell(i)
		}
		if err := visit(i); err != nil {
			return err
		}
	}
	sum := inspect.New("file", 0, int64(len(b)))
	switch _, whole, err := decodeFormat(b); {
	case err != nil:
		sum.Bad("neither copy is good: the start asks the columns whose disk it is")
	case !whole && len(good) == 2 && *good[0] != *good[1]:
		sum.Bad("the copies differ, as after a crash: the first one counts, and the start writes the file anew")
	case !whole:
		sum.Bad("a part of it is another: the start writes it anew")
	}
	return visit(sum)
}

func (f *format) tell(i *inspect.Item) {
	i.Add("version", f.version).Add("store", f.store[:]).Add("disk", f.disk[:]).Add("index", int(f.index)).Add("layout", fmt.Sprintf("%d+%d", f.k, f.m)).
		Add("epoch", f.epoch).Add("metadata is current on disks", numbers(f.members))
	ids := make([]string, f.n())
	for n := range ids {
		ids[n] = inspect.Text(f.disks[n][:])
	}
	i.Add("disks", ids)
	if f.version < 2 {
		return
	}
	i.Add("first extent of version 2", f.extent).Add("first log of version 2", f.log).Add("list of logs since start", f.started).Add("promised", f.promised).
		Add("goes on without disks", numbers(f.left))
	if f.left != 0 {
		i.Add("said in epoch", f.leftEpoch)
	}
}

// numbers lists the numbers of the bits that are set.
func numbers(set uint32) []string {
	list := []string{}
	for n := range 32 {
		if set&(1<<n) != 0 {
			list = append(list, fmt.Sprint(n))
		}
	}
	return list
}
