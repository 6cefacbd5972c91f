package server_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/auth/authtest"
	"github.com/blobd/blobd/internal/auth/bearer"
	"github.com/blobd/blobd/internal/auth/gate"
	"github.com/blobd/blobd/internal/auth/sas"
	"github.com/blobd/blobd/internal/protocol"
)

const (
	snapshotS = "2026-01-01T00:00:00.0000000Z"
	versionV  = "2026-02-01T00:00:00.0000000Z"
)

// resource is something that a request may address, with the parameters of the query that are a part of the address.
type resource struct {
	service                auth.Service
	container, blob, table string
	query                  authtest.Pairs
	rows                   []string // of Entities: partition keys to look for
}

var resources = func() (all []resource) {
	all = append(all, resource{service: auth.Blob})
	for _, c := range []string{"c", "other", "c/dir", "c/dir/b"} {
		for _, prefix := range []string{"", "dir/"} {
			all = append(all, resource{service: auth.Blob, container: c, query: pairs("prefix", prefix)})
		}
	}
	for _, b := range []string{"dir", "dir/b", "dir/sub/b", "dirx/b"} {
		all = append(all, resource{service: auth.Blob, container: "c", blob: b},
			resource{service: auth.Blob, container: "c", blob: b, query: pairs("snapshot", snapshotS)},
			resource{service: auth.Blob, container: "c", blob: b, query: pairs("versionid", versionV)})
	}
	all = append(all, resource{service: auth.Table})
	for _, t := range []string{"Tab", "Other"} {
		all = append(all, resource{service: auth.Table, table: t, rows: []string{"a", "b", "c"}})
	}
	return all
}()

// request addresses a resource with a signature. What the address has wins over what the signature would add.
func (s *resource) request(signature authtest.Pairs) *auth.Request {
	query := slices.Clone(s.query)
	for _, p := range signature {
		if _, there := s.query.Get(p.Name); !there {
			query = append(query, p)
		}
	}
	return &auth.Request{
		Service: s.service, Method: "GET", Account: owner.Name, RawPath: "/x", Version: protocol.Newest, Headers: pairs("x-ms-foo", "bar"), Query: query,
		ContentLength: -1, Client: netip.MustParseAddr("10.0.0.7"), HTTPS: true, Now: clock, Container: s.container, Blob: s.blob, Table: s.table,
	}
}

// signature is a kind of shared access signature: where it is for and the fields that it has, those of versions before since left out.
type signature struct {
	name   string
	since  protocol.Version
	on     resource
	fields authtest.Pairs
}

var delegated = pairs("skoid", "oid", "sktid", "tid", "skt", "2026-11-23T10:00:00Z", "ske", "2026-11-24T10:00:00Z", "sks", "b", "skv", "2026-12-06")

var signatures = []signature{
	{"account", "2015-04-05", resource{service: auth.Blob}, pairs("ss", "b", "srt", "o", "sp", "r")},
	{"blob", "2012-02-12", resource{service: auth.Blob, container: "c", blob: "dir"}, pairs("sr", "b", "sp", "rw")},
	{"deep blob", "2012-02-12", resource{service: auth.Blob, container: "c", blob: "dir/b"}, pairs("sr", "b", "sp", "rw")},
	{"container", "2012-02-12", resource{service: auth.Blob, container: "c"}, pairs("sr", "c", "sp", "r")},
	{"snapshot", "2018-11-09", resource{service: auth.Blob, container: "c", blob: "dir"}, pairs("sr", "bs", "sp", "rw", "snapshot", snapshotS)},
	{"version", "2018-11-09", resource{service: auth.Blob, container: "c", blob: "dir"}, pairs("sr", "bv", "sp", "rw", "versionid", versionV)},
	{"directory", "2026-06-06", resource{service: auth.Blob, container: "c", blob: "dir/b"}, pairs("sr", "d", "sdd", "1", "sp", "rwlf")},
	{"directory in one", "2026-06-06", resource{service: auth.Blob, container: "c", blob: "dir/sub/b"}, pairs("sr", "d", "sdd", "2", "sp", "rwlf")},
	{"table", "2012-02-12", resource{service: auth.Table, table: "Tab"}, pairs("tn", "Tab", "sp", "r", "spk", "a", "epk", "b")},
	{"blob by delegation", "2018-11-09", resource{service: auth.Blob, container: "c", blob: "dir"}, append(pairs("sr", "b", "sp", "rw"), delegated...)},
	{"snapshot by delegation", "2018-11-09", resource{service: auth.Blob, container: "c", blob: "dir"}, append(pairs("sr", "bs", "sp", "rw", "snapshot", snapshotS), delegated...)},
	{"directory by delegation", "2026-06-06", resource{service: auth.Blob, container: "c", blob: "dir/b"}, append(pairs("sr", "d", "sdd", "1", "sp", "rwlf"), delegated...)},
	{"bound requests by delegation", "2026-04-06", resource{service: auth.Blob, container: "c"}, append(pairs("sr", "c", "sp", "rl", "srh", "x-ms-foo", "srq", "prefix", "prefix", "dir/"), delegated...)},
	{"table by delegation", "2025-07-05", resource{service: auth.Table, table: "Tab"}, append(pairs("tn", "Tab", "sp", "r", "spk", "a", "epk", "b"), delegated.With("sks", "t")...)},
}

// sign completes the fields with sv and a signature over the text that a refusal shows, which golden files hold to the reference
// (internal/auth/sas).
func (s *signature) sign(t *testing.T, g *gate.Gate, v protocol.Version) authtest.Pairs {
	q := append(pairs("sv", string(v), "se", expiry), s.fields...)
	if v >= "2015-04-05" {
		q = append(q, pairs("sip", "10.0.0.7", "spr", "https")...)
	}
	_, err := g.Authorize(context.Background(), owner, s.on.request(append(q, pairs("sig", "x")...)), &anything)
	_, text, ok := strings.Cut(fmt.Sprint(err), "String to sign used was ")
	require.True(t, ok, "%s %s: %v", s.name, v, err)
	key := owner.Keys[0]
	if field := func(name string) string { v, _ := q.Get(name); return v }; field("skoid") != "" {
		key = sas.DelegationKey{
			ObjectID: field("skoid"), TenantID: field("sktid"), Start: field("skt"), Expiry: field("ske"), Service: field("sks"), Version: field("skv"),
		}.Derive(owner)
	}
	return append(q, pairs("sig", key.Sign([]byte(text)))...)
}

// anything is what every signature does.
var anything = auth.Needs{SAS: "*", AccountSAS: "*", ResourceTypes: "sco", Role: auth.ActionRead, Prefix: true}

// reach is what a signature opens: for each resource and each need, which of the resource's rows (bit 0 for those that have none).
type reach map[[2]int]uint

func (r reach) beyond(o reach) (extra [][2]int) {
	for k, v := range r {
		if v&^o[k] != 0 {
			extra = append(extra, k)
		}
	}
	return extra
}

// opensFirst tells whether a range of keys has the entity whose RowKey is empty.
func opensFirst(k *auth.KeyRange, pk string) bool {
	return k == nil || (!k.HasStartPK || pk > k.StartPK || pk == k.StartPK && k.StartRK == "") && (!k.HasEndPK || pk <= k.EndPK)
}

func reachOf(g *gate.Gate, q authtest.Pairs, needs []auth.Needs) reach {
	r := reach{}
	for i := range resources {
		s := &resources[i]
		request := s.request(q)
		if _, err := g.Authorize(context.Background(), owner, request, &anything); err != nil {
			continue
		}
		for n := range needs {
			grant, err := g.Authorize(context.Background(), owner, request, &needs[n])
			if err != nil {
				continue
			}
			bits := uint(1)
			for b, pk := range s.rows {
				if opensFirst(grant.Keys, pk) && grant.Permits(&needs[n], s.table) == nil {
					bits |= 2 << b
				}
			}
			r[[2]int{i, n}] = bits
		}
	}
	return r
}

// alterations are values that the holder of a signature may try for a parameter; "-" takes it out.
func alterations(q authtest.Pairs) (all []authtest.Pair) {
	own := map[string][]string{
		"sr": {"b", "bs", "bv", "c", "d", "f", "B"}, "sdd": {"0", "1", "2", "3", "255"}, "ss": {"b", "bt", "t"}, "srt": {"s", "sco"}, "sp": {"r", "racwdxyltfmeopi"},
		"sv": {"2012-02-12", "2015-02-21", "2018-03-28", "2018-11-09", "2020-02-10", "2020-12-06", "2026-12-06", ""}, "tn": {"Other", "tab", "Tab"},
		"snapshot": {snapshotS, versionV}, "versionid": {snapshotS, versionV}, "se": {"2027-01-01"}, "st": {"2020-01-01"}, "spr": {"https,http"}, "sip": {"0.0.0.0-255.255.255.255"},
		"si": {"p"}, "spk": {"", "a"}, "epk": {"", "z"}, "srk": {"a"}, "erk": {"z"}, "prefix": {"", "dir/", "x"}, "comp": {"list", "tags"}, "restype": {"container"},
	}
	names := []string{
		"sv", "ss", "srt", "sp", "st", "se", "sip", "spr", "ses", "sr", "sdd", "si", "tn", "spk", "srk", "epk", "erk", "rscc", "rscd", "rsce", "rscl", "rsct",
		"skoid", "sktid", "skt", "ske", "sks", "skv", "skdutid", "sduoid", "saoid", "suoid", "scid", "srh", "srq", "snapshot", "versionid", "prefix", "comp", "restype",
		"delimiter", "marker", "api-version", "timeout", "SR", "Sdd", "x",
	}
	for _, name := range names {
		for _, v := range append(own[name], "-", "", "x") {
			if was, there := q.Get(name); v == "-" && !there || there && v == was {
				continue
			}
			all = append(all, authtest.Pair{Name: name, Value: v})
		}
	}
	return all
}

// turns are the versions at which what is signed changes, the last of those that do not sign sr, and the newest.
var turns = []protocol.Version{
	"2012-02-12", "2013-08-15", "2015-02-21", "2015-04-05", "2018-03-28", "2018-11-09", "2020-02-10", "2020-12-06", "2025-07-05", "2026-04-06", "2026-06-06", protocol.Newest,
}

// selecting are parameters that tell what kind of signature it is, and for what.
var selecting = []string{"sr", "sdd", "ss", "srt", "tn", "sv", "si", "skoid", "snapshot", "versionid", "prefix"}

func alter(q authtest.Pairs, a authtest.Pair) authtest.Pairs {
	if a.Value == "-" {
		return q.Without(a.Name)
	}
	return q.With(a.Name, a.Value)
}

// Whatever the holder of a signature does to its parameters - alters, adds, removes one or two, signed or not - never opens an
// operation on a resource that was not open before: every kind, every form of it, every row of both operation tables.
func TestAlteredSignaturesNeverReachFurther(t *testing.T) {
	verifier, err := bearer.New(bearer.Config{
		Issuer: "https://issuer.invalid", InsecureSkipSignature: true, Now: func() time.Time { return clock },
		Roles: []bearer.Assignment{{Kind: bearer.Everyone, Role: bearer.BlobOwner}, {Kind: bearer.Everyone, Role: bearer.TableContributor}, {Kind: bearer.Everyone, Role: bearer.AccountContributor}},
	}, nil)
	require.NoError(t, err)
	g := gate.New(gate.Options{Blob: levels{}, Table: levels{}, Bearer: verifier})
	var needs []auth.Needs
	for _, r := range rows() {
		if !r.needs.Open && !slices.Contains(needs, *r.needs) {
			needs = append(needs, *r.needs)
		}
	}
	tried := 0
	for _, s := range signatures {
		for _, v := range turns {
			if v < s.since {
				continue
			}
			q := s.sign(t, g, v)
			before := reachOf(g, q, needs)
			require.NotEmpty(t, before, "%s %s opens nothing", s.name, v)
			holds := func(altered authtest.Pairs, what ...any) {
				tried++
				for _, k := range reachOf(g, altered, needs).beyond(before) {
					t.Errorf("%s %s: %v opens %+v for %+v", s.name, v, what, resources[k[0]], needs[k[1]])
				}
			}
			single := alterations(q)
			for _, a := range single {
				holds(alter(q, a), a)
			}
			// Two at a time, at the ends of what was signed alike.
			if v != "2018-03-28" && v != protocol.Newest {
				continue
			}
			for _, a := range single {
				if a.Name != "sr" {
					continue
				}
				for _, b := range single {
					if a.Name != b.Name && slices.Contains(selecting, b.Name) {
						holds(alter(alter(q, a), b), a, b)
					}
				}
			}
		}
	}
	t.Logf("%d alterations of %d kinds, %d needs on %d resources", tried, len(signatures), len(needs), len(resources))
}

// Snapshots and versions are what their signatures open, and the base blob is not.
func TestASnapshotsSignatureOpensTheSnapshotOnly(t *testing.T) {
	g := gate.New(gate.Options{Blob: levels{}, Table: levels{}})
	read := []auth.Needs{{SAS: "r"}}
	for _, s := range signatures {
		if s.name != "snapshot" && s.name != "version" {
			continue
		}
		for k := range reachOf(g, s.sign(t, g, protocol.Newest), read) {
			// The parameter that selects it comes with the signature, unless the address has another one.
			require.Equal(t, "dir", resources[k[0]].blob)
			_, other := resources[k[0]].query.Get(map[string]string{"snapshot": "versionid", "version": "snapshot"}[s.name])
			require.False(t, other, "%s opens %+v", s.name, resources[k[0]])
		}
	}
}
