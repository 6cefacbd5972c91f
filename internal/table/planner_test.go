package table

import (
	"context"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/table/entity"
	"github.com/blobd/blobd/internal/table/filter"
)

// The filter is evaluated here in a second way that shares nothing with the first: generated expressions over plain Go values,
// asked of every row.

type (
	moment uint64 // ticks
	guid   string
	octets string
)

// naiveRow is a row as a person would write it down.
type naiveRow struct {
	pk, rk string
	values map[string]any
}

// expr is a generated expression: its text and its truth for a row.
type expr struct {
	text string
	eval func(*naiveRow) bool
}

type generator struct {
	*rand.Rand
	stamps []uint64
}

var (
	someKeys  = []string{"", "a", "b", "ab", "o'k", "\uD7FF", "\uE000", "\uFFFD", "\U0001F600", "z"}
	someNames = []string{"A", "B", "C", "D", "E"}
)

func pick[T any](g *generator, from []T) T { return from[g.IntN(len(from))] }

// value is a random value of a random type, from so few that rows and literals meet.
func (g *generator) value() any {
	switch g.IntN(9) {
	case 0:
		return pick(g, someKeys)
	case 1:
		return g.IntN(2) == 0
	case 2:
		return int32(g.IntN(5) - 2)
	case 3:
		return pick(g, []int64{-2, 0, 1, 1 << 53, 1<<53 + 1, math.MaxInt64, math.MinInt64, 1 << 40})
	case 4:
		return pick(g, []float64{-2, -0.5, 0, 1, 1.5, 1 << 53, 1e300, -1e300, 9.223372036854775807e18, math.NaN(), math.Inf(1), math.Inf(-1)})
	case 5:
		return moment(637134336000000000 + uint64(g.IntN(4)))
	case 6:
		return guid(strings.Repeat(string(rune('0'+g.IntN(3))), 16))
	case 7:
		return octets(pick(g, []string{"", "\x00", "\x00\xff", "a"}))
	}
	return int32(g.IntN(3))
}

func (g *generator) literal(v any) string {
	switch v := v.(type) {
	case string:
		return "'" + strings.ReplaceAll(v, "'", "''") + "'"
	case int32:
		return fmt.Sprint(v)
	case int64:
		return fmt.Sprintf("%d%s", v, pick(g, []string{"L", "l"}))
	case float64:
		if s := strings.TrimPrefix(strings.Replace(fmt.Sprint(v), "Inf", "INF", 1), "+"); s == "NaN" || strings.HasSuffix(s, "INF") {
			return s
		}
		return fmt.Sprintf("%.17e%s", v, pick(g, []string{"", "d"}))
	case moment:
		return pick(g, []string{"datetime'", "DateTime'"}) + string(entity.AppendDateTime(nil, uint64(v))) + "'"
	case guid:
		return "guid'" + string(entity.AppendGuid(nil, string(v))) + "'"
	case octets:
		return fmt.Sprintf("%s'%x'", pick(g, []string{"X", "x", "binary"}), string(v))
	}
	return fmt.Sprint(v)
}

func stored(v any) entity.Value {
	switch v := v.(type) {
	case string:
		return entity.StringValue(v)
	case bool:
		return entity.BooleanValue(v)
	case int32:
		return entity.Int32Value(v)
	case int64:
		return entity.Int64Value(v)
	case float64:
		return entity.DoubleValue(v)
	case moment:
		return entity.DateTimeValue(uint64(v))
	case guid:
		return entity.GuidValue(string(v))
	case octets:
		return entity.BinaryValue(string(v))
	}
	return entity.Value{}
}

// compareAlike compares two values of one type, or two numbers. ok is false for NaN, which has no place.
func compareAlike(a, b any) (c int, ok bool) {
	number := func(v any) *big.Float {
		switch v := v.(type) {
		case int32:
			return new(big.Float).SetInt64(int64(v))
		case int64:
			return new(big.Float).SetInt64(v)
		case float64:
			if v == v {
				return big.NewFloat(v)
			}
		}
		return nil
	}
	switch x := a.(type) {
	case string:
		return slices.Compare(utf16.Encode([]rune(x)), utf16.Encode([]rune(b.(string)))), true
	case bool:
		n := map[bool]int{true: 1}
		return n[x] - n[b.(bool)], true
	case moment:
		return int(int64(x) - int64(b.(moment))), true
	case guid:
		return strings.Compare(string(x), string(b.(guid))), true
	case octets:
		return strings.Compare(string(x), string(b.(octets))), true
	}
	x, y := number(a), number(b)
	if x == nil || y == nil {
		return 0, false
	}
	return x.Cmp(y), true
}

// truth is what the service makes of "property op literal": a property that is not there makes it false; a literal
// of a number matches properties of its type and of wider ones (Int32, Int64, Double); one of any other type makes the property
// count as less.
func truth(property any, op string, literal any) bool {
	if property == nil {
		return false
	}
	width := func(v any) int {
		return slices.Index([]string{"int32", "int64", "float64"}, fmt.Sprintf("%T", v))
	}
	alike := fmt.Sprintf("%T", property) == fmt.Sprintf("%T", literal)
	widened := width(literal) >= 0 && width(property) > width(literal)
	if !alike && !widened {
		return decide(-1, op)
	}
	c, ok := compareAlike(property, literal)
	if !ok {
		return op == "ne"
	}
	return decide(c, op)
}

func decide(c int, op string) bool {
	switch op {
	case "eq":
		return c == 0
	case "ne":
		return c != 0
	case "gt":
		return c > 0
	case "ge":
		return c >= 0
	case "lt":
		return c < 0
	}
	return c <= 0
}

func (g *generator) comparison() expr {
	op := pick(g, []string{"eq", "ne", "gt", "ge", "lt", "le", "eq"})
	name, literal := pick(g, someNames), g.value()
	switch g.IntN(10) {
	case 0, 1, 2:
		name, literal = "PartitionKey", any(pick(g, someKeys))
	case 3, 4:
		name, literal = "RowKey", any(pick(g, someKeys))
	case 5:
		name, literal = "Timestamp", any(moment(pick(g, g.stamps)))
	case 6:
		if g.IntN(3) == 0 {
			return expr{name, func(r *naiveRow) bool { return r.values[name] == true }}
		}
	}
	get := func(r *naiveRow) any { return r.values[name] }
	left, right, between := name, g.literal(literal), op
	if g.IntN(3) == 0 {
		left, right, between = right, left, map[string]string{"eq": "eq", "ne": "ne", "gt": "lt", "ge": "le", "lt": "gt", "le": "ge"}[op]
	}
	if g.IntN(8) == 0 {
		left = "(" + left + ")"
	}
	if g.IntN(8) == 0 {
		right = "( " + right + ")"
	}
	text := left + pick(g, []string{" ", " ", "\n", "\t "}) + between + " " + right
	return expr{text, func(r *naiveRow) bool { return truth(get(r), op, literal) }}
}

// expression generates the levels of precedence as the grammar has them, with parentheses where they are needed and where not.
func (g *generator) expression(depth int) expr {
	if depth == 0 {
		return g.comparison()
	}
	switch g.IntN(7) {
	case 0:
		e := g.expression(depth - 1)
		return expr{"not (" + e.text + ")", func(r *naiveRow) bool { return !e.eval(r) }}
	case 1:
		e := g.comparison()
		return expr{"not " + e.text, func(r *naiveRow) bool { return !e.eval(r) }}
	case 2, 3:
		a, b := g.expression(depth-1), g.expression(depth-1)
		return expr{"(" + a.text + ") and (" + b.text + ")", func(r *naiveRow) bool { return a.eval(r) && b.eval(r) }}
	case 4:
		a, b := g.expression(depth-1), g.expression(depth-1)
		return expr{"(" + a.text + ") or (" + b.text + ")", func(r *naiveRow) bool { return a.eval(r) || b.eval(r) }}
	case 5: // "and" binds tighter than "or"
		a, b, c := g.comparison(), g.comparison(), g.comparison()
		return expr{a.text + " or " + b.text + " and " + c.text, func(r *naiveRow) bool { return a.eval(r) || b.eval(r) && c.eval(r) }}
	}
	return g.comparison()
}

// collect takes the keys of a page.
type collect struct{ keys []string }

func (c *collect) add(pk, rk []byte, _ entity.Row) (bool, error) {
	c.keys = append(c.keys, string(entity.AppendDecoded(nil, pk))+"/"+string(entity.AppendDecoded(nil, rk)))
	return false, nil
}

// newService is the service without a wire.
func newService(t testing.TB, store engine.Store) *Service {
	s := New(Options{Store: store})
	t.Cleanup(s.Close)
	return s
}

// put writes an entity.
func (s *Service) put(t testing.TB, tb *table, pk, rk string, props ...entity.Property) engine.Stamp {
	stamp, err := s.write(context.Background(), tb, []change{{kind: insertOrReplace, pk: pk, rk: rk, row: entity.AppendRow(nil, 0, props)}})
	require.NoError(t, err)
	return stamp
}

func (s *Service) mustCreate(t testing.TB, name string) *table {
	require.NoError(t, s.CreateTable(context.Background(), "acct", name))
	tb, err := s.find(context.Background(), "acct", name)
	require.NoError(t, err)
	return tb
}

func TestPlannerAgreesWithNaive(t *testing.T) {
	const filters, perStore = 100_000, 10_000
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for n := range filters / perStore {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			compareFilters(t, seed+uint64(n), perStore)
		})
	}
}

// compareFilters asks n random filters of one random table, in pages of random size.
func compareFilters(t *testing.T, seed uint64, n int) {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0))}
	s := newService(t, enginetest.New(t))
	s.put(t, s.mustCreate(t, "before"), "x", "x")
	tb := s.mustCreate(t, "people")
	s.put(t, s.mustCreate(t, "zafter"), "x", "x")
	var rows []naiveRow
	for _, pk := range someKeys {
		for _, rk := range someKeys {
			if g.IntN(3) == 0 {
				continue
			}
			r := naiveRow{pk, rk, map[string]any{"PartitionKey": pk, "RowKey": rk}}
			var props []entity.Property
			for _, name := range someNames {
				if g.IntN(4) > 0 {
					v := g.value()
					r.values[name] = v
					props = append(props, entity.Property{Name: name, Value: stored(v)})
				}
			}
			if g.IntN(30) == 0 {
				props = slices.Insert(props, 0, entity.Property{Name: "Large", Value: entity.StringValue(strings.Repeat("x", 20000))})
			}
			stamp := s.put(t, tb, pk, rk, props...)
			r.values["Timestamp"] = moment(stamp)
			g.stamps = append(g.stamps, uint64(stamp))
			rows = append(rows, r)
		}
	}
	slices.SortFunc(rows, func(a, b naiveRow) int {
		if c, _ := compareAlike(a.pk, b.pk); c != 0 {
			return c
		}
		c, _ := compareAlike(a.rk, b.rk)
		return c
	})
	for i := range n {
		e := g.expression(g.IntN(4))
		var want []string
		for j := range rows {
			if e.eval(&rows[j]) {
				want = append(want, rows[j].pk+"/"+rows[j].rk)
			}
		}
		f, err := filter.Parse(e.text)
		require.NoError(t, err, "seed %d filter %d: %s", seed, i, e.text)
		var got collect
		q := query{filter: f, top: pick(g, []int{1000, 1000, 1000, 7}), time: maxPageTime}
		for {
			next, err := s.run(context.Background(), tb, &q, &got)
			require.NoError(t, err)
			if q.from = next; next == nil {
				break
			}
		}
		if !slices.Equal(want, got.keys) {
			t.Fatalf("seed %d filter %d: %s\nwant %q\ngot  %q", seed, i, e.text, want, got.keys)
		}
	}
}
