package directory

import (
	"iter"
	"slices"
	"strings"

	"github.com/blobd/blobd/internal/invariants"
)

// scopes is an index of role assignments by where they hold: asking what holds at a scope looks at the scopes above it, which are few, and
// at the assignments there, however many there are elsewhere. Its scopes are folded. What its methods return is not for keeping.
type scopes struct {
	at    map[string][]*Assignment // by their scope
	below map[string][]*Assignment // by their scope and each above it
}

func newScopes() *scopes {
	return &scopes{map[string][]*Assignment{}, map[string][]*Assignment{}}
}

// upwards are a folded scope and those above it, up to its subscription's.
func upwards(scope string) iter.Seq[string] {
	return func(visit func(string) bool) {
		for strings.Count(scope, "/") >= 2 && visit(scope) {
			scope = above(scope)
		}
	}
}

func above(scope string) string { return scope[:max(0, strings.LastIndexByte(scope, '/'))] }

func (s *scopes) add(a *Assignment) {
	s.at[a.folded] = append(s.at[a.folded], a)
	for up := range upwards(a.folded) {
		s.below[up] = append(s.below[up], a)
	}
}

func (s *scopes) remove(a *Assignment) {
	take := func(from map[string][]*Assignment, scope string) {
		if left := slices.DeleteFunc(from[scope], func(b *Assignment) bool { return a == b }); len(left) > 0 {
			from[scope] = left
		} else {
			delete(from, scope)
		}
	}
	take(s.at, a.folded)
	for up := range upwards(a.folded) {
		take(s.below, up)
	}
}

// over are those that hold at a folded scope: at it, or above it.
func (s *scopes) over(scope string) iter.Seq[*Assignment] {
	return func(visit func(*Assignment) bool) {
		if s == nil {
			return
		}
		for up := range upwards(scope) {
			invariants.Look(1 + len(s.at[up]))
			for _, a := range s.at[up] {
				if !visit(a) {
					return
				}
			}
		}
	}
}

// under are those at a folded scope and below it.
func (s *scopes) under(scope string) []*Assignment {
	if s == nil {
		return nil
	}
	invariants.Look(len(s.below[scope]))
	return s.below[scope]
}

// around are those at a folded scope and above it, with below those below it too.
func (s *scopes) around(scope string, below bool) (all []*Assignment) {
	for a := range s.over(scope) {
		all = append(all, a)
	}
	if below {
		for _, a := range s.under(scope) {
			if a.folded != scope { // those at it are there already
				all = append(all, a)
			}
		}
	}
	return all
}

// all are all of them.
func (s *scopes) all() (all []*Assignment) {
	if s != nil {
		for _, some := range s.at {
			all = append(all, some...)
		}
	}
	return all
}
