package rest

import (
	"strings"

	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/protocol"
)

// Level is the depth of the resource that an operation works on.
type Level byte

// The levels. For tables the service decides between TableSet ("/Tables…"), Entities ("/T"), TableEntity ("/T(…)"), Batch
// ("/$batch") and Account.
const (
	Account Level = iota
	Container
	Blob
	TableSet
	TableEntity
	Entities
	Batch
)

// of tells whether an address has what the level says, and nothing below it: what is authorized is what the handler works on.
func (l Level) of(a *Address) bool {
	switch l {
	case Account, Batch:
		return a.Container == "" && a.Blob == "" && a.Table == ""
	case Container:
		return a.Container != "" && a.Blob == ""
	case Blob:
		return a.Container != "" && a.Blob != ""
	case Entities, TableEntity:
		return a.Table != ""
	}
	return a.Container == "" && a.Blob == ""
}

func (l Level) String() string {
	return [...]string{"account", "container", "blob", "table", "entity", "entities", "batch"}[l]
}

// Operation is one row of a service's operation table. S is the service that handles it.
type Operation[S any] struct {
	// Name is Azure's name of the operation, in one word: PutBlob.
	Name string
	// Methods holds the verbs, separated by spaces.
	Methods string
	Level   Level
	// Restype and Comp are the query selectors; empty means absent.
	Restype, Comp string
	// When selects further, all of them; among rows that differ only in When the first that fits is taken.
	When []Selector
	// Slots tells that the operation works on the snapshot or version that the query names. Other operations on a blob refuse such a
	// query, lest they work on the base blob instead.
	Slots bool
	// Since is the first version that has the operation.
	Since protocol.Version
	Needs auth.Needs
	// Body tells how the body is taken.
	Body   BodyRule
	Handle func(S, *Request) error
	// Doc is the row's line in docs/compatibility.md.
	Doc Doc
}

// Selector asks a header (or, with Query, a query parameter) to be there, and to be Value if that is not empty (case ignored).
type Selector struct {
	Name  string // lower case
	Value string
	Query bool
}

func (s *Selector) fits(r *Request) bool {
	v, ok := s.value(r)
	return ok && (s.Value == "" || strings.EqualFold(v, s.Value))
}

func (s *Selector) value(r *Request) (string, bool) {
	if s.Query {
		return r.query.get(s.Name)
	}
	return r.headers.get(s.Name)
}

// Demand is what a request needs beside what its operation needs, because of a header or query parameter that it has. With a
// Value, that is one of a list at commas.
type Demand struct {
	Selector
	Needs *auth.Needs
}

func (d *Demand) made(r *Request) bool {
	list, _ := d.value(r)
	if d.Value == "" || list == "" {
		return list != ""
	}
	for v := range strings.SplitSeq(list, ",") {
		if strings.EqualFold(strings.TrimSpace(v), d.Value) {
			return true
		}
	}
	return false
}

// BodyRule bounds an operation's body before a byte of it is read.
type BodyRule struct {
	// Max is the most that is accepted, in bytes; 0 accepts no body (it is read away if short, refused if long).
	Max func(v protocol.Version) int64
	// Length tells that a Content-Length is required (411 MissingContentLengthHeader), as it is for every PUT but those in a batch.
	Length bool
}

// AtMost is a bound that is the same in every version.
func AtMost(n int64) func(protocol.Version) int64 { return func(protocol.Version) int64 { return n } }

// Doc says for docs/compatibility.md how other places have the operation: "yes", "no", or a few words.
type Doc struct{ Blobd, Azurite, Stack, Azure string }

// Table is a service's operation table.
type Table[S any] []Operation[S]

// Router finds rows. It is made once and safe for concurrent use.
type Router[S any] struct {
	rows    map[routeKey][]*Operation[S]
	verbs   map[string]bool
	demands []Demand
}

type routeKey struct {
	method        string
	level         Level
	restype, comp string
}

// NewRouter indexes a table. demands are made of every request.
func NewRouter[S any](t Table[S], demands ...Demand) *Router[S] {
	rt := &Router[S]{rows: map[routeKey][]*Operation[S]{}, verbs: map[string]bool{}, demands: demands}
	for i := range t {
		op := &t[i]
		for _, m := range strings.Fields(op.Methods) {
			k := routeKey{m, op.Level, protocol.Word(op.Restype), protocol.Word(op.Comp)}
			rt.rows[k] = append(rt.rows[k], op)
			rt.verbs[m] = true
		}
	}
	return rt
}

// Find returns the row for a request at a level, or the error that says why there is none. A row that the request's version
// does not know is not there: the request is taken as it was before the operation was invented.
func (rt *Router[S]) Find(r *Request, level Level) (*Operation[S], error) {
	comp, restype := r.Query("comp"), r.Query("restype")
	for _, op := range rt.rows[routeKey{r.Method, level, protocol.Word(restype), protocol.Word(comp)}] {
		if op.Since <= r.Version && op.fits(r) {
			return op, nil
		}
	}
	switch {
	case !rt.verbs[r.Method]:
		return nil, protocol.ErrUnsupportedHttpVerb
	case comp != "":
		return nil, protocol.InvalidQuery("comp", comp, "")
	case restype != "":
		return nil, protocol.InvalidQuery("restype", restype, "")
	}
	return nil, protocol.ErrUnsupportedHttpVerb
}

func (op *Operation[S]) fits(r *Request) bool {
	for i := range op.When {
		if !op.When[i].fits(r) {
			return false
		}
	}
	return true
}
