package sas

import (
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/protocol"
)

// Since when a letter means something, and for which resources (REST pages "Create a service SAS", "Create an account SAS"). Where the documentation and the clients
// disagree on the version, the earlier one is here.
var letterRules = []struct {
	letters string
	since   protocol.Version
	where   string // b blob, snapshot or version; c container; d directory; s account; t table
}{
	{"rd", "", "bcdst"},
	{"w", "", "bcds"},
	{"l", "", "cds"},
	{"ac", protocol.V20150405, "bcd"},
	{"a", "", "t"},
	{"u", "", "t"},
	{"acup", protocol.V20150405, "s"},
	{"x", "2019-10-10", "bcds"},
	{"y", "2019-10-10", "bs"},
	{"t", protocol.V20191212, "bcds"},
	{"f", protocol.V20191212, "s"},
	{"f", protocol.V20210410, "c"},
	{"me", protocol.V20200210, "bcds"},
	{"op", protocol.V20200210, "bcds"},
	{"i", protocol.V20200612, "bcds"},
}

// everLetters are the letters of any resource at any version; another one is a malformed permission.
var everLetters = func() (all auth.Letters) {
	for _, rule := range letterRules {
		set, _ := auth.ParseLetters(rule.letters)
		all |= set
	}
	return all
}()

type letterKey struct {
	where   byte
	version protocol.Version
}

// known has the letters for each kind of resource, for each version from which they change.
var known = func() map[letterKey]auth.Letters {
	m := map[letterKey]auth.Letters{}
	for _, where := range "bcdst" {
		for _, version := range append(protocol.KnownVersions(), "") {
			var set auth.Letters
			for _, rule := range letterRules {
				letters, _ := auth.ParseLetters(rule.letters)
				for _, w := range rule.where {
					if w == where && version >= rule.since {
						set |= letters
					}
				}
			}
			m[letterKey{byte(where), version}] = set
		}
	}
	return m
}()

// knownLetters are the letters that mean something for the resource that the signature opens, at its version.
func (t *Token) knownLetters(service auth.Service) auth.Letters {
	return known[letterKey{t.where(service), min(t.Version, protocol.Newest)}]
}

// laterLetters are the letters that mean something there only at later versions.
func (t *Token) laterLetters(service auth.Service) auth.Letters {
	return known[letterKey{t.where(service), protocol.Newest}] &^ t.knownLetters(service)
}

func (t *Token) where(service auth.Service) byte {
	switch {
	case t.Scheme == auth.AccountSAS:
		return 's'
	case service == auth.Table:
		return 't'
	case t.value[sr] == "c" || t.value[sr] == "d":
		return t.value[sr][0]
	}
	return 'b'
}
