package sas

import (
	"strconv"
	"strings"

	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/protocol"
)

// form is the layout of the string to sign from a version on: its fields, one to a line.
type form struct {
	since  protocol.Version
	fields []field
}

// The layouts, newest first (REST pages "Create a service SAS", "Create a user delegation SAS", "Create an account SAS": string-to-sign).
var (
	blobService = []form{
		{"2020-12-06", []field{sp, st, se, resource, si, sip, spr, sv, sr, moment, ses, rscc, rscd, rsce, rscl, rsct}},
		{"2018-11-09", []field{sp, st, se, resource, si, sip, spr, sv, sr, moment, rscc, rscd, rsce, rscl, rsct}},
		{"2015-04-05", []field{sp, st, se, resource, si, sip, spr, sv, rscc, rscd, rsce, rscl, rsct}},
		{"2015-02-21", []field{sp, st, se, resource, si, sv, rscc, rscd, rsce, rscl, rsct}},
		{"2013-08-15", []field{sp, st, se, bareResource, si, sv, rscc, rscd, rsce, rscl, rsct}},
		{"2012-02-12", []field{sp, st, se, bareResource, si, sv}},
		{"", []field{sp, st, se, bareResource, si}},
	}
	tableService = []form{
		{"2015-04-05", []field{sp, st, se, resource, si, sip, spr, sv, spk, srk, epk, erk}},
		{"2015-02-21", []field{sp, st, se, resource, si, sv, spk, srk, epk, erk}},
		{"2012-02-12", []field{sp, st, se, bareResource, si, sv, spk, srk, epk, erk}},
	}
	// The account form alone ends its last line too.
	accountForms = []form{
		{"2020-12-06", []field{accountName, sp, ss, srt, st, se, sip, spr, sv, ses}},
		{"2015-04-05", []field{accountName, sp, ss, srt, st, se, sip, spr, sv}},
	}
	blobDelegation = []form{
		{"2026-04-06", []field{
			sp, st, se, resource, skoid, sktid, skt, ske, sks, skv, saoid, suoid, scid, skdutid, sduoid, sip, spr, sv, sr, moment, ses,
			headers, queries, rscc, rscd, rsce, rscl, rsct,
		}},
		{"2025-07-05", []field{
			sp, st, se, resource, skoid, sktid, skt, ske, sks, skv, saoid, suoid, scid, skdutid, sduoid, sip, spr, sv, sr, moment, ses,
			rscc, rscd, rsce, rscl, rsct,
		}},
		{"2020-12-06", []field{
			sp, st, se, resource, skoid, sktid, skt, ske, sks, skv, saoid, suoid, scid, sip, spr, sv, sr, moment, ses,
			rscc, rscd, rsce, rscl, rsct,
		}},
		{"2020-02-10", []field{
			sp, st, se, resource, skoid, sktid, skt, ske, sks, skv, saoid, suoid, scid, sip, spr, sv, sr, moment,
			rscc, rscd, rsce, rscl, rsct,
		}},
		{"2018-11-09", []field{
			sp, st, se, resource, skoid, sktid, skt, ske, sks, skv, sip, spr, sv, sr, moment, rscc, rscd, rsce, rscl, rsct,
		}},
	}
	tableDelegation = []form{
		{"2025-07-05", []field{
			sp, st, se, resource, skoid, sktid, skt, ske, sks, skv, skdutid, sduoid, sip, spr, sv, spk, srk, epk, erk,
		}},
	}
)

func (t *Token) form(service auth.Service) []field {
	forms := blobService
	switch {
	case t.Scheme == auth.AccountSAS:
		forms = accountForms
	case t.Scheme == auth.UserDelegationSAS && service == auth.Table:
		forms = tableDelegation
	case t.Scheme == auth.UserDelegationSAS:
		forms = blobDelegation
	case service == auth.Table:
		forms = tableService
	}
	for _, f := range forms {
		if t.Version >= f.since {
			return f.fields
		}
	}
	return nil // check has refused such versions
}

// message writes the string to sign for what the request addresses; ok is false if the signature cannot be for that. It is
// valid until the next call.
func (t *Token) message(r *auth.Request) (message []byte, ok bool) {
	t.buf = t.buf[:0]
	ok = true
	form := t.form(r.Service)
	if t.given&guarded&^signedBy(form) != 0 {
		ok = false
	}
	for i, f := range form {
		if i > 0 {
			t.buf = append(t.buf, '\n')
		}
		switch f {
		case accountName:
			t.buf = append(t.buf, r.Account...)
		case resource, bareResource:
			ok = t.resource(r, f == resource) && ok
		case moment:
			t.moment()
		case headers:
			ok = t.request(srh, r.Headers) && ok
		case queries:
			ok = t.request(srq, r.Query) && ok
		default:
			t.buf = append(t.buf, t.value[f]...)
		}
	}
	if t.Scheme == auth.AccountSAS {
		t.buf = append(t.buf, '\n')
	}
	return t.buf, ok
}

// guarded are the parameters that narrow or widen what a signature does. One that stands in a request whose layout does not sign
// it was added by somebody else.
const guarded = 1<<ses | 1<<sip | 1<<spr | 1<<spk | 1<<srk | 1<<epk | 1<<erk | 1<<saoid | 1<<suoid | 1<<scid | 1<<skdutid |
	1<<sduoid | 1<<si | 1<<srh | 1<<srq

// overrides replace response headers. Signatures that do not sign them do not know them: they have no effect.
const overrides = 1<<rscc | 1<<rscd | 1<<rsce | 1<<rscl | 1<<rsct

// signedBy returns the parameters that a layout signs.
func signedBy(form []field) (set uint64) {
	for _, f := range form {
		switch f {
		case headers:
			set |= 1 << srh
		case queries:
			set |= 1 << srq
		default:
			set |= 1 << f
		}
	}
	return set
}

// resource writes the canonical name of what the signature opens, taken from what the request addresses. A name that could be
// read as another one fits no signature: a container's with a slash in it as a blob's, and one with a line feed as two lines.
func (t *Token) resource(r *auth.Request, prefixed bool) bool {
	if r.Service == auth.Table {
		if prefixed {
			t.buf = append(t.buf, "/table"...)
		}
		t.buf = append(append(t.buf, '/'), r.Account...)
		t.buf = append(append(t.buf, '/'), strings.ToLower(t.value[tn])...)
		return true
	}
	if prefixed {
		t.buf = append(t.buf, "/blob"...)
	}
	t.buf = append(append(t.buf, '/'), r.Account...)
	t.buf = append(append(t.buf, '/'), r.Container...)
	plain := r.Container != "" && strings.IndexByte(r.Container, '/') < 0 && strings.IndexByte(r.Container, '\n') < 0
	switch t.value[sr] {
	case "c":
		return plain
	case "b", "bs", "bv":
		t.buf = append(append(t.buf, '/'), r.Blob...)
		return plain && r.Blob != "" && strings.IndexByte(r.Blob, '\n') < 0 && (t.value[sr] != "bs" || !t.has(versionid)) && (t.value[sr] != "bv" || !t.has(snapshot))
	case "d":
		dir, ok := t.directory(r)
		if dir != "" {
			t.buf = append(append(t.buf, '/'), dir...)
		}
		return plain && ok && strings.IndexByte(dir, '\n') < 0
	}
	return false
}

// directory returns the directory of sr=d that the request lies in: as many parts as sdd tells of the blob's name, or of the
// prefix that a listing is bound to.
func (t *Token) directory(r *auth.Request) (string, bool) {
	depth, err := strconv.ParseUint(t.value[sdd], 10, 8)
	if err != nil {
		return "", false
	}
	name := r.Blob
	if name == "" {
		name, _ = r.Query.Get("prefix")
	}
	end := 0
	for range depth {
		n := strings.IndexByte(name[end:], '/')
		if n < 0 {
			// The blob of the directory's own name is its marker; a listing must be bound to what lies under it.
			if r.Blob == "" || strings.Count(name, "/")+1 != int(depth) {
				return "", false
			}
			return name, true
		}
		end += n + 1
	}
	return strings.TrimSuffix(name[:end], "/"), true
}

// moment writes the snapshot or version that sr=bs and sr=bv are bound to.
func (t *Token) moment() {
	switch t.value[sr] {
	case "bs":
		t.buf = append(t.buf, t.value[snapshot]...)
	case "bv":
		t.buf = append(t.buf, t.value[versionid]...)
	}
}

// request writes the headers or query parameters of the request that srh or srq names. Names and values that could be read as
// two of them, or as another one, do not fit any signature.
func (t *Token) request(list field, of auth.Fields) bool {
	if t.value[list] == "" {
		return true
	}
	if strings.Count(t.value[list], ",") >= maxBound {
		return false
	}
	ok := true
	for name := range strings.SplitSeq(t.value[list], ",") {
		value, _ := of.Get(strings.ToLower(name))
		ok = ok && name != "" && !strings.Contains(name, ":") && !control(value)
		if list == srq {
			t.buf = append(t.buf, '\n')
		}
		t.buf = append(append(t.buf, name...), ':')
		t.buf = append(t.buf, value...)
		if list == srh {
			t.buf = append(t.buf, '\n')
		}
	}
	return ok
}

// maxBound is how many headers or query parameters a signature may bind. Each is looked for among all that the request has, before
// anything is verified.
const maxBound = 64

func control(value string) bool {
	for i := 0; i < len(value); i++ {
		if value[i] < 0x20 || value[i] == 0x7f {
			return true
		}
	}
	return false
}
