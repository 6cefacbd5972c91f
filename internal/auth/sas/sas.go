// Package sas checks shared access signatures: account SAS, service SAS of blobs and tables, and user delegation SAS, of every
// signed version.
//
// What it guarantees:
//   - no part of a signature is believed before the signature is verified over exactly the text that was sent, for exactly the
//     resource that the request addresses;
//   - a parameter that is given twice, is not text or does not fit its form refuses the signature; nothing is guessed;
//   - what a signature opens is never more than its own version knew: letters of later versions open nothing;
//   - what the signature does not cover cannot change what it opens: such a parameter has no effect, can only narrow, or refuses.
//
// The order of the letters in sp is not enforced, as clients of all ages write several orders; it is signed, so it cannot be
// altered. The order of the parameters in the query has no meaning.
package sas

import (
	"sync"

	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/invariants"
	"github.com/blobd/blobd/internal/protocol"
)

// field is a part of a signature: a query parameter, or one of the computed parts of the string to sign.
type field byte

const (
	sv field = iota
	ss
	srt
	sp
	st
	se
	sip
	spr
	sig
	ses
	sr
	sdd
	si
	tn
	spk
	srk
	epk
	erk
	rscc
	rscd
	rsce
	rscl
	rsct
	skoid
	sktid
	skt
	ske
	sks
	skv
	skdutid
	sduoid
	saoid
	suoid
	scid
	srh
	srq
	snapshot
	versionid
	parameters // the number of parameters

	// Computed parts.
	accountName  // the account
	resource     // /service/account/container/blob or /table/account/table
	bareResource // the same without /service, before 2015-02-21
	moment       // snapshot or version id of sr=bs and sr=bv
	headers      // the values of the headers that srh names
	queries      // the values of the query parameters that srq names
)

var names = [parameters]string{
	sv: "sv", ss: "ss", srt: "srt", sp: "sp", st: "st", se: "se", sip: "sip", spr: "spr", sig: "sig", ses: "ses", sr: "sr",
	sdd: "sdd", si: "si", tn: "tn", spk: "spk", srk: "srk", epk: "epk", erk: "erk", rscc: "rscc", rscd: "rscd", rsce: "rsce",
	rscl: "rscl", rsct: "rsct", skoid: "skoid", sktid: "sktid", skt: "skt", ske: "ske", sks: "sks", skv: "skv",
	skdutid: "skdutid", sduoid: "sduoid", saoid: "saoid", suoid: "suoid", scid: "scid", srh: "srh", srq: "srq",
	snapshot: "snapshot", versionid: "versionid",
}

// Token is a shared access signature as it was sent. It comes from Parse and goes back with Release; its strings live as long
// as the request.
type Token struct {
	Scheme  auth.Scheme // AccountSAS, ServiceSAS or UserDelegationSAS
	Version protocol.Version

	value [parameters]string
	seen  uint64 // bit per field that was sent
	given uint64 // bit per field that has a value
	fault bool   // the parameters are not well formed
	buf   []byte
	visit func(name, value string)
}

var tokens = sync.Pool{New: func() any {
	t := &Token{}
	t.visit = t.add
	return t
}}

// Release gives the token back; it is not used afterwards.
func (t *Token) Release() {
	invariants.Overwrite(t.buf)
	tokens.Put(t)
}

// Present reports whether a request wants in by a shared access signature.
func Present(query auth.Fields) bool {
	if _, ok := query.Get("sig"); ok {
		return true
	}
	_, ok := query.Get("sv")
	return ok
}

// Delegated reports whether the signature asks for the bearer token of a particular user beside it.
func Delegated(query auth.Fields) bool {
	_, signed := query.Get("sig")
	_, user := query.Get("sduoid")
	return signed && user
}

const notWellFormed = "Signature fields not well formed."

// Parse reads the signature of a request. strict refuses versions that are not published.
func Parse(r *auth.Request, strict bool) (*Token, error) {
	t := tokens.Get().(*Token)
	t.value, t.seen, t.given, t.fault = [parameters]string{}, 0, 0, false
	r.Query.All(t.visit)
	if err := t.check(r.Service, strict); err != nil {
		t.Release()
		return nil, err
	}
	return t, nil
}

func (t *Token) has(f field) bool { return t.given&(1<<f) != 0 }

// add notes one query parameter. A parameter of signatures that is there twice, or holds a control character (which could move
// the line ends of the string to sign), is a fault.
func (t *Token) add(name, value string) {
	f, ok := lookup(name)
	if !ok {
		return
	}
	if t.seen&(1<<f) != 0 || control(value) {
		t.fault = true
	}
	t.seen |= 1 << f
	if value != "" { // an empty value is signed like an absent one, so it must mean the same
		t.given |= 1 << f
	}
	t.value[f] = value
}

// lookup finds a parameter by its name, whatever its case.
func lookup(name string) (field, bool) {
	if len(name) < 2 || len(name) > 9 {
		return 0, false
	}
	var lower [9]byte
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		lower[i] = c
	}
	f, ok := fields[string(lower[:len(name)])]
	return f, ok
}

var fields = func() map[string]field {
	m := make(map[string]field, parameters)
	for f, name := range names {
		m[name] = field(f)
	}
	return m
}()

// check decides on the scheme and version and looks whether the fields that every signature must have are there.
func (t *Token) check(service auth.Service, strict bool) error {
	if t.fault {
		return auth.Failed(notWellFormed)
	}
	t.Version = ""
	if t.has(sv) {
		v, ok := protocol.ParseVersion(t.value[sv], strict)
		if !ok || v < protocol.V20120212 {
			return auth.Failed(notWellFormed)
		}
		t.Version = protocol.Version(t.value[sv])
	}
	switch {
	case t.seen&(1<<ss|1<<srt) != 0:
		t.Scheme = auth.AccountSAS
		return t.mandatory(protocol.V20150405, sv, ss, srt, sp, se, sig)
	case t.has(skoid):
		t.Scheme = auth.UserDelegationSAS
		if t.has(si) {
			return auth.Failed(notWellFormed)
		}
		if err := t.mandatory(protocol.V20181109, sv, sp, se, sktid, skt, ske, sks, skv, sig); err != nil {
			return err
		}
		if t.value[sks] != string(byte(service)) { // a key of one service opens nothing in another
			return auth.Failed(notWellFormed)
		}
		if service == auth.Table {
			return t.mandatory(protocol.V20250705, tn)
		}
		return t.signedResource()
	}
	t.Scheme = auth.ServiceSAS
	if service == auth.Table {
		return t.mandatory(protocol.V20120212, sv, tn, sig)
	}
	if err := t.mandatory("", sig); err != nil {
		return err
	}
	return t.signedResource()
}

// signedResource checks sr. Before 2018-11-09 it was not signed, and sdd never is: only b and c were there then, which the
// canonical name tells apart. Directories of accounts with a flat namespace, as all accounts here are, came with 2026-06-06.
func (t *Token) signedResource() error {
	switch t.value[sr] {
	case "bs":
		return t.mandatory(protocol.V20181109, sr, snapshot)
	case "bv":
		return t.mandatory(protocol.V20181109, sr, versionid)
	case "d":
		return t.mandatory(protocol.V20260606, sr, sdd)
	}
	return t.mandatory("", sr)
}

func (t *Token) mandatory(since protocol.Version, fields ...field) error {
	for _, f := range fields {
		if t.value[f] == "" {
			return auth.Failed(names[f] + " is mandatory. Cannot be empty")
		}
	}
	if t.Version < since {
		return auth.Failed(notWellFormed)
	}
	return nil
}

// User returns the object id and tenant of the user who must present the signature (empty for anybody).
func (t *Token) User() (objectID, tenantID string) { return t.value[sduoid], t.value[skdutid] }

// Identifier is the id of the stored access policy that the signature refers to, empty for none.
func (t *Token) Identifier() string { return t.value[si] }

// Delegation returns the user delegation key's fields, as the signature gives them.
func (t *Token) Delegation() DelegationKey {
	return DelegationKey{
		ObjectID: t.value[skoid], TenantID: t.value[sktid], Start: t.value[skt], Expiry: t.value[ske],
		Service: t.value[sks], Version: t.value[skv], DelegatedTenantID: t.value[skdutid],
	}
}
