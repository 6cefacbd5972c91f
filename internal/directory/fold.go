package directory

import (
	"strings"
	"unicode"
)

// Fold is the form in which names and scopes are compared and kept: two have the same one if they differ in case alone, as
// strings.EqualFold has it. strings.ToLower tells apart what that takes for the same (σ and ς, s and ſ).
func Fold(name string) string {
	return strings.Map(func(r rune) rune {
		if r > unicode.MaxASCII || 'a' <= r && r <= 'z' {
			least := r // of those that differ in case alone
			for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
				least = min(least, next)
			}
			r = least
		}
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, name)
}
