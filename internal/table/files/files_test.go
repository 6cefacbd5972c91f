package files

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/table"
)

var background = context.Background()

func service(t *testing.T) Options {
	store := enginetest.NewDisk().Open(t)
	s := table.New(table.Options{Store: store})
	t.Cleanup(func() { s.Close(); require.NoError(t, store.Close()) })
	return Options{Tables: s, Account: "acct", Progress: func(int64) {}}
}

// entities of every type, with bounds and keys that are hard.
var entities = []string{
	`{"PartitionKey":"","RowKey":""}`,
	`{"PartitionKey":"","RowKey":"a","S":"","B@odata.type":"Edm.Binary","B":""}`,
	`{"PartitionKey":"entities","RowKey":"crc64","entities":3,"crc64":"0000000000000000"}`,
	`{"PartitionKey":"numbers","RowKey":"1","I":-2147483648,"L@odata.type":"Edm.Int64","L":"-9223372036854775808","D":1.0,"E@odata.type":"Edm.Double","E":"NaN","F@odata.type":"Edm.Double","F":"-Infinity","G":5e-324}`,
	fmt.Sprintf(`{"PartitionKey":"numbers","RowKey":"2","D":%v,"Z@odata.type":"Edm.Double","Z":"-0.0","W@odata.type":"Edm.Double","W":"3"}`, math.MaxFloat64),
	`{"PartitionKey":"rest","RowKey":"1","T":true,"F":false,"A@odata.type":"Edm.DateTime","A":"1601-01-01T00:00:00Z","Z@odata.type":"Edm.DateTime","Z":"9999-12-31T23:59:59.9999999Z","G@odata.type":"Edm.Guid","G":"c9da6455-213d-42c9-9a79-3e9149a57833"}`,
	`{"PartitionKey":"tëxt","RowKey":"𐀀\uE000' \"%","S":"line\nline\u2028 \u0001 \"q\" \\ 𐀀 <&>","S2":"2020-01-01T00:00:00Z"}`,
	`{"PartitionKey":"text","RowKey":"long","S":"` + strings.Repeat("x", 30_000) + `","B@odata.type":"Edm.Binary","B":"` + strings.Repeat("AAEC", 10_000) + `"}`,
}

func lines(t *testing.T, o Options, name string) (l []string) {
	require.NoError(t, o.Tables.Lines(background, o.Account, name, func(line []byte) error {
		// ETag and Timestamp are new.
		text := string(line)
		from := strings.Index(text, `"PartitionKey"`)
		at := strings.Index(text, `"Timestamp":"`)
		end := at + len(`"Timestamp":"`) + strings.IndexByte(text[at+len(`"Timestamp":"`):], '"') + 1
		l = append(l, text[from:at]+text[end:])
		return nil
	}))
	return l
}

func fill(t *testing.T, o Options, name string, lines []string) {
	require.NoError(t, o.Tables.CreateTable(background, o.Account, name))
	n, err := o.Tables.InsertLines(background, o.Account, name, func() ([]byte, error) {
		if len(lines) == 0 {
			return nil, nil
		}
		line := lines[0]
		lines = lines[1:]
		return []byte(line), nil
	})
	require.NoError(t, err)
	require.Positive(t, n)
}

func names(t *testing.T, o Options) (l []string) {
	_, err := o.Tables.Tables(background, o.Account, "", func(name string) bool { l = append(l, strings.Clone(name)); return true })
	require.NoError(t, err)
	return l
}

func TestExportAndImportOfTablesAreEqual(t *testing.T) {
	from, to := service(t), service(t)
	var many []string
	for i := range 2500 {
		many = append(many, fmt.Sprintf(`{"PartitionKey":"p%d","RowKey":"%04d","N":%d}`, i/700, i, i))
	}
	fill(t, from, "Types", entities)
	fill(t, from, "many", many)
	require.NoError(t, from.Tables.CreateTable(background, from.Account, "empty"))
	policies := []auth.Policy{{ID: "p", Start: "2020-01-01", Permission: "r", HasPermission: true}, {ID: "q"}}
	require.NoError(t, from.Tables.SetPolicies(background, from.Account, "empty", policies))

	from.Dir = t.TempDir()
	rep, err := Export(background, from)
	require.NoError(t, err)
	require.Equal(t, &Report{Tables: 3, Entities: int64(len(entities) + len(many))}, rep)
	to.Dir, to.Account = from.Dir, "other"
	got, undo, err := Import(background, to)
	require.NoError(t, err)
	require.Equal(t, rep, got)
	require.Equal(t, names(t, from), names(t, to))
	for _, name := range names(t, from) {
		require.Equal(t, lines(t, from, name), lines(t, to, name), name)
	}
	require.Len(t, lines(t, to, "types"), len(entities))
	back, err := to.Tables.Policies(background, "other", "empty")
	require.NoError(t, err)
	require.Equal(t, policies, back)

	_, _, err = Import(background, to)
	require.ErrorContains(t, err, "already")
	require.NoError(t, undo())
	require.Empty(t, names(t, to))
	_, _, err = Import(background, to)
	require.NoError(t, err)
}

// A file that is changed, cut off or no export's is refused by its name, and nothing is there, also nothing that came before it.
func TestImportRefusesOtherTables(t *testing.T) {
	from := service(t)
	fill(t, from, "before", entities)
	fill(t, from, "con", entities)
	change := func(do func(lines []string) []string) func(string) error {
		return func(file string) error {
			b, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			return os.WriteFile(file, []byte(strings.Join(do(strings.SplitAfter(string(b), "\n")), "")), 0o600)
		}
	}
	last := len(entities) + 1
	for what, spoil := range map[string]func(file string) error{
		"cut off":              change(func(l []string) []string { return l[:last] }),
		"first line":           change(func(l []string) []string { return l[1:] }),
		"of the sum":           change(func(l []string) []string { return slices.Delete(l, 3, 4) }),
		"behind its last line": change(func(l []string) []string { return append(l, l[1]) }),
		"EntityAlreadyExists":  change(func(l []string) []string { return slices.Insert(l, 2, l[1]) }),
		"entity 2":             change(func(l []string) []string { l[3] = "{]\n"; return l }),
		"no regular file":      func(file string) error { return errorsJoin(os.Remove(file), os.Mkdir(file, 0o700)) },
		"its end":              func(file string) error { return os.Rename(file, file+".tmp") },
		"already":              func(file string) error { return os.Rename(file, filepath.Join(filepath.Dir(file), "BEFORE.jsonl")) },
	} {
		t.Run(what, func(t *testing.T) {
			from.Dir = t.TempDir()
			_, err := Export(background, from)
			require.NoError(t, err)
			require.NoError(t, spoil(filepath.Join(from.Dir, folder, "con.jsonl")))
			to := service(t)
			to.Dir = from.Dir
			if what == "already" {
				require.NoError(t, to.Tables.CreateTable(background, to.Account, "Before"))
			}
			_, _, err = Import(background, to)
			require.ErrorContains(t, err, what)
			if what != "already" {
				require.Empty(t, names(t, to))
			}
		})
	}
}

func errorsJoin(a, b error) error {
	if a != nil {
		return a
	}
	return b
}
