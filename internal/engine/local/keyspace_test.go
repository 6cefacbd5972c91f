package local

import (
	"bytes"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/goldentest"
)

func TestKeySpaceGolden(t *testing.T) {
	mem := vfs.NewMem()
	s, err := Open(Options{Dirs: []string{"d"}, FS: mem})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	ref := engine.Ref{7: 1, 10: 0x10, 15: 9, 16: 1}
	s.pins.pin(ref)
	require.NoError(t, s.Update(t.Context(), []byte("p/"), func(tx engine.Tx) error {
		tx.Set(engine.SpaceEntity, []byte("p/row"), []byte("value"))
		tx.Add([]byte("name"), engine.Amount{Bytes: -3})
		tx.Add([]byte("pair"), engine.Amount{Bytes: 2, Objects: 1})
		tx.Retain(ref)
		tx.Retain(ref)
		return nil
	}))
	var b bytes.Buffer
	it, err := s.db.NewIter(nil)
	require.NoError(t, err)
	for it.First(); it.Valid(); it.Next() {
		b.Write(it.Key())
		b.WriteString(" = ")
		b.Write(it.Value())
		b.WriteByte('\n')
	}
	require.NoError(t, it.Close())
	goldentest.Hex(t, "keyspace", b.Bytes())
}
