package directory

import (
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
)

// All of Unicode's letters against those that any mapping of case makes of them: the same form exactly where EqualFold says so.
func TestFoldIsAsEqualFold(t *testing.T) {
	for r := rune(1); r <= unicode.MaxRune; r++ {
		if !unicode.IsLetter(r) && r > unicode.MaxASCII {
			continue
		}
		a := string(r)
		others := []string{"s", "k", "i", "σ", strings.ToLower(a), strings.ToUpper(a), strings.ToTitle(a)}
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			others = append(others, string(next))
		}
		for _, b := range others {
			if strings.EqualFold(a, b) != (Fold(a) == Fold(b)) {
				t.Fatalf("%q and %q", a, b)
			}
		}
	}
	require.Equal(t, "films-1", Fold("FilmS-1"))
	const at = "/subscriptions/1/resourceGroups/filmſ"
	index := newScopes()
	index.add(&Assignment{Scope: at, folded: Fold(at)})
	require.Len(t, index.around(Fold("/subscriptions/1/resourceGroups/films/x"), false), 1)
	require.Empty(t, index.around(Fold("/subscriptions/1/resourceGroups/film"), false))
	require.Empty(t, index.around(Fold("/subscriptions/1/resourceGroups/filmsy"), true))
	require.Len(t, index.around("/subscriptions/1", true), 1)
}
